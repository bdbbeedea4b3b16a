"""The key file: what is written, what a running hub makes of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from edge_node.errors import SettingsError, UsageError
from edge_node.hub import reload
from edge_node.hub.config import MAX_KEYS, hub_config
from edge_node.hub.files import is_exposed
from edge_node.hub.key_file import StoredKey, add_key, new_key, read_keys, revoke_key
from edge_node.hub.keys import KeyRing
from edge_node.hub.server import Hub
from tests.support.hub_client import client, refused_with, running_hub
from tests.support.waiting import eventually


def made(path: Path, secret: bool = False, name: str = "", **scope: Any) -> StoredKey:
    key = new_key(0, secret=secret, name=name, **{"channels": (), "permissions": ()} | scope)
    add_key(path, key)
    return key


def token(key: StoredKey, sub: str = "anna") -> str:
    assert key.secret is not None
    claims = {"sub": sub, "exp": int(time.time()) + 600, "channels": ["**"], "permissions": ["subscribe"]}
    return jwt.encode(claims, key.secret.get_secret_value(), "HS256", {"kid": key.id})


def test_a_key_survives_the_file_and_nobody_else_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    assert read_keys(path) == ()
    one = made(path, name="door", channels=["home/*"], permissions=["publish"])
    two = made(path, secret=True)
    assert read_keys(path) == (one, two)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert not is_exposed(path) and not is_exposed(tmp_path / "none")
    assert [p.name for p in path.parent.iterdir()] == ["keys.json"], "nothing is left of the writing"
    assert one.id.startswith("pk_live_") and two.id.startswith("sk_id_") and one.id not in one.shown
    assert two.secret is not None and two.secret.get_secret_value() not in repr(read_keys(path))


def test_revoking_names_exactly_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    door, _, twin, _ = made(path, name="door"), made(path, secret=True), made(path, name="x"), made(path, name="x")
    for wrong in ("", "pk_live_", "x", "nothing-like-it"):
        with pytest.raises(UsageError):
            revoke_key(path, wrong)
    assert revoke_key(path, door.shown) == door
    assert revoke_key(path, twin.id) == twin
    assert revoke_key(path, "x").name == "x" and len(read_keys(path)) == 1


def test_there_are_at_most_fifty(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = [new_key(0, secret=False, channels=(), permissions=(), name="").as_json() for _ in range(MAX_KEYS)]
    path.write_text(json.dumps({"version": 1, "keys": keys}))
    with pytest.raises(UsageError, match="revoke"):
        made(path)
    path.write_text(json.dumps({"version": 1, "keys": [*keys, keys[0] | {"id": "pk_live_one_more"}]}))
    with pytest.raises(SettingsError, match="51"):
        read_keys(path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        "[]",
        '{"version":2,"keys":[]}',
        '{"keys":[{"id":"short"}]}',
        '{"keys":[{"id":"sk_id_12345","secret":"canary"}]}',
        '{"keys":[{"id":"pk_live_canary","channels":["a\\nb"]}]}',
        '{"keys":[{"id":"pk_live_canary"},{"id":"pk_live_canary"}]}',
        " " * (1 << 20) + "{}",
        "\udcff",
    ],
)
def test_a_spoilt_file_is_told_in_a_sentence_without_secrets(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError) as caught:
        read_keys(path)
    assert str(caught.value) and "canary" not in str(caught.value)


def test_what_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_keys(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be made"):
        made(tmp_path / "file" / "keys.json")
    with pytest.raises(SettingsError, match="cannot be"):
        made(Path("/proc/keys.json"))


@pytest.mark.parametrize("scope", [{"channels": ["a\nb"]}, {"permissions": ["fly"]}])
def test_a_scope_that_is_none_makes_no_key(tmp_path: Path, scope: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        made(tmp_path / "keys.json", **scope)
    assert not (tmp_path / "keys.json").exists()


def test_a_hub_for_others_needs_a_key(tmp_path: Path) -> None:
    config = hub_config({"host": "0.0.0.0", "keys": {"file": tmp_path / "keys.json"}})
    with pytest.raises(SettingsError, match="edge-node hub key new"):
        Hub(config)
    made(tmp_path / "keys.json")
    assert Hub(config).dev_key is None


def test_a_ring_names_what_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    one, pair = made(path), made(path, secret=True)
    ring = KeyRing(hub_config({"key": [{"id": "pk_live_settings"}]}), [one, pair])
    assert len(ring) == 3 and ring.adopt([one, pair]) == frozenset()
    other = pair.model_copy(update={"secret": new_key(0, secret=True, channels=(), permissions=(), name="").secret})
    assert ring.adopt([one, other]) == {pair.id}
    assert ring.adopt([]) == {one.id, pair.id} and len(ring) == 1


async def test_a_running_hub_follows_its_key_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "EVERY_S", 0.05)
    path = tmp_path / "keys.json"
    async with running_hub(keys={"file": path}) as hub:
        one, pair = made(path), made(path, secret=True)
        await eventually(lambda: len(hub.keys) == 4)
        async with (
            client(hub, f"key={one.id}") as anna,
            client(hub, f"token={token(pair)}") as ben,
            client(hub) as stays,
        ):
            assert anna.peer_id and ben.peer_id == "anna" and hub.connections == 3
            revoke_key(path, one.id)
            assert await anna.close_code() == 4001
            path.write_text("{")
            await eventually(lambda: "keys in use stay" in caplog.text)
            async with client(hub, f"token={token(pair)}") as again:
                assert again.peer_id
            path.unlink()
            assert await ben.close_code() == 4001
            assert (await stays.ask(type="ping"))["type"] == "pong"
        assert await refused_with(hub, f"key={one.id}") == 4001
        assert await refused_with(hub, f"token={token(pair)}") == 4001
        assert one.id not in caplog.text


async def test_an_exposed_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.json"
    made(path)
    path.chmod(0o644)
    async with running_hub(keys={"file": path}):
        assert "chmod 600" in caplog.text


async def test_a_reload_looks_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    async with running_hub(keys={"file": path}) as hub:
        made(path)
        hub.reload()
        assert len(hub.keys) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_makes_belongs_to_the_owner_of_the_place(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir()
    os.chown(place, 65_534, 65_534)
    made(place / "keys.json")
    assert (place / "keys.json").stat().st_uid == 65_534
