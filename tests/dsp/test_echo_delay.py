"""The echo's delay is found in speech, and not where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.echo_delay import EchoDelay
from tests.support.room import Room, Samples, blocks, speech

SOUND_S = 4.0


def found(captured: Samples, played: Samples) -> float | None:
    delay = EchoDelay()
    for pair in zip(blocks(captured), blocks(played), strict=True):
        delay.feed(*pair)
    return delay.ms


@pytest.mark.parametrize("delay_ms", [5.0, 60.0, 150.0, 300.0, 450.0])
@pytest.mark.parametrize(("echo_db", "near_dbfs"), [(0.0, -26.0), (-6.0, -32.0), (-25.0, -100.0)])
def test_it_is_found_even_when_faint_or_when_somebody_talks(delay_ms: float, echo_db: float, near_dbfs: float) -> None:
    far, near = speech(SOUND_S, 1), speech(SOUND_S, 2, 200.0, near_dbfs)
    room = Room(delay_ms, echo_db)
    heard = room.echo(far) + room.noise(len(far)) + near
    assert found(heard, far) == pytest.approx(delay_ms, abs=3.0)


def test_without_an_echo_there_is_none() -> None:
    far, near = speech(SOUND_S, 1), speech(SOUND_S, 2, 200.0)
    assert found(near, far) is None
    assert found(near, np.zeros_like(near)) is None, "nothing is played"


def test_it_follows() -> None:
    far = speech(16.0, 1)
    delay = EchoDelay()
    first, second = Room(60.0).echo(far), Room(200.0).echo(far)
    half = len(far) // 2
    heard = np.concatenate((first[:half], second[half:]))
    measured = [delay.feed(*pair) for pair in zip(blocks(heard), blocks(far), strict=True)]
    assert delay.ms == pytest.approx(200.0, abs=3.0)
    assert 5 <= sum(measured) <= 16, "once per second of sound at most"
