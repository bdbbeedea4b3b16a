"""The microphone of an RTSP camera."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

import av
import numpy as np

from edge_node.dsp.blocks import Blocks
from edge_node.dsp.pacing import Pacer
from edge_node.dsp.pcm import Pcm, silence
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media.opus_packet import OpusPacket, parse_opus
from edge_node.media.rtsp.sdp import AudioTrack
from edge_node.media.rtsp.source import RtspSource
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE, Clock

log = logging.getLogger(__name__)

STEP_FRAMES = 960
SILENT_S = 5.0
"""The camera's sound is gone when nothing came for so long, and the camera itself has had time to come back."""
TARGET_FRAMES = 3840
"""80 ms wait before the first is played: cameras send sound in lumps, and TCP makes larger ones of them."""
MAX_FRAMES = 19_200
"""400 ms; overflow rule: the oldest goes, down to the target."""
_DECODERS = {"PCMU": "pcm_mulaw", "PCMA": "pcm_alaw", "MPEG4-GENERIC": "aac", "OPUS": "opus"}

Piece = Pcm | OpusPacket


class SoundDecoder:
    """Mono blocks of BLOCK_FRAMES at SAMPLE_RATE out of a camera's coded frames; what is broken is counted."""

    def __init__(self, track: AudioTrack) -> None:
        codec = av.CodecContext.create(_DECODERS[track.codec], "r")
        assert isinstance(codec, av.AudioCodecContext)
        if track.codec in ("PCMU", "PCMA"):
            codec.sample_rate = track.rate_hz
            codec.layout = "mono" if track.channels == 1 else "stereo"
        if track.config:
            codec.extradata = track.config
        self._codec = codec
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        self._kind: tuple[str, str, int] | None = None
        self._blocks = Blocks(BLOCK_FRAMES)
        self.failures = 0

    def decode(self, frames: Sequence[bytes]) -> list[Pcm]:
        """The blocks that are complete now."""
        blocks: list[Pcm] = []
        for data in frames:
            try:
                for frame in self._codec.decode(av.Packet(data)):
                    for mono in self._resample(frame):
                        blocks += self._blocks.push(mono.to_ndarray().reshape(-1).astype(np.int16, copy=False))
            except (av.FFmpegError, ValueError) as err:
                self.failures += 1
                if self.failures == 1:
                    log.warning("the camera's sound cannot be decoded everywhere: %s", err)
        return blocks

    def _resample(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """AAC says only in its packets how many channels there are, and may change its mind."""
        frame.pts = None
        if (kind := (frame.format.name, frame.layout.name, frame.sample_rate)) != self._kind:
            self._kind = kind
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        return self._resampler.resample(frame)


class Playout:
    """Evens out the lumps in which a camera's sound comes."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._frames = 0
        self._filling = True
        self._owed = 0
        self.dropped = 0

    def put(self, piece: Piece) -> None:
        """One more piece, or the overflow rule."""
        self._pieces.append(piece)
        self._frames += _length(piece)
        if self._frames > MAX_FRAMES:
            while self._frames > TARGET_FRAMES:
                self._pop()
                self.dropped += 1

    def take(self, frames: int) -> list[Piece]:
        """What is due when this much time has passed; nothing after a drought, until there is enough again."""
        if self._filling and self._frames < TARGET_FRAMES:
            return []
        self._filling = False
        self._owed += frames
        due = []
        while self._pieces and self._owed >= _length(self._pieces[0]):
            self._owed -= _length(self._pieces[0])
            due.append(self._pop())
        if not self._pieces:
            self._filling, self._owed = True, 0
        return due

    def _pop(self) -> Piece:
        piece = self._pieces.popleft()
        self._frames -= _length(piece)
        return piece


def _length(piece: Piece) -> int:
    return piece.frames if isinstance(piece, OpusPacket) else len(piece)


class RtspMicrophone:
    """Plays a camera's sound at an even pace; an AudioSource.

    AAC and G.711 come as blocks. Opus goes untouched to `on_opus` where that is set, and as blocks where it is not.
    """

    label = "rtsp"

    def __init__(self, source: RtspSource, clock: Clock) -> None:
        """`source` was made with sound."""
        self._source = source
        self._clock = clock
        self._decoder: tuple[AudioTrack, SoundDecoder] | None = None
        self._heard_at = 0.0
        self._failures = 0
        self.on_opus: Callable[[OpusPacket], None] | None = None
        self.dropped = 0

    async def run(self, sink: Callable[[Pcm], None]) -> None:
        """Delivers until cancelled. Raises DeviceLost or DeviceMissing."""
        playout, pacer = Playout(), Pacer(STEP_FRAMES / SAMPLE_RATE)
        loop = asyncio.get_running_loop()
        self._heard_at = self._clock.monotonic()
        told = False
        self._source.listen(lambda track, frames: self._heard(playout, track, frames))
        try:
            while True:
                await asyncio.sleep(pacer.wait_s(loop.time()))
                for piece in playout.take(STEP_FRAMES):
                    if not isinstance(piece, OpusPacket):
                        sink(piece)
                    elif self.on_opus is not None:
                        if not told:
                            sink(silence(BLOCK_FRAMES))  # whoever waits for the first block learns that it works
                            told = True
                        self.on_opus(piece)
                self._check()
        finally:
            self._source.listen(None)
            self.dropped += playout.dropped

    def _heard(self, playout: Playout, track: AudioTrack, frames: list[bytes]) -> None:
        now = self._clock.monotonic()
        if track.codec == "OPUS" and self.on_opus is not None:
            self._heard_at = now
            for packet in map(parse_opus, frames):
                if packet is not None:
                    playout.put(packet)
            return
        if self._decoder is None or self._decoder[0] != track:
            self._decoder = (track, SoundDecoder(track))
        for block in self._decoder[1].decode(frames):
            self._heard_at = now
            playout.put(block)

    def _check(self) -> None:
        if self._clock.monotonic() - self._heard_at < SILENT_S:
            return
        if self._source.playing and self._source.mute is not None:
            raise DeviceLost(f"the camera's sound was refused: {self._source.mute}")
        if self._source.playing and self._source.audio is None:
            offers = ", ".join(self._source.others) or "nothing"
            raise DeviceMissing(
                f"{self._source} sends no sound that can be used (beside its picture: {offers}): set its sound to "
                "AAC, G.711 or Opus, or audio.microphone to another device"
            )
        if self._decoder is not None and self._decoder[1].failures > self._failures:
            self._failures = self._decoder[1].failures
            raise DeviceLost(f"{self._source} sends sound that cannot be decoded: set its sound to G.711 or Opus")
        raise DeviceLost(f"{self._source} sent no sound for {SILENT_S:g} s: check that its microphone is switched on")
