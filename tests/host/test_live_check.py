"""What the service says of itself, whether a hub answers."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

import pytest

from edge_node.host import live_check
from edge_node.host.findings import Finding, Level
from edge_node.host.live_check import Live, ask, ask_unit, check_hub, check_service, reach

UP = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "StatusText": "on home/front-door"}


def service(**more: str) -> list[Finding]:
    return list(check_service(Live(UP | more)))


def test_a_service_that_runs() -> None:
    assert service() == [Finding("service", Level.OK, "on home/front-door")]
    assert service(StatusText="")[0].text == "it runs"
    assert list(check_service(Live())) == []


@pytest.mark.parametrize(
    ("unit", "level", "text", "todo"),
    [
        (
            {"ActiveState": "failed", "Result": "exit-code", "StatusText": "no such pin"},
            "problem",
            "no such pin",
            "mend",
        ),
        (
            {"ActiveState": "failed", "Result": "signal", "StatusText": ""},
            "problem",
            "(signal): without a word",
            "mend",
        ),
        ({"ActiveState": "inactive"}, "problem", "does not run", "systemctl start"),
        ({"ActiveState": "activating", "NRestarts": "7"}, "problem", "(activating, 7 times so far)", "journalctl"),
        ({"ActiveState": "activating", "NRestarts": "0"}, "problem", "(activating)", "journalctl"),
        ({"StatusText": "SAFE MODE, only telemetry"}, "problem", "SAFE MODE", "systemctl restart"),
        ({"StatusText": "on home, degraded: panel"}, "note", "degraded: panel", "edge-node status"),
        ({"UnitFileState": "disabled"}, "note", "does not start by itself", "systemctl enable"),
    ],
)
def test_a_service_in_trouble(unit: dict[str, str], level: str, text: str, todo: str) -> None:
    found = service(**unit)[-1]
    assert found.level.value == level and text in found.text and todo in found.todo


def test_what_systemd_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "LoadState=loaded\nActiveState=active\nStatusText=a=b\n"

    def answer(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, said, "")

    monkeypatch.setattr(subprocess, "run", answer)
    assert ask_unit() == {"LoadState": "loaded", "ActiveState": "active", "StatusText": "a=b"}
    said = "LoadState=not-found\n"
    assert ask_unit() is None
    assert ask(None) == Live() and not Live().hub_answers

    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("systemctl")

    monkeypatch.setattr(subprocess, "run", missing)
    assert ask_unit() is None


def test_a_hub_that_answers_and_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_check, "ask_unit", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        live = ask(url)
        assert live.hub_answers and list(check_hub(live)) == [Finding("network", Level.OK, f"{url} answers")]
    (found,) = check_hub(ask(url))
    assert found.level is Level.PROBLEM and "Connection refused" in found.text and "channel.url" in found.todo
    assert list(check_hub(Live())) == []


@pytest.mark.parametrize("host", ["hub..example", "a" * 64 + ".example"])
def test_a_name_that_no_host_can_have(host: str) -> None:
    assert reach(f"wss://{host}") == "no host can have this name"


def test_ports_and_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def never(address: tuple[str, int], timeout: float) -> None:
        asked.append(address)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    assert reach("wss://hub.example", 2.0) == "no answer within 2 s" and reach("ws://[::1]") is not None
    assert asked == [("hub.example", 443), ("::1", 80)]
