"""`edge-node hub key`, and a hub process that follows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.main import main
from edge_node.realtime.client import SignallingClient
from tests.support.process import Child
from tests.support.waiting import eventually


def run(*words: str | Path) -> int:
    return main(["hub", "key", *map(str, words)])


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return tmp_path


def test_a_key_is_shown_once_listed_and_revoked(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0 and "no keys" in capsys.readouterr().out
    assert run("new", "--name", "porch", "--channels", "home/*", "x", "--permissions", "publish") == 0
    shown = capsys.readouterr().out.split()
    assert shown[0] == "id:" and shown[1].startswith("pk_live_")
    assert run("new", "--secret", "--json") == 0
    pair = json.loads(capsys.readouterr().out)
    assert pair["file"] == str(state / "keys.json")
    assert run("list") == 0
    listed = capsys.readouterr().out
    assert shown[1] not in listed and pair["secret"] not in listed
    assert "publish on home/* x  porch" in listed and pair["id"] in listed
    assert run("list", "--json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["keys"]
    assert [row["secret"] for row in rows] == [False, True] and rows[0]["channels"] == ["home/*", "x"]
    assert run("revoke", "porch") == 0 and capsys.readouterr().out.startswith("revoked: pk_live_")
    assert run("revoke", pair["id"], "--json") == 0
    assert run("revoke", pair["id"]) == 2 and "edge-node hub key list" in capsys.readouterr().err


def test_the_file_is_where_the_settings_or_the_words_say(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f'[keys]\nfile = "{tmp_path}/there.json"\n')
    assert run("new", "--config", config) == 0 and (tmp_path / "there.json").exists()
    assert main(["hub", "--config", str(config), "key", "new"]) == 0
    assert len(json.loads((tmp_path / "there.json").read_text())["keys"]) == 2
    assert run("new", "--file", tmp_path / "here.json") == 0 and (tmp_path / "here.json").exists()
    assert not (tmp_path / "keys.json").exists()


def test_what_is_wrong_is_one_sentence(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("new", "--permissions", "fly") == 2 and "publish" in capsys.readouterr().err
    (state / "keys.json").write_text("{")
    assert run("list") == 78 and "no JSON" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("make")


async def test_a_process_takes_a_new_key_and_drops_a_revoked_one(state: Path) -> None:
    assert run("new", "--name", "first") == 0
    async with Child.edge_node("hub", "--port", "0", "--json") as hub:
        ready = await hub.event(lambda event: event["event"] == "ready", timeout_s=60)
        assert "key" not in ready, "there is one: none is drawn"
        assert run("new", "--name", "second") == 0
        key = json.loads((state / "keys.json").read_text())["keys"][1]["id"]
        await hub.line("has 2 keys", timeout_s=10)
        async with SignallingClient(url=ready["hub"], api_key=key) as client:
            await client.publish("a", {"hello": True})
            assert run("revoke", "second") == 0
            await hub.line("this key was revoked", timeout_s=10)
            await eventually(lambda: client.state == "closed")
        assert key not in "\n".join(hub.text)
