"""Keeps the encode plan true to what the board goes through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_node.encode_plan.decode import decode_refusal
from edge_node.encode_plan.governor import Governor, Reading, Work
from edge_node.encode_plan.limits import BoardLimits
from edge_node.encode_plan.plan import CALM, Plan, Refusal, Situation, Source, Wish, may_transcode, plan
from edge_node.errors import SettingsError
from edge_node.ports import Clock, Probe
from edge_node.settings.schema import VideoSettings

log = logging.getLogger(__name__)

TICK_S = 2.0
MIN_PICTURES = 20
"""Fewer pictures since the reading before say nothing about how late the encoder is."""


class Planned(Protocol):
    """The picture's publication as planning sees it."""

    def work(self) -> Work:
        """What it does now."""
        ...

    def set_plan(self, plan: Plan) -> None: ...

    def set_vp8_plan(self, plan: Plan) -> None: ...


class Planner:
    """plan() for these settings on this board."""

    def __init__(self, board: BoardLimits, video: VideoSettings, memory_mb: float | None) -> None:
        self.board = board
        self._video = video
        self._memory_mb = memory_mb

    def situation(self, **of_now: Any) -> Situation:
        """This board's situation."""
        return Situation(memory_mb=self._memory_mb, **of_now)

    def try_plan(self, source: Source, now: Situation = CALM, *, hardware: bool = True) -> Plan | Refusal:
        """What is possible now; `hardware` false: the board's own encoder has failed."""
        video = self._video
        board = self.board if hardware else self.board.without_hardware()
        return plan(board, Wish(video.width_px, video.height_px, video.fps, video.max_kbps, source), now)

    def plan(self, source: Source) -> Plan:
        """The plan to begin with. Raises SettingsError with the reason when there is none."""
        chosen = self.try_plan(source, self.situation())
        if isinstance(chosen, Refusal):
            raise SettingsError(f"video: {chosen.reason}")
        return chosen

    def vp8(self, running: Plan, now: Situation = CALM) -> Plan | Refusal:
        """What viewers without H.264 can get beside the running plan."""
        video = self._video
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
        self._seen = (0, 0)
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
        source = work.source or Source.RAW
        chosen = self._planner.try_plan(source, now, hardware=not work.software_instead)
        if isinstance(chosen, Plan):
            self._video.set_plan(chosen)
            vp8 = self._planner.vp8(chosen, now)
            if isinstance(vp8, Plan):
                self._video.set_vp8_plan(vp8)
        refused = chosen.reason if isinstance(chosen, Refusal) else None
        if refused is not None and refused != self._refused:
            log.warning("the plan for pictures stays as it is: %s", refused)
        self._refused = refused
        return chosen.encoder if isinstance(chosen, Plan) and work.source is not None else None

    def _reading(self, work: Work, host: Mapping[str, Any]) -> Reading:
        offered, late = work.offered - self._seen[0], work.late - self._seen[1]
        if offered >= MIN_PICTURES or offered < 0:
            self._seen = (work.offered, work.late)
        return Reading(
            temp_c=host.get("soc_temp_c"),
            throttled=host.get("throttled"),
            late_share=late / offered if offered >= MIN_PICTURES else None,
            on_wifi=host.get("wifi_rssi_dbm") is not None,
        )
