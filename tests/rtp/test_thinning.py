from __future__ import annotations

from edge_node.rtp.thinning import Thinner

FPS = 30


def stream(thinner: Thinner, seconds: float, start: float = 0.0, idr: int = 35_000) -> list[tuple[int, int]]:
    """About 2 Mbit/s with a keyframe each second: (index, bytes) of the pictures that go out."""
    sent = []
    for number in range(round(seconds * FPS)):
        keyframe = number % FPS == 0
        size = idr if keyframe else 7400
        if thinner.admits(size, keyframe, start + number / FPS):
            sent.append((number, size))
    return sent


def test_a_wide_path_gets_everything() -> None:
    thinner = Thinner()
    assert len(stream(thinner, 3)) == 90
    thinner.set_path(1600)  # where REMB starts
    assert len(stream(thinner, 3, 3.0)) == 90 and not thinner.active and thinner.skipped == 0


def test_a_narrow_path_gets_whole_groups_within_its_rate() -> None:
    thinner = Thinner()
    stream(thinner, 3)
    thinner.set_path(1000)
    sent = stream(thinner, 20, 3.0)
    assert thinner.active and thinner.skipped == 600 - len(sent)
    kbps = sum(size for _, size in sent) / 125 / 20
    assert 700 < kbps < 1000
    assert len(sent) / 20 >= 8
    indices = {number for number, _ in sent}
    for number in indices:  # each can be decoded: all since its keyframe went out
        assert all(earlier in indices for earlier in range(number - number % FPS, number))


def test_the_share_has_a_floor() -> None:
    thinner = Thinner()
    stream(thinner, 3)
    thinner.set_path(50)
    kbps = sum(size for _, size in stream(thinner, 20, 3.0)) / 125 / 20
    assert 400 < kbps < 700


def test_a_keyframe_larger_than_the_bucket_goes_out_all_the_same() -> None:
    thinner = Thinner()
    stream(thinner, 3)
    thinner.set_path(300)
    sent = stream(thinner, 30, 3.0, idr=200_000)
    assert any(size == 200_000 for _, size in sent)


def test_it_ends_with_the_next_keyframe_after_the_path_widens() -> None:
    thinner = Thinner()
    stream(thinner, 3)
    thinner.set_path(700)
    stream(thinner, 5.5, 3.0)
    assert thinner.active
    thinner.set_path(4000)
    after = stream(thinner, 2, 8.5)
    assert not thinner.active and len(after) == 60


def test_a_low_first_estimate_that_climbs_means_nothing() -> None:
    """As on a far and lossy path: 0.65 of the stream, then more by the second."""
    thinner = Thinner()
    stream(thinner, 3)
    for second, kbps in enumerate((1330, 1450, 1650)):
        thinner.set_path(kbps)
        assert len(stream(thinner, 1, 3.0 + second)) == FPS
    assert thinner.skipped == 0


def test_an_estimate_that_stays_low_is_believed() -> None:
    thinner = Thinner()
    stream(thinner, 3)
    thinner.set_path(1330)
    assert len(stream(thinner, 2, 3.0)) == 2 * FPS
    stream(thinner, 2, 5.0)
    assert thinner.active and thinner.skipped
