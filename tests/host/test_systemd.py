"""What the service manager is told."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path

import pytest

from edge_node.host.systemd import MAX_STATUS_CHARS, SystemdWatchdog
from edge_node.ports import Watchdog
from tests.support.notify import NotifySocket


@pytest.mark.parametrize("abstract", [False, True])
def test_everything_is_told_over_both_kinds_of_address(tmp_path: Path, abstract: bool) -> None:
    address = f"@edge-node-{uuid.uuid4()}" if abstract else tmp_path / "notify"
    with NotifySocket(address) as manager:
        watchdog = SystemdWatchdog(manager.env(watchdog_s=4))
        port: Watchdog = watchdog
        port.ready()
        port.status("in a call\nwith anna")
        port.alive()
        port.reloading()
        port.stopping()
        watchdog.close()
        told = manager.poll()
        assert told[:3] == ["READY=1", "STATUS=in a call with anna", "WATCHDOG=1"]
        reloading, monotonic = told[3].split("\n")
        assert reloading == "RELOADING=1"
        assert int(monotonic.removeprefix("MONOTONIC_USEC=")) > 0
        assert told[4:] == ["STOPPING=1"]
        port.ready()
        watchdog.close()
        assert len(manager.poll()) == 5


def test_the_same_status_is_told_once_and_bounded(tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as manager:
        watchdog = SystemdWatchdog(manager.env())
        for text in ("idle", "idle", "x" * 1000, "idle"):
            watchdog.status(text)
        watchdog.close()
        assert manager.statuses == ["idle", "x" * MAX_STATUS_CHARS, "idle"]


@pytest.mark.parametrize(
    ("env", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_interval_is_half_of_what_the_manager_wants(
    env: dict[str, str], interval_s: float | None
) -> None:
    assert SystemdWatchdog(env, pid=42).interval_s == interval_s


@pytest.mark.parametrize("address", ["", "vsock:2:1234"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    watchdog = SystemdWatchdog({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    for call in (watchdog.ready, watchdog.alive, watchdog.reloading, watchdog.stopping, watchdog.close):
        call()
    watchdog.status("x")


def test_nobody_watches_nobody_is_told(tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as manager:
        watchdog = SystemdWatchdog(manager.env())
        watchdog.alive()
        watchdog.close()
        assert manager.poll() == []


def test_a_manager_that_went_away_is_mentioned_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watchdog = SystemdWatchdog({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with caplog.at_level(logging.WARNING):
        watchdog.ready()
        watchdog.ready()
    watchdog.close()
    assert len(caplog.records) == 1


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert SystemdWatchdog().interval_s == 1.0
