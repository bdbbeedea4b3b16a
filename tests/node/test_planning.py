"""The plan follows the board; the clock and the readings are steered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from edge_node.encode_plan.governor import DOWN_EVERY_S, LATE_READINGS, UP_AFTER_S, Work
from edge_node.encode_plan.limits import HARDWARE, SOFTWARE, BoardLimits
from edge_node.encode_plan.plan import Plan, Refusal, Source
from edge_node.errors import SettingsError
from edge_node.node.planning import MIN_PICTURES, TICK_S, PlanKeeper, Planner
from edge_node.settings.schema import VideoSettings
from tests.support.clock import ManualClock
from tests.support.waiting import eventually

SETTINGS = VideoSettings(source="test")
CAMERA = BoardLimits(HARDWARE, SOFTWARE)


class Board:
    """A keeper between a board that suffers and a publication that is told."""

    def __init__(self, limits: BoardLimits = CAMERA, calibrate: Any = None, settings: VideoSettings = SETTINGS) -> None:
        self.host: dict[str, Any] = {"soc_temp_c": 50.0, "throttled": [], "wifi_rssi_dbm": None}
        self.now = Work(Source.RAW, viewers=1)
        self.plans: list[Plan] = []
        self.vp8_plans: list[Plan | Refusal] = []
        self.most: tuple[int | None, str] = (None, "")
        self.clock = ManualClock()
        self.keeper = PlanKeeper(Planner(limits, settings, 415.0), self, self, self.clock, calibrate)

    def read(self) -> Mapping[str, Any]:
        return self.host

    def rss_mb(self) -> float | None:
        return None

    def work(self) -> Work:
        return self.now

    def set_plan(self, plan: Plan) -> None:
        self.plans.append(plan)

    def set_vp8_plan(self, plan: Plan | Refusal) -> None:
        self.vp8_plans.append(plan)

    def set_most_viewers(self, most: int | None, reason: str) -> None:
        self.most = (most, reason)

    def live(self, seconds: float, late: float = 0.0) -> Plan:
        """Readings for so long, with this share of the pictures too late."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.advance(TICK_S)
            self.now = replace(self.now, offered=self.now.offered + 60, late=self.now.late + round(60 * late))
            self.keeper.tick()
        return self.plans[-1]


def test_a_healthy_board_does_what_was_asked() -> None:
    plan = Board().live(60)
    assert (plan.width_px, plan.fps, plan.encoder, plan.buffers, plan.limited_by) == (1280, 30, "libx264", 2, None)


def test_heat_costs_pictures_and_says_so_then_goes_away() -> None:
    board = Board()
    board.host["soc_temp_c"] = 84.0
    plan = board.live(2 * DOWN_EVERY_S)
    assert (plan.fps, plan.limited_by) == (15, "heat")
    board.host["soc_temp_c"] = 50.0
    assert board.live(3 * UP_AFTER_S).limited_by is None


@pytest.mark.parametrize(
    ("bit", "cause"),
    [("under_voltage", "under_voltage"), ("throttled", "throttled"), ("frequency_capped", "throttled")],
)
def test_the_cause_is_named(bit: str, cause: str) -> None:
    board = Board()
    board.host["throttled"] = [bit]
    assert board.live(TICK_S).limited_by == cause


def test_an_encoder_that_cannot_keep_up_gets_less() -> None:
    board = Board()
    assert board.live(60, late=0.1).limited_by is None
    assert board.live(LATE_READINGS * TICK_S, late=0.5).limited_by == "late"


def test_few_pictures_say_nothing() -> None:
    board = Board()
    for _ in range(20):
        board.clock.advance(TICK_S)
        board.now = replace(board.now, offered=board.now.offered + 1, late=board.now.late + 1)
        board.keeper.tick()
        if board.now.offered % MIN_PICTURES == 0:
            break
    assert board.plans[-1].limited_by is None


def test_every_kind_of_source_has_its_plan() -> None:
    board = Board()
    encoders = {}
    for source in (None, *Source):
        board.now = Work(source, viewers=2)
        board.live(TICK_S)
        encoders[source] = board.plans[-1].encoder
    assert encoders == {
        None: "libx264", Source.CAMERA: "v4l2m2m", Source.RAW: "libx264", Source.CODED: "passthrough",
        Source.FOREIGN: "libx264",
    }  # fmt: skip


def test_a_failed_encoder_is_planned_around() -> None:
    board = Board(BoardLimits(HARDWARE, replace(SOFTWARE, max_mb_per_s=36_000)))
    assert board.live(TICK_S).encoder == "h264_v4l2m2m"
    board.now = replace(board.now, software_instead=True)
    assert (board.live(TICK_S).encoder, board.plans[-1].fps) == ("libx264", 15)


def test_a_refusal_keeps_the_plan_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(replace(CAMERA, sending_kbps=2000))
    before = board.live(TICK_S)
    board.now = replace(board.now, viewers=100)
    assert board.live(20) == before
    assert [record.message for record in caplog.records if "let fewer watch" in record.message] != []
    assert len(caplog.records) == 1


def test_settings_that_no_board_can_do_are_refused() -> None:
    planner = Planner(CAMERA, VideoSettings(source="test", width_px=64, height_px=64), None)
    with pytest.raises(SettingsError, match="too small"):
        planner.plan(Source.RAW)


async def test_the_encoder_is_measured_once_it_has_work() -> None:
    calls: list[bool] = []

    def calibrate() -> int:
        calls.append(True)
        return 36_000

    board = Board(BoardLimits(), calibrate)
    board.now = Work(Source.CODED)
    task = asyncio.create_task(board.keeper.run())
    await eventually(lambda: board.plans)
    assert not calls
    board.now = Work(Source.RAW)
    await eventually(lambda: board.plans[-1].limited_by == "encoder")
    assert len(calls) == 1
    task.cancel()
    await asyncio.wait([task])


def test_vp8_gets_what_is_left_beside_the_pictures() -> None:
    board = Board()
    plan = board.live(TICK_S)
    vp8 = board.vp8_plans[-1]
    assert isinstance(vp8, Plan)
    assert vp8.encoder == "libvpx"
    assert vp8.width_px * vp8.height_px * vp8.fps < plan.width_px * plan.height_px * plan.fps


def test_a_vp8_encoder_that_comes_too_late_counts_as_any_other() -> None:
    board = Board()
    for _ in range(LATE_READINGS):
        board.now = replace(board.now, vp8_offered=board.now.vp8_offered + 60, vp8_late=board.now.vp8_late + 30)
        board.live(TICK_S)
    assert board.plans[-1].limited_by == "late"


def test_a_board_without_time_for_vp8_says_so_when_it_gets_hot() -> None:
    board = Board(BoardLimits(software=replace(SOFTWARE, max_mb_per_s=3000, parallel=2)))
    board.live(TICK_S)
    assert isinstance(board.vp8_plans[-1], Plan)
    board.host["soc_temp_c"] = 90.0
    board.live(6 * DOWN_EVERY_S)
    refused = board.vp8_plans[-1]
    assert isinstance(refused, Refusal) and "no time left to make VP8" in refused.reason


def test_a_stream_too_large_to_be_made_vp8_of_is_refused_and_taken_again_when_it_is_smaller() -> None:
    board = Board()
    board.now = Work(Source.CODED, viewers=1, stream_px=(5120, 2880))
    board.live(TICK_S)
    refused = board.vp8_plans[-1]
    assert isinstance(refused, Refusal) and "VP8 of 5120x2880 pixels" in refused.reason
    board.now = replace(board.now, stream_px=(640, 360))
    board.live(TICK_S)
    assert isinstance(board.vp8_plans[-1], Plan)


def test_the_publication_knows_how_many_may_watch_and_why_no_more() -> None:
    board = Board(replace(CAMERA, sending_kbps=12_000))
    board.now = Work(Source.CODED, viewers=2)
    board.live(TICK_S)
    assert board.most[0] == 24 and "sends to 24 viewers" in board.most[1]
    board.now = Work(Source.CODED, viewers=24, stream_kbps=2000)
    assert (board.live(TICK_S).max_kbps, board.plans[-1].limited_by) == (500, "viewers")


def test_a_cameras_own_rate_counts_unless_the_settings_name_one() -> None:
    busy = Work(Source.CODED, viewers=1, stream_kbps=4100)
    for settings, kbps in ((SETTINGS, 4500), (VideoSettings(source="test", max_kbps=1000), 1000)):
        board = Board(settings=settings)
        board.now = busy
        assert board.live(TICK_S).max_kbps == kbps


def test_heat_takes_from_what_is_handed_through_and_is_named() -> None:
    board = Board()
    board.now = Work(Source.CODED, viewers=1)
    board.host["soc_temp_c"] = 90.0
    plan = board.live(TICK_S)
    assert (plan.max_kbps, plan.limited_by) == (1500, "heat")
    assert board.live(6 * DOWN_EVERY_S).max_kbps == 500


def test_where_not_one_viewer_is_possible_their_number_is_not_to_blame() -> None:
    board = Board(BoardLimits(None, None))
    board.now = Work(Source.RAW, viewers=1)
    board.keeper.tick()
    assert (board.plans, board.most) == ([], (None, ""))


def test_says_what_cannot_be_decoded() -> None:
    planner = Planner(CAMERA, SETTINGS, 415.0)
    assert planner.undecodable("h264", 320, 240) is None
    assert "too slow for H.265" in (planner.undecodable("hevc", 3840, 2160) or "")
