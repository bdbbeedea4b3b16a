"""Threads that hang are noticed; threads that wait are left alone."""

from __future__ import annotations

import threading

import pytest

from edge_node.aio.heartbeats import STUCK_S, Heartbeats


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_step_that_does_not_end_is_stuck(time: Time) -> None:
    beats = Heartbeats(time)
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with beats.step("encoder"):
            inside.set()
            leave.wait(30.0)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(30.0) and beats.stuck() == []
    time.now += STUCK_S + 1
    assert beats.stuck() == ["encoder"]
    leave.set()
    thread.join(30.0)
    assert beats.stuck() == []


def test_many_short_steps_are_well_however_long_it_goes_on(time: Time) -> None:
    beats = Heartbeats(time)
    for _ in range(100):
        with beats.step("camera"):
            time.now += STUCK_S / 2
            assert beats.stuck() == []


def test_a_step_within_a_step_counts_by_itself(time: Time) -> None:
    beats = Heartbeats(time)
    with beats.step("outer"):
        time.now += STUCK_S - 1
        with beats.step("inner"):
            time.now += STUCK_S - 1
            assert beats.stuck() == []
        assert beats.stuck() == ["outer"]
    assert beats.stuck() == []


def test_a_failing_step_is_over(time: Time) -> None:
    beats = Heartbeats(time)
    with pytest.raises(ValueError), beats.step("camera"):
        raise ValueError
    time.now += STUCK_S + 1
    assert beats.stuck() == []


def test_a_thread_that_was_left_behind_counts_while_it_lives(time: Time) -> None:
    beats = Heartbeats(time)
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(30.0,))
    thread.start()
    beats.left_behind("camera", thread)
    assert beats.stuck() == []
    time.now += STUCK_S + 1
    assert beats.stuck() == ["camera"]
    end.set()
    thread.join(30.0)
    assert beats.stuck() == []
    beats.left_behind("camera", thread)  # forgets the dead
    assert beats.stuck() == []
