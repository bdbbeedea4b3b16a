"""Coded pictures that viewers cannot be given as they are, decoded while somebody watches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import av

from edge_node.errors import SourceLost
from edge_node.media.packet_queue import Coded, GopCache
from edge_node.media.unit_decoder import UnitDecoder
from edge_node.ports import VIDEO_CLOCK, AccessUnit
from edge_node.rtp.packetize import Unit

log = logging.getLogger(__name__)

Judge = Callable[[str, int, int], str | None]
"""judge(codec, width_px, height_px): why this board cannot decode such pictures in real time, or None."""
MAX_PICTURE_S = 0.1
REANCHOR_S = 1.0
BURST_STEP_S = 0.001
MAX_FAILURES = 10


class Transcode:
    """Gives `on_picture(frame, captured_at)`, in the decoder's thread, for units with `decode_as`.

    Unwatched, only the first keyframe is decoded, to know whether this board can; the pictures since the last keyframe
    are remembered, so that a viewer sees one at once. unit() comes from any one thread, want() from any.
    """

    def __init__(
        self, on_picture: Callable[[av.VideoFrame, float], None], judge: Judge, now: Callable[[], float]
    ) -> None:
        self._on_picture = on_picture
        self._judge = judge
        self._now = now
        self._lock = threading.Lock()
        self._cache = GopCache()
        self._decoder: UnitDecoder | None = None
        self._codec: str | None = None
        self._judged: tuple[int, int] | None = None
        self._refusal: str | None = None
        self._wanted = False
        self._offset_s: float | None = None
        self._last_at = 0.0
        self._dropped_before = 0
        self.decoders_opened = 0

    @property
    def dropped(self) -> int:
        """Coded pictures that were never decoded although somebody watched."""
        decoder = self._decoder
        return self._dropped_before + (0 if decoder is None else decoder.dropped)

    def want(self, wanted: bool) -> None:
        """Whether anybody watches."""
        with self._lock:
            self._wanted = wanted
            if wanted and self._decoder is None and self._codec is not None:
                self._begin()
            elif not wanted and self._judged is not None:
                self._end()

    def unit(self, unit: AccessUnit) -> None:
        """The next coded picture. Raises SourceLost, with the reason, when this board cannot decode such."""
        at_s = self._steady(unit)
        duration_s = min(abs(at_s - self._last_at), MAX_PICTURE_S)
        self._last_at = at_s
        with self._lock:
            if unit.decode_as != self._codec:
                self._end()
                self._codec, self._judged = unit.decode_as, None
                self._cache.clear()
            if self._refusal is not None:
                reason, self._refusal, self._judged = self._refusal, None, None
                self._end()
                raise SourceLost(reason)
            if self._decoder is not None:
                self._give_up_on(self._decoder)
                self._decoder.offer(unit.data, at_s, duration_s, keyframe=unit.keyframe)
            coded = Unit(unit.data, unit.decode_as or "", keyframe=unit.keyframe)
            self._cache.put(Coded(coded, 0, duration_s), self._now())
            if self._decoder is None and (self._wanted or self._judged is None):
                self._begin()

    def close(self) -> None:
        """Ends the decoder's thread; waits for it."""
        with self._lock:
            self._wanted = False
            decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close()

    def _steady(self, unit: AccessUnit) -> float:
        """When it was taken, by the camera's clock while that agrees with ours: steadier than the arrival."""
        sent_s = unit.timestamp / VIDEO_CLOCK
        if self._offset_s is None or abs(sent_s + self._offset_s - unit.captured_at) > REANCHOR_S:
            self._offset_s = unit.captured_at - sent_s
        return sent_s + self._offset_s

    def _give_up_on(self, decoder: UnitDecoder) -> None:
        if decoder.failures >= MAX_FAILURES and not decoder.decoded:
            self._end()
            raise SourceLost(f"its {self._codec} cannot be decoded: set the camera to H.264, at most 4096x2304")

    def _begin(self) -> None:
        assert self._codec is not None
        self._decoder = UnitDecoder(self._codec, self._decoded, reorders=self._codec != "mjpeg")
        self.decoders_opened += 1
        group = self._cache.group(self._now())
        for index, item in enumerate(group):  # at once, so that only its newest picture is worth encoding
            at_s = self._last_at - (len(group) - 1 - index) * BURST_STEP_S
            self._decoder.offer(item.unit.data, at_s, 0.0, keyframe=item.keyframe)

    def _end(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close(timeout_s=0.0)
            self._dropped_before += decoder.dropped

    def _decoded(self, frame: av.VideoFrame, at_s: float) -> None:
        size = (frame.width, frame.height)
        if size != self._judged and self._codec is not None:
            self._refusal = self._judge(self._codec, *size)
            self._judged = size
            if self._refusal is not None:
                log.warning("the source's pictures cannot be shown: %s", self._refusal)
            elif not self._wanted:
                with self._lock:
                    if not self._wanted:
                        self._end()
        if self._refusal is None:
            self._on_picture(frame, at_s)
