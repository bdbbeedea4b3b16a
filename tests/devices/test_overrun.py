"""A process that is frozen while a relay is energised."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from edge_node.devices.overrun import Overrun
from edge_node.devices.relay import TimedRelay
from tests.support.process import ROOT

PULSE = """
import os, signal, sys, threading
from edge_node.devices import overrun
from edge_node.devices.relay import TimedRelay
class Coil:
    value = 0
    def on(self):
        self.value = 1
        print("on", flush=True)
    def off(self):
        if self.value:
            print("off", flush=True)
        self.value = 0
overrun.SLACK_S = float(sys.argv[2])
relay = TimedRelay("door", Coil(), print, overrun.Overrun())
relay.pulse(100)
if sys.argv[1] == "stopped":
    os.kill(os.getpid(), signal.SIGSTOP)
elif sys.argv[1] == "held":
    relay._lock.acquire()
    threading.Event().wait()
while relay.energised:
    threading.Event().wait(0.01)
threading.Event().wait(overrun.SLACK_S + 0.5)  # a timer that was not taken back would end it here
print("well", flush=True)
"""


def run(how: str, slack_s: float) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", PULSE, how, str(slack_s)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("how", ["stopped", "held"])
def test_a_frozen_process_ends_so_that_its_relay_can_be_released(how: str) -> None:
    done = run(how, 0.1)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "on\n"), done.stderr


def test_a_process_that_is_well_lives_on() -> None:
    done = run("well", 2.0)
    assert (done.returncode, done.stdout) == (0, "on\noff\nwell\n"), done.stderr


class Coil:
    value = 0

    def on(self) -> None:
        self.value = 1

    def off(self) -> None:
        self.value = 0


class Noted(Overrun):
    """Arms nothing."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def until(self, at: float) -> None:
        self.said.append(f"until {at - time.monotonic() > 1}")

    def over(self) -> None:
        self.said.append("over")

    def close(self) -> None:
        self.said.append("close")


def test_a_relay_says_until_when_it_may_take() -> None:
    noted = Noted()
    relay = TimedRelay("door", Coil(), lambda _: None, noted)
    relay.pulse(5000)
    relay.pulse(1)
    relay.close()
    assert noted.said == ["until True", "until True", "over", "close"]


def test_a_system_without_such_timers_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Libc:
        def timer_create(self, *_: object) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Libc())
    overrun = Overrun()
    overrun.until(time.monotonic())
    overrun.over()
    overrun.close()
    assert "no timer guards the relays" in caplog.text
