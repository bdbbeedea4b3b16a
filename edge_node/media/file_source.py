"""A film that loops in place of a camera."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.bitstream import BitStreamFilterContext

from edge_node.errors import SettingsError
from edge_node.media import h264
from edge_node.media.packet_queue import GOP_CACHE_BYTES, GOP_CACHE_S
from edge_node.media.source_thread import run_in_thread
from edge_node.ports import VIDEO_CLOCK, AccessUnit, Clock, VideoSink

if TYPE_CHECKING:
    from av.container.input import InputContainer
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

SURVEYED_PICTURES = 3000
FALLBACK_FPS = Fraction(25)
MAX_STEP_S = 1.0
MAX_LATE_S = 0.5
DECODER_THREADS = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A coded picture of the film: Annex B data, and its time in seconds from anywhere (None when not given)."""

    data: bytes
    keyframe: bool
    time_s: float | None


class FileSource:
    """The source `file`.

    H.264 baseline, which has no B-frames, with keyframes close enough for joining viewers is handed through; everything
    else is decoded and left to the encoder. run() raises SettingsError for a file that cannot be played.
    """

    label = "file"
    demand = None

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self.decoders_opened = 0

    async def run(self, sink: VideoSink) -> None:
        """Plays from the start, again and again, until cancelled."""
        await run_in_thread(lambda stop: self._play(sink, stop), "video-file")

    def _play(self, sink: VideoSink, stop: threading.Event) -> None:
        try:
            through = self._survey()
            log.info("%s is %s", self._path, "handed through" if through else "decoded and encoded again")
            pace = _Pace(self._clock, stop)
            while not stop.is_set():
                shown = self._hand_through(sink, pace) if through else self._decode(sink, pace)
                if not shown:
                    raise SettingsError(f"video.file = {self._path} holds no picture: name another file")
        except (OSError, av.FFmpegError) as err:
            raise SettingsError(f"video.file = {self._path} cannot be played ({err.strerror}): name a film") from err

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = av.open(str(self._path))
        if not container.streams.video:
            container.close()
            raise SettingsError(f"video.file = {self._path} holds no video: name a film")
        return container, container.streams.video[0]

    def _survey(self) -> bool:
        """Whether the film may go to the viewers as it is."""
        container, stream = self._open()
        with container:
            if stream.codec_context.name != "h264":
                return False
            return may_hand_through(itertools.islice(coded_pictures(container, stream), SURVEYED_PICTURES))

    def _hand_through(self, sink: VideoSink, pace: _Pace) -> int:
        container, stream = self._open()
        shown = 0
        with container:
            pace.new_round(_step_s(stream))
            for picture in coded_pictures(container, stream):
                play_s = pace.wait_for(picture.time_s)
                if play_s is None:
                    break
                timestamp = round(play_s * VIDEO_CLOCK)
                sink.unit(AccessUnit(picture.data, picture.keyframe, timestamp, self._clock.monotonic()))
                shown += 1
        return shown

    def _decode(self, sink: VideoSink, pace: _Pace) -> int:
        container, stream = self._open()
        shown = 0
        with container:
            pace.new_round(_step_s(stream))
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = DECODER_THREADS
            self.decoders_opened += 1
            for frame in container.decode(stream):
                if pace.wait_for(None if frame.pts is None else frame.time) is None:
                    break
                sink.picture(frame, self._clock.monotonic())
                shown += 1
        return shown


def may_hand_through(pictures: Iterator[Picture]) -> bool:
    """Whether viewers can be given these pictures: baseline, in playing order, a keyframe often enough."""
    last_s = group_began_s = None
    group_bytes = 0
    for picture in pictures:
        if picture.keyframe:
            sequence = h264.parse_sps(h264.parameter_sets(picture.data).get(h264.NAL_SPS, b""))
            if sequence is None or sequence.profile_idc != h264.BASELINE:
                return False
            group_bytes, group_began_s = 0, picture.time_s
        group_bytes += len(picture.data)
        if picture.time_s is not None:
            if last_s is not None and picture.time_s < last_s:
                return False
            last_s = picture.time_s
            if group_began_s is not None and picture.time_s - group_began_s > GOP_CACHE_S:
                return False
        if group_bytes > GOP_CACHE_BYTES:
            return False
    return True


def coded_pictures(container: InputContainer, stream: VideoStream) -> Iterator[Picture]:
    """The film's H.264 pictures from its first keyframe on, SPS and PPS in front of every keyframe."""
    to_annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
    sets: dict[int, bytes] = {}
    begun = False
    for raw in container.demux(stream):
        for packet in to_annex_b.filter(raw if raw.size else None):
            data = bytes(packet)
            keyframe = h264.has_idr(data)
            sets.update(found := h264.parameter_sets(data))
            if keyframe and len(found) < 2:
                data = b"".join(h264.START + nal for _, nal in sorted(sets.items())) + data
            begun = begun or keyframe
            if begun:
                base = packet.time_base or stream.time_base
                yield Picture(data, keyframe, None if packet.pts is None or base is None else float(packet.pts * base))


def _step_s(stream: VideoStream) -> float:
    return float(1 / (stream.guessed_rate or stream.average_rate or FALLBACK_FPS))


class _Pace:
    """When a picture of an endless film is due: one clock through all rounds."""

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        self._clock = clock
        self._stop = stop
        self._begun = clock.monotonic()
        self._step_s = 0.0
        self._last_time_s: float | None = None
        self._play_s = 0.0
        self._first = True

    def new_round(self, step_s: float) -> None:
        """The film starts again; `step_s` is what one of its pictures lasts."""
        self._step_s = step_s
        self._last_time_s = None

    def wait_for(self, time_s: float | None) -> float | None:
        """Waits until the picture with this time in the film is due; its endless playing time, None when stopped."""
        step_s = self._step_s
        if time_s is not None and self._last_time_s is not None:
            step_s = min(max(time_s - self._last_time_s, 0.001), MAX_STEP_S)
        self._last_time_s = time_s
        self._play_s += 0.0 if self._first else step_s
        self._first = False
        late_s = self._clock.monotonic() - self._begun - self._play_s
        if late_s > MAX_LATE_S:  # the machine slept: go on from here
            self._begun += late_s
        return None if self._stop.wait(max(0.0, -late_s)) else self._play_s
