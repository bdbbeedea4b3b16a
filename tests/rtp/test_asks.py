from __future__ import annotations

from edge_node.rtp.asks import FORGET_S, MOST_S, AskLimiter


def granted(limiter: AskLimiter, seconds: float, per_s: int, start: float = 0.0) -> list[float]:
    times = [start + number / per_s for number in range(round(seconds * per_s))]
    return [at for at in times if limiter.ask(at)]


def test_a_storm_costs_the_others_a_keyframe_now_and_then() -> None:
    limiter = AskLimiter()
    times = granted(limiter, 20, 50)
    assert times[0] == 0.0 and times[1] < 0.35 and len(times) <= 22
    assert times[-1] - times[-2] >= MOST_S and limiter.refused == 1000 - len(times)


def test_one_that_asks_seldom_is_always_served() -> None:
    limiter = AskLimiter()
    assert len(granted(limiter, 60, 1)) == 60
    calm = [number * (FORGET_S + 0.1) for number in range(10)]
    assert all(AskLimiter().ask(at) for at in calm)
    again = AskLimiter()
    assert all(again.ask(at) for at in calm) and again.refused == 0


def test_after_a_calm_time_it_starts_over() -> None:
    limiter = AskLimiter()
    granted(limiter, 20, 50)
    assert granted(limiter, 1, 5, start=30.0)[:2] == [30.0, 30.4]
