"""The daemon as its service manager sees it, without a service manager."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_node.cli import run
from edge_node.errors import UsageError
from edge_node.node.start import NORMAL
from edge_node.update.faults import SAFE_MODE_FAILURES
from edge_node.update.files import write_json
from edge_node.update.records import Pending
from edge_node.update.slots import Slots
from edge_node.update.world import Systemd
from tests.support.notify import NotifySocket
from tests.support.process import Child

SETTINGS = """
[node]
id = "front-door"
name = "{name}"
[channel]
url = "ws://127.0.0.1:1"
name = "home/front-door"
[video]
source = "none"
[audio]
microphone = "none"
speaker = "none"
[gpio]
driver = "mock"
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as one:
        yield one


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "api_key").write_text("pk_live_canary4711\n")
    return directory


async def test_from_ready_to_stopping(tmp_path: Path, manager: NotifySocket, credentials: Path) -> None:
    config = tmp_path / "edge-node.toml"
    config.write_text(SETTINGS.format(name="Front door"))
    env = {
        **manager.env(watchdog_s=1.0),
        "RUNTIME_DIRECTORY": str(tmp_path),
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    async with Child.edge_node("run", "--config", str(config), env=env) as daemon:
        # Ready although no hub answers: an outage over there is no failed start here.
        await manager.until_told("READY=1", timeout_s=60)
        await manager.until(lambda told: told.count("WATCHDOG=1") >= 3, timeout_s=60)
        await manager.until(lambda _: bool(manager.statuses), timeout_s=60)
        assert "home/front-door" in manager.statuses[0]
        status = await asyncio.to_thread(Systemd(tmp_path / "control.sock").status)
        assert status is not None and status["parts"], "an update's judge understands it"

        config.write_text(SETTINGS.format(name="Back door"))
        daemon.signal(signal.SIGHUP)
        await manager.until(lambda told: told.count("READY=1") == 2, timeout_s=60)
        told = manager.poll()
        assert any(one.startswith("RELOADING=1\nMONOTONIC_USEC=") for one in told)
        beats = manager.count("WATCHDOG=1")
        await manager.until(lambda told: told.count("WATCHDOG=1") >= beats + 2, timeout_s=60)

        daemon.signal(signal.SIGTERM)
        assert await daemon.end(timeout_s=60) == 0
        assert "STOPPING=1" in manager.poll()
        assert not (tmp_path / "control.sock").exists()
        assert "canary" not in "\n".join(daemon.text)


async def test_wrong_settings_are_told_and_end_with_78(tmp_path: Path, manager: NotifySocket) -> None:
    config = tmp_path / "edge-node.toml"
    config.write_text(SETTINGS.format(name="x") + "[vidoe]\n")
    async with Child.edge_node("run", "--config", str(config), env=manager.env()) as daemon:
        assert await daemon.end(timeout_s=60) == 78
        await daemon.line('vidoe is no setting (did you mean "video"?)')
        (told,) = manager.poll()
        assert told.startswith("STATUS=wrong settings, edge-node config check explains: ") and "vidoe is no" in told


def test_only_a_program_in_a_slot_has_slots(tmp_path: Path) -> None:
    venv = tmp_path / "slots/a/venv"
    venv.mkdir(parents=True)
    (tmp_path / "current").symlink_to("slots/a")
    assert run.slots_root(venv) == run.slots_root(tmp_path / "current/venv") == tmp_path
    assert run.slots_root(Path("/usr")) is None


def test_a_row_of_failures_means_safe_mode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run.how_it_starts(tmp_path, {}) == NORMAL
    (tmp_path / "state").mkdir()
    write_json(tmp_path / "state/faults", {"failures": SAFE_MODE_FAILURES - 1})
    assert run.how_it_starts(tmp_path, {}) == NORMAL and not caplog.text
    write_json(tmp_path / "state/faults", {"failures": SAFE_MODE_FAILURES})
    start = run.how_it_starts(tmp_path, {})
    assert start.safe_mode is not None and start.safe_mode.startswith("5 failures in a row; ")
    assert "safe mode after 5" in caplog.text


def test_what_became_of_an_update_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (tmp_path / "state").mkdir()
    env = {"STATE_DIRECTORY": str(tmp_path)}

    def told(number: str, outcome: str, reason: str | None) -> str | None:
        entry = {"id": number, "version": "1.1.0", "outcome": outcome, "reason": reason}
        write_json(tmp_path / "state/history", {"updates": [entry]})
        caplog.clear()
        return run.how_it_starts(tmp_path, env).failed_update

    assert told("1", "accepted", None) is None and "update: 1.1.0 accepted" in caplog.text
    assert told("1", "accepted", None) is None and not caplog.text
    assert told("2", "taken back", "it does not answer") == "1.1.0 taken back: it does not answer"
    assert "update: 1.1.0 taken back: it does not answer" in caplog.text
    write_json(
        tmp_path / "state/history",
        {"updates": [{"id": "4", "version": "1.2.0", "outcome": "accepted", "reason": None}]},
    )
    assert run.how_it_starts(tmp_path, env).update == "1.2.0 accepted"
    assert run.how_it_starts(tmp_path, env).update is None
    (tmp_path / run.TOLD_UPDATE).unlink()
    (tmp_path / run.TOLD_UPDATE).mkdir()
    assert told("3", "taken back", "late") == "1.1.0 taken back: late" and "cannot be written" in caplog.text


async def test_a_version_on_trial_tells_that_and_when_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at its next start, which may be months away."""
    monkeypatch.setattr(run, "TRIAL_LOOK_S", 0.01)
    slots, env, told = Slots(tmp_path, "3.13"), {"STATE_DIRECTORY": str(tmp_path)}, list[str]()
    slots.prepare()
    await run._tell_acceptance(tmp_path, env, told.append)
    for outcome in ("accepted", "taken back"):
        slots.begin(Pending(outcome, "a", "b", "1.1.0", "0", True))
        assert run.how_it_starts(tmp_path, env).update == "1.1.0 is on trial"
        watch = asyncio.create_task(run._tell_acceptance(tmp_path, env, told.append))
        await asyncio.sleep(0)
        assert not watch.done()
        if outcome == "accepted":
            slots.accept()
        else:
            slots.take_back("it does not answer")
        async with asyncio.timeout(30):
            await watch
        assert told == ["1.1.0 accepted"]
    start = run.how_it_starts(tmp_path, env)
    assert start.update == "1.1.0 taken back: it does not answer", "told by the version that came after it"


def test_a_slot_that_was_left_is_told_as_long_as_the_other_runs(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    left = {"id": "1", "slot": "b", "to": "a", "version": "1.1.0", "reason": "it failed", "last": False}
    write_json(tmp_path / "state/left", left)
    assert [run.how_it_starts(tmp_path, {}).failed_update for _ in range(2)] == ["1.1.0 left: it failed"] * 2
    write_json(tmp_path / "state/left", {**left, "last": True})
    assert run.how_it_starts(tmp_path, {}) == NORMAL


def test_a_node_without_a_control_socket_is_still_a_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nowhere(_: object) -> Path:
        raise UsageError("no directory can be written")

    monkeypatch.setattr(run, "server_path", nowhere)
    assert run.socket_path(None) is None
    assert run.socket_path(tmp_path / "s") == tmp_path / "s"
