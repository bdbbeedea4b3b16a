"""An RTSP camera as a source of coded pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge_node.errors import SettingsError, SourceLost
from edge_node.media.rtsp.client import RtspClient, RtspTransport
from edge_node.media.rtsp.depacketizer import Depacketizer
from edge_node.media.rtsp.hevc import HevcPictures, HevcSets
from edge_node.media.rtsp.jpeg import JpegPictures
from edge_node.media.rtsp.nal import ParameterSets
from edge_node.media.rtsp.pictures import Counters, Pictures
from edge_node.media.rtsp.sdp import AudioTrack, VideoTrack
from edge_node.media.rtsp.sound import SoundPackets
from edge_node.media.rtsp.timeline import Timeline
from edge_node.ports import Demand, VideoSink
from edge_node.protocol.rtsp_address import parse_address

log = logging.getLogger(__name__)

KEYFRAME_WAIT_S = 30.0
"""Cameras with a "smart" codec send a keyframe only every 10 s or so; one that sends none at all is of no use."""
LONG_GAP_S = 5.0
_FOREIGN = {
    "h264": "it has B-frames, which browsers show with a stutter: set its profile to Baseline or turn them off",
    "hevc": "it sends H.265, which browsers cannot show: set its codec to H.264",
    "mjpeg": "it sends JPEG pictures: set its codec to H.264",
}

OnSound = Callable[[AudioTrack, list[bytes]], None]
"""`on_sound(track, frames)`: coded frames of the camera's sound, on the event loop."""


class RtspSource:
    """Hands the H.264 of one camera through, undecoded; a VideoSource whose encoder cannot be asked for anything.

    H.265, JPEG and H.264 with B-frames are marked to be decoded (AccessUnit.decode_as). With `sound` the camera's
    sound goes to whoever called listen(). Each run() is one connection; parameter sets, timestamps and counters go on
    over runs.
    """

    label = "rtsp"
    demand: Demand | None = None

    def __init__(
        self,
        url: str,
        *,
        transport: RtspTransport = "auto",
        sound: bool = False,
        stall_s: float = 3.0,
        connect_timeout_s: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises SettingsError for a URL that is not rtsp:// or rtsps://, or a transport other than auto, tcp, udp."""
        self._address = parse_address(url)
        if transport not in ("auto", "tcp", "udp"):
            raise SettingsError(f"the RTSP transport is {transport!r}: use auto, tcp or udp")
        self._transport = transport
        self._stall_s = stall_s
        self._timeout_s = connect_timeout_s
        self._monotonic = monotonic
        self._wants_sound = sound
        self._on_sound: OnSound | None = None
        self._sets = ParameterSets()
        self._hevc_sets = HevcSets()
        self._b_pictures = False
        self._timeline = Timeline()
        self.counters = Counters()
        self.others: tuple[str, ...] = ()
        """What else the camera offers, such as `audio PCMA`."""
        self.audio: AudioTrack | None = None
        """Its sound, while it plays."""
        self.mute: str | None = None
        """Why it plays without the sound that it offers, as a sentence."""
        self.playing = False
        self.warning: str | None = None
        """One sentence about a stream that plays but not well; None when there is nothing to say."""

    def __str__(self) -> str:
        return str(self._address)

    @property
    def profile_level_id(self) -> str | None:
        """Six hex digits of the stream's SPS, as in SDP (RFC 6184 section 8.1); None before the first."""
        return self._sets.profile_level_id

    async def run(self, sink: VideoSink) -> None:
        """Connects and delivers `sink.unit(…)` on the event loop until cancelled. Raises SourceLost."""
        client = RtspClient(
            self._address, transport=self._transport, timeout_s=self._timeout_s, monotonic=self._monotonic
        )
        try:
            tracks = await client.describe()
            self.others = tracks.video.others
            stream = self._pictures(tracks.video)

            def take(packet: memoryview, now: float) -> None:
                for unit in stream.feed(packet, now):
                    sink.unit(unit)

            await client.set_up(tracks.video, take)
            if self._wants_sound and tracks.audio is not None:
                await self._set_up_sound(client, tracks.audio)
            await client.play()
            self.playing = True
            log.info("playing %s over %s: %s", self, client.transport, tracks.video.codec)
            await self._watch(client, stream)
        finally:
            self.playing, self.audio = False, None
            await client.close()

    async def _set_up_sound(self, client: RtspClient, track: AudioTrack) -> None:
        """A camera that refuses its sound still has a picture; one that is gone says so at the next step."""
        self.mute = None
        try:
            await client.set_up(track, self._take_sound(track))
        except SourceLost as err:
            self.mute = str(err)
            log.warning("playing without sound: %s", err)
        else:
            self.audio = track

    def listen(self, on_sound: OnSound | None) -> None:
        """Who gets the camera's sound from now on; None: nobody."""
        self._on_sound = on_sound

    def _take_sound(self, track: AudioTrack) -> Callable[[memoryview, float], None]:
        packets = SoundPackets(track)

        def take(packet: memoryview, now: float) -> None:
            frames = packets.feed(packet)
            if frames and self._on_sound is not None:
                self._on_sound(track, frames)

        return take

    def _pictures(self, track: VideoTrack) -> Pictures:
        if track.codec == "JPEG":
            return JpegPictures(track.payload_type, self._timeline, self.counters)
        if track.codec == "H265":
            for parameter_set in track.parameter_sets:
                self._hevc_sets.add(parameter_set)
            return HevcPictures(track.payload_type, self._hevc_sets, self._timeline, self.counters)
        fresh = [self._sets.add(parameter_set) for parameter_set in track.parameter_sets]
        self._b_pictures &= not any(fresh)  # a camera that was set up anew may have stopped making them
        return Depacketizer(track.payload_type, self._sets, self._timeline, self.counters, b_pictures=self._b_pictures)

    async def _watch(self, client: RtspClient, stream: Pictures) -> None:
        """Sees that packets and keyframes keep coming; returns only by an exception."""
        began = self._monotonic()
        units, units_at = self.counters.units, began
        while True:
            now = self._monotonic()
            if self.counters.units != units:
                units, units_at = self.counters.units, now
            patience_s = self._stall_s if stream.heard_at is not None else max(self._stall_s, self._timeout_s)
            silent_s = now - (began if stream.heard_at is None else stream.heard_at)
            if silent_s >= patience_s:
                raise self._lost_silent(client, patience_s, began=stream.heard_at is not None)
            if now - units_at >= KEYFRAME_WAIT_S:
                raise SourceLost(f"{self} sent no keyframe for {KEYFRAME_WAIT_S:g} s: set its I-frame interval to 2 s")
            self._judge(stream)
            await client.wait(min(patience_s - silent_s, self._stall_s))

    def _lost_silent(self, client: RtspClient, patience_s: float, *, began: bool) -> SourceLost:
        if began:
            return SourceLost(f"{self} sent no pictures for {patience_s:g} s: check the camera's power and network")
        hint = (
            'write rtsp_transport = "tcp"'
            if client.transport == "udp"
            else "check that the camera's stream is switched on"
        )
        return SourceLost(f"{self} plays but sent nothing for {patience_s:g} s: {hint}")

    def _judge(self, stream: Pictures) -> None:
        self._b_pictures = stream.decode_as == "h264"
        warning = None
        if stream.decode_as is not None:
            warning = f"{_FOREIGN[stream.decode_as]} (until then it is decoded and encoded again here)"
        elif stream.markers_lie:
            warning = "it marks the ends of pictures wrongly, which delays each by one: use one slice per picture"
        elif (gap_s := stream.keyframe_gap_s) is not None and gap_s > LONG_GAP_S:
            warning = f"its keyframes are {gap_s:.0f} s apart, so viewers may wait that long: set the interval to 2 s"
        if warning and warning != self.warning:
            log.warning("%s: %s", self, warning)
        self.warning = warning
