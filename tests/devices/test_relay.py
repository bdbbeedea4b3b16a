"""Relays that let go."""

from __future__ import annotations

import threading
import time

import pytest

from edge_node.devices import relay as relay_module
from edge_node.devices.relay import TimedRelay
from edge_node.errors import DeviceLost
from tests.support.waiting import eventually

TIMER_S = 0.002
"""A timer and the clock beside it may round differently (seen: 3 µs)."""


class Coil:
    """A relay's coil; notes when it changes."""

    def __init__(self) -> None:
        self.energised = False
        self.changes: list[tuple[bool, float]] = []
        self.broken = False

    def on(self) -> None:
        self._set(True)

    def off(self) -> None:
        self._set(False)

    def _set(self, state: bool) -> None:
        if self.broken:
            raise OSError("gone")
        if state != self.energised:
            self.energised = state
            self.changes.append((state, time.monotonic()))


def make() -> tuple[Coil, TimedRelay, list[Exception]]:
    coil, failures = Coil(), list[Exception]()
    return coil, TimedRelay("door", coil, failures.append), failures


async def test_it_lets_go_by_itself() -> None:
    coil, relay, _ = make()
    relay.pulse(50)
    assert coil.energised
    await eventually(lambda: not coil.energised)
    (_, on), (_, off) = coil.changes
    assert off - on >= 0.05 - TIMER_S
    relay.pulse(1)
    await eventually(lambda: not coil.energised and len(coil.changes) == 4)
    relay.close()


async def test_a_pulse_during_a_pulse_prolongs() -> None:
    coil, relay, _ = make()
    began = time.monotonic()
    relay.pulse(1500)
    relay.pulse(10)
    relay.pulse(1600)
    await eventually(lambda: not coil.energised)
    assert len(coil.changes) == 2
    assert coil.changes[1][1] - began >= 1.6


async def test_never_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_ON_S", 0.2)
    coil, relay, _ = make()
    began = time.monotonic()
    relay.pulse(3_600_000)
    relay.pulse(3_600_000)
    await eventually(lambda: not coil.energised)
    assert coil.changes[1][1] - began >= 0.2 - TIMER_S


def test_closing_releases() -> None:
    before = {t for t in threading.enumerate() if isinstance(t, threading.Timer)}  # pytest-timeout has one
    coil, relay, _ = make()
    relay.pulse(5000)
    relay.close()
    assert not coil.energised
    with pytest.raises(DeviceLost, match="until the panel runs again"):
        relay.pulse(10)
    assert not coil.energised
    assert {t for t in threading.enumerate() if isinstance(t, threading.Timer) and not t.finished.is_set()} == before


async def test_a_coil_that_does_not_obey() -> None:
    coil, relay, failures = make()
    coil.broken = True
    with pytest.raises(DeviceLost, match="relay 'door' does not obey"):
        relay.pulse(10)
    await eventually(lambda: failures)
    relay.close()
    assert [str(err) for err in failures] == ["gone", "gone"]
