"""What a new version has to prove: a part that worked before works again."""

from __future__ import annotations

from typing import Any

from edge_node.update.health import DEADLINE_S, STABLE_S, WELL_S, Bad, Good, HealthGate, working_parts
from tests.support.update_lab import Machine, Publisher

UP, OFF = {"state": "up", "reason": ""}, {"state": "off", "reason": "privacy is on"}
GONE = {"state": "degraded", "reason": "no camera was found"}


def _status(uptime_s: float = STABLE_S, **more: Any) -> dict[str, Any]:
    return {"node": {"version": "2"}, "uptime_s": uptime_s, "channel": {"state": "joined"}, **more}


def _gate() -> HealthGate:
    return HealthGate("2", was_online=True, worked=["camera"])


def test_what_works_before_is_looked_at() -> None:
    parts = {"camera": UP, "speaker": GONE, "microphone": OFF, "channel": UP, "telemetry": UP, "tamper": UP}
    assert working_parts({"parts": parts}) == ["camera"]
    assert working_parts(None) == working_parts({}) == []


def test_a_part_that_worked_and_does_not_fails_the_trial() -> None:
    gate = _gate()
    assert gate.look(_status(parts={"camera": GONE}), 0) is None
    bad = gate.look(_status(parts={"camera": GONE}), DEADLINE_S)
    assert bad == Bad(f"camera worked before and does not (no camera was found) after {DEADLINE_S:g} s")
    starting = {"camera": {"state": "starting", "reason": ""}}
    assert gate.look(_status(parts=starting), DEADLINE_S) == Bad(
        f"camera worked before and does not (it does not start) after {DEADLINE_S:g} s"
    )


def test_one_that_recovers_in_time_is_fine() -> None:
    gate = _gate()
    assert gate.look(_status(parts={"camera": GONE}), 100) is None
    assert gate.look(_status(parts={"camera": UP}), 100 + WELL_S - 1) is None
    assert gate.look(_status(parts={"camera": UP}), 100 + WELL_S) == Good()


def test_one_that_is_up_now_and_then_does_not_recover() -> None:
    gate = _gate()
    for second in range(int(DEADLINE_S)):
        assert gate.look(_status(parts={"camera": UP if second % 4 else GONE}), second) is None
    assert gate.look(_status(parts={"camera": UP}), DEADLINE_S) == Bad(f"a part keeps failing after {DEADLINE_S:g} s")


def test_off_by_choice_and_parts_that_are_no_more_are_no_fault() -> None:
    assert _gate().look(_status(parts={"camera": OFF}), 0) == Good()
    assert _gate().look(_status(parts={}), 0) == Good()


def test_a_safe_mode_proves_nothing() -> None:
    gate = _gate()
    assert gate.look(_status(parts={}, safe_mode="5 failures in a row"), 0) is None
    assert HealthGate("2", was_online=False).look(_status(safe_mode="5 failures in a row"), 0) == Good()


def test_a_version_that_loses_the_camera_is_taken_back(machine: Machine, publisher: Publisher) -> None:
    machine.world.parts = lambda slot, _: {"camera": GONE if slot == "b" else UP, "speaker": GONE}
    assert not machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.version == "1.0.0"
    assert machine.slots.history()[-1]["reason"].startswith("camera worked before and does not (no camera was found)")


def test_an_outage_from_before_and_a_late_recovery_are_no_reason(machine: Machine, publisher: Publisher) -> None:
    machine.world.parts = lambda _, uptime_s: {"camera": UP if uptime_s >= STABLE_S else GONE, "speaker": GONE}
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert STABLE_S + WELL_S - 1 <= machine.world.now() < DEADLINE_S


def test_a_rollback_from_a_version_without_camera_succeeds(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    machine.world.parts = lambda slot, _: {"camera": GONE}
    assert machine.updater.rollback() and machine.version == "1.0.0"
