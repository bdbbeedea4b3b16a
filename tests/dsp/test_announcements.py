"""The node's own sounds: one after the other, or again and again, until they are broken off."""

from __future__ import annotations

import numpy as np

from edge_node.dsp.announcements import FADE, MAX_WAITING, Announcements
from edge_node.dsp.pcm import Pcm, silence


def sound(value: int, frames: int = 15) -> Pcm:
    return np.full(frames, value, np.int16)


def pulled(announcements: Announcements, frames: int = 10) -> list[int] | None:
    block = announcements.pull(frames)
    return None if block is None else block.tolist()


def test_nothing_to_say_is_nothing() -> None:
    announcements = Announcements()
    announcements.say(silence(0))
    announcements.repeat(silence(0))
    assert pulled(announcements) is None
    announcements.stop()
    assert not announcements.speaking


def test_sounds_follow_each_other_without_a_gap_and_end_in_silence() -> None:
    announcements = Announcements()
    announcements.say(sound(1))
    announcements.say(sound(2))
    assert [pulled(announcements) for _ in range(4)] == [[1] * 10, [1] * 5 + [2] * 5, [2] * 10, None]
    announcements.say(sound(3))
    assert [pulled(announcements) for _ in range(2)] == [[3] * 10, [3] * 5 + [0] * 5]


def test_a_repeated_sound_comes_after_those_that_wait_and_again() -> None:
    announcements = Announcements()
    announcements.say(sound(1))
    announcements.repeat(sound(2, 7))
    heard = [sample for _ in range(5) for sample in pulled(announcements) or []]
    assert heard == [1] * 15 + [2] * 35


def test_stop_fades_what_plays_and_forgets_the_rest() -> None:
    announcements = Announcements()
    announcements.say(sound(1000, 5000))
    announcements.repeat(sound(2))
    announcements.pull(10)
    announcements.stop()
    block = announcements.pull(FADE + 10)
    assert block is not None
    assert block[0] == 1000 and not block[FADE:].any() and (np.diff(block) <= 0).all()
    assert announcements.pull(10) is None


def test_only_so_many_wait() -> None:
    announcements = Announcements()
    for value in range(1, MAX_WAITING + 3):
        announcements.say(sound(value, 10))
    assert pulled(announcements) == [3] * 10
