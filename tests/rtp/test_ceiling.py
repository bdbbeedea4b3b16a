from __future__ import annotations

from edge_node.rtp.ceiling import LIMITED_FOR_S, Ceiling

FPS = 30


def stream(ceiling: Ceiling, seconds: float, start: float = 0.0) -> list[tuple[int, int]]:
    """About 2 Mbit/s with a keyframe each second: (index, bytes) of the pictures that go out."""
    sent = []
    for number in range(round(seconds * FPS)):
        keyframe = number % FPS == 0
        size = 35_000 if keyframe else 7400
        if ceiling.admits(size, keyframe, start + number / FPS):
            sent.append((number, size))
    return sent


def test_what_stays_below_it_loses_nothing() -> None:
    ceiling = Ceiling(2100)
    assert len(stream(ceiling, 30)) == 900
    assert ceiling.skipped == 0 and not ceiling.limits(30)


def test_what_is_above_it_is_cut_to_whole_groups_within_the_rate() -> None:
    ceiling = Ceiling(1000)
    sent = stream(ceiling, 60)
    kbps = sum(size for _, size in sent) / 125 / 60
    assert 800 < kbps <= 1020
    assert ceiling.skipped == 1800 - len(sent) and ceiling.limits(60)
    indices = {number for number, _ in sent}
    for number in indices:  # each can be decoded: all since its keyframe went out
        assert all(earlier in indices for earlier in range(number - number % FPS, number))


def test_another_rate_counts_at_once() -> None:
    ceiling = Ceiling(500)
    stream(ceiling, 20)
    ceiling.kbps = 4000
    assert len(stream(ceiling, 10, 20)) == 300
    assert not ceiling.limits(20 + LIMITED_FOR_S)
