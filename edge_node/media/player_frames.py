"""Decoded frames in the form in which tracks give them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from edge_node.dsp.pcm import Pcm, stereo
from edge_node.media.opus_encoder import PACKET_FRAMES, TIME_BASE
from edge_node.media.player_queue import Frame
from edge_node.ports import SAMPLE_RATE, VIDEO_CLOCK

VIDEO_TIME_BASE = Fraction(1, VIDEO_CLOCK)
MAX_GAP_S = 0.1
MAX_SKEW_S = 2.0


def stereo_frame(samples: Pcm, pts: int) -> av.AudioFrame:
    """Interleaved 48 kHz stereo as a frame."""
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate = SAMPLE_RATE
    frame.time_base = TIME_BASE
    frame.pts = pts
    return frame


class Timeline:
    """Seconds since a source began, over new openings or jumps of its own clock."""

    def __init__(self) -> None:
        self._shift_s: float | None = None

    def restart(self) -> None:
        """The source is opened again: its clock may begin anywhere."""
        self._shift_s = None

    def at(self, time_s: float | None, now_s: float) -> float:
        """When a frame is from: `time_s` by the source's clock (None when it has none), got at `now_s` by ours."""
        if time_s is None:
            return now_s
        if self._shift_s is None or abs(time_s + self._shift_s - now_s) > MAX_SKEW_S:
            self._shift_s = now_s - time_s
        return time_s + self._shift_s


class Pictures:
    """Gives pictures timestamps that grow, at VIDEO_CLOCK."""

    def __init__(self) -> None:
        self._last = -1

    def shape(self, frame: av.VideoFrame, at_s: float) -> Iterator[av.VideoFrame]:
        """The same picture; `at_s` seconds since the source began."""
        self._last = max(self._last + 1, round(at_s * VIDEO_CLOCK))
        frame.time_base = VIDEO_TIME_BASE
        frame.pts = self._last
        yield frame


class Sounds:
    """Cuts sound of any kind into frames as WebRTC wants them: 20 ms of 16-bit stereo at 48 kHz."""

    def __init__(self) -> None:
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None
        self._next = 0

    def shape(self, frame: av.AudioFrame, at_s: float) -> Iterator[av.AudioFrame]:
        """Whole frames; what is left waits for the next. A hole of more than MAX_GAP_S is seen in the timestamps."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or kind != self._kind:
            # One channel stays one: FFmpeg would make two out of it at 0.7 of the loudness.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler("s16", layout, SAMPLE_RATE, frame_size=PACKET_FRAMES)
            self._kind = kind
        frame.pts = None
        for cut in self._resampler.resample(frame):
            pcm = cut.to_ndarray().reshape(-1).astype(np.int16, copy=False)
            yield self.number(stereo(pcm) if cut.layout.nb_channels == 1 else pcm, at_s)
            at_s += PACKET_FRAMES / SAMPLE_RATE

    def rest(self) -> Iterator[av.AudioFrame]:
        """The end, filled up with silence."""
        resampler, self._resampler = self._resampler, None
        for cut in resampler.resample(None) if resampler is not None else []:
            pcm = cut.to_ndarray().reshape(-1).astype(np.int16, copy=False)
            pcm = stereo(pcm) if cut.layout.nb_channels == 1 else pcm
            yield self.number(np.pad(pcm, (0, 2 * PACKET_FRAMES - len(pcm))), 0.0)

    def number(self, samples: Pcm, at_s: float) -> av.AudioFrame:
        """A frame of these interleaved samples, numbered on from the last one."""
        if at_s - self._next / SAMPLE_RATE > MAX_GAP_S:
            self._next = round(at_s * SAMPLE_RATE)
        pts, self._next = self._next, self._next + len(samples) // 2
        return stereo_frame(samples, pts)


class Frames:
    """Of both kinds, from one source."""

    def __init__(self) -> None:
        self.pictures, self.sounds = Pictures(), Sounds()

    def shape(self, frame: Frame, at_s: float) -> Iterator[Frame]:
        """See Pictures, Sounds."""
        if isinstance(frame, av.VideoFrame):
            return self.pictures.shape(frame, at_s)
        return self.sounds.shape(frame, at_s)
