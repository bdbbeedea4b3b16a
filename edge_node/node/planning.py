"""Keeps the encode plan true to what the board goes through."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_node.encode_plan.decode import decode_refusal, vp8_refusal
from edge_node.encode_plan.governor import Governor, Reading, Work
from edge_node.encode_plan.limits import BoardLimits
from edge_node.encode_plan.plan import CALM, Plan, Refusal, Situation, Source, Wish, may_transcode, most_viewers, plan
from edge_node.errors import SettingsError
from edge_node.ports import Clock, Probe
from edge_node.settings.schema import VideoSettings

log = logging.getLogger(__name__)

TICK_S = 2.0
TOO_MANY = "this board sends to {} viewers at a time and no more: wait until one leaves, or lower video.max_kbps"
STREAM_STEP_KBPS = 500
"""A camera's rate goes up and down all the time; the plan shall not."""
MIN_PICTURES = 20
"""Fewer pictures since the reading before say nothing about how late the encoder is."""


class Planned(Protocol):
    """The picture's publication as planning sees it."""

    def work(self) -> Work:
        """What it does now."""
        ...

    def set_plan(self, plan: Plan) -> None: ...

    def set_vp8_plan(self, plan: Plan | Refusal) -> None: ...

    def set_most_viewers(self, most: int | None, reason: str) -> None: ...


class Planner:
    """plan() for these settings on this board."""

    def __init__(self, board: BoardLimits, video: VideoSettings, memory_mb: float | None) -> None:
        self.board = board
        self._video = video
        self._memory_mb = memory_mb

    def situation(self, **of_now: Any) -> Situation:
        """This board's situation."""
        return Situation(memory_mb=self._memory_mb, **of_now)

    def try_plan(
        self, source: Source, now: Situation = CALM, *, hardware: bool = True, stream_kbps: float = 0.0
    ) -> Plan | Refusal:
        """What is possible now; `hardware` false: the board's own encoder has failed.

        A stream that is handed through may have its own rate, `stream_kbps`, unless the settings name one.
        """
        return plan(self._able(hardware), self._wish(source, stream_kbps), now)

    def most_viewers(self, source: Source, now: Situation, *, hardware: bool = True, stream_kbps: float = 0.0) -> int:
        """How many viewers try_plan() would still take; 0 when it refuses the first one."""
        return most_viewers(self._able(hardware), self._wish(source, stream_kbps), now)

    def _able(self, hardware: bool) -> BoardLimits:
        return self.board if hardware else self.board.without_hardware()

    def _wish(self, source: Source, stream_kbps: float) -> Wish:
        video = self._video
        kbps = video.max_kbps
        if source is Source.CODED and "max_kbps" not in video.model_fields_set:
            kbps = max(kbps, math.ceil(stream_kbps / STREAM_STEP_KBPS) * STREAM_STEP_KBPS)
        return Wish(video.width_px, video.height_px, video.fps, kbps, source)

    def plan(self, source: Source) -> Plan:
        """The plan to begin with. Raises SettingsError with the reason when there is none."""
        chosen = self.try_plan(source, self.situation())
        if isinstance(chosen, Refusal):
            raise SettingsError(f"video: {chosen.reason}")
        return chosen

    def vp8(self, running: Plan, now: Situation = CALM, stream_px: tuple[int, int] | None = None) -> Plan | Refusal:
        """What viewers without H.264 can get beside the running plan, of a stream of that size if it comes coded."""
        video = self._video
        refusal = None if stream_px is None else vp8_refusal(self.board, *stream_px, video.fps)
        if refusal is not None:
            return Refusal(refusal)
        return may_transcode(self.board, Wish(video.width_px, video.height_px, video.fps, video.max_kbps), running, now)

    def undecodable(self, codec: str, width_px: int, height_px: int) -> str | None:
        """Why this board cannot decode such pictures, or None."""
        return decode_refusal(self.board, codec, width_px, height_px, self._video.fps)

    def calibrated(self, mb_per_s: int) -> None:
        """The software encoder's real speed on this machine."""
        self.board = self.board.measured(mb_per_s)


class PlanKeeper:
    """Reads the board every TICK_S, lets the governor judge, gives the publication another plan when it changes.

    `calibrate` measures the software encoder (macroblocks a second) once that has work to do; it blocks, and gives None
    when it could not.
    """

    def __init__(
        self,
        planner: Planner,
        video: Planned,
        probe: Probe,
        clock: Clock,
        calibrate: Callable[[], int | None] | None = None,
    ) -> None:
        self._planner = planner
        self._video = video
        self._probe = probe
        self._clock = clock
        self._calibrate = calibrate
        self._governor = Governor(planner.board.heat)
        self._late = LateShare()
        self._vp8_late = LateShare()
        self._refused: str | None = None

    async def run(self) -> None:
        """The part's work, until cancelled."""
        while True:
            if self.tick() == "libx264" and self._calibrate is not None:
                calibrate, self._calibrate = self._calibrate, None
                measured = await asyncio.to_thread(calibrate)
                if measured is not None:
                    self._planner.calibrated(measured)
            await asyncio.sleep(TICK_S)

    def tick(self) -> str | None:
        """One reading; the encoder of the pictures that come now."""
        work = self._video.work()
        before = self._governor.step
        step = self._governor.update(self._reading(work, self._probe.read()), self._clock.monotonic())
        if step != before:
            log.info(
                "pictures are held back to %.0f %% (%s)", 100 * step.share, ", ".join(step.causes) or "all is well"
            )
        now = self._planner.situation(viewers=max(1, work.viewers), share=step.share, causes=step.causes)
        chosen = self._choose(work, now)
        if isinstance(chosen, Plan):
            self._video.set_plan(chosen)
            self._video.set_vp8_plan(self._planner.vp8(chosen, now, work.stream_px))
        refused = chosen.reason if isinstance(chosen, Refusal) else None
        if refused is not None and refused != self._refused:
            log.warning("the plan for pictures stays as it is: %s", refused)
        self._refused = refused
        return chosen.encoder if isinstance(chosen, Plan) and work.source is not None else None

    def _choose(self, work: Work, now: Situation) -> Plan | Refusal:
        """The plan for those who watch; says how many more may."""
        source = work.source or Source.RAW
        of_stream: Any = {"hardware": not work.software_instead, "stream_kbps": work.stream_kbps}
        chosen = self._planner.try_plan(source, now, **of_stream)
        most = self._planner.most_viewers(source, now, **of_stream)
        # Where not even one is possible it is not the viewers' number that is wrong.
        many = TOO_MANY.format(most) if most else ""
        self._video.set_most_viewers(most or None, many)
        return chosen

    def _reading(self, work: Work, host: Mapping[str, Any]) -> Reading:
        shares = (self._late.since(work.offered, work.late), self._vp8_late.since(work.vp8_offered, work.vp8_late))
        return Reading(
            temp_c=host.get("soc_temp_c"),
            throttled=host.get("throttled"),
            late_share=max((share for share in shares if share is not None), default=None),
            on_wifi=host.get("wifi_rssi_dbm") is not None,
        )


class LateShare:
    """Of the pictures since the reading before, how many an encoder was too busy for."""

    def __init__(self) -> None:
        self._seen = (0, 0)

    def since(self, offered: int, late: int) -> float | None:
        """0 to 1, from its counts; None while there are too few to say."""
        new, new_late = offered - self._seen[0], late - self._seen[1]
        if new >= MIN_PICTURES or new < 0:
            self._seen = (offered, late)
        return new_late / new if new >= MIN_PICTURES else None
