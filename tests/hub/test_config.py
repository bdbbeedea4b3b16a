"""The hub's settings: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_node.errors import SettingsError
from edge_node.hub.config import default_state_dir, hub_config, load_config

SECRET = "s" * 32


def problem(**values: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        hub_config(values)
    return str(caught.value)


def test_the_defaults_serve_this_machine_only() -> None:
    config = load_config()
    assert (config.host, config.port, config.is_local) == ("127.0.0.1", 9292, True)
    assert config.ice_servers("anna", 0) == [] and config.console.enabled


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(f"""
host = "0.0.0.0"
port = 80
[[key]]
id = "pk_live_door"
channels = ["home/**"]
permissions = ["publish", "subscribe"]
allowed_origins = ["https://home.example"]
[[secret]]
id = "sk_id_1"
secret = "{SECRET}"
[console]
code = "open-sesame-1"
channel = "home/door"
[limits]
leave_grace_s = 3
duplicate_peer = "replace"
[[ice_server]]
urls = ["turn:192.0.2.1:3478?transport=udp", "stun:192.0.2.1"]
username = "u"
credential = "c"
""")
    config = load_config(path, port=8080)
    assert config.port == 8080, "the command line is on top"
    assert config.key[0].scope.matches("home/a/b") and config.key[0].scope.permissions == {"publish", "subscribe"}
    assert config.limits.machine.leave_grace_s == 3 and config.limits.machine.duplicate_peer == "replace"
    assert config.ice_servers("anna", 0) == [
        {"urls": ["turn:192.0.2.1:3478?transport=udp", "stun:192.0.2.1"], "username": "u", "credential": "c"}
    ]
    assert not config.is_local
    for secret in ("pk_live_door", SECRET, "open-sesame-1"):
        assert secret not in repr(config)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.9.9.9", True), ("0.0.0.0", False), ("x", False)],
)
def test_what_is_local(host: str, local: bool) -> None:
    assert hub_config({"host": host, "key": [{"id": "pk_live_1"}]}).is_local is local


def test_unknown_keys_get_a_suggestion() -> None:
    assert "port" in problem(prot=1)
    assert "connects_per_minute" in problem(limits={"connects_per_minutes": 1})
    assert "replace" in problem(limits={"duplicate_peer": "replaces"})


def test_a_development_key_stays_at_home() -> None:
    assert "--insecure-dev-key" in problem(host="0.0.0.0", dev_key="pk_dev_x")
    assert hub_config({"host": "0.0.0.0", "dev_key": "pk_dev_x", "insecure_dev_key": True}).dev_key is not None
    assert load_config(host="::1", dev_key="pk_dev_x").dev_key is not None
    with pytest.raises(SettingsError):
        load_config(host="192.0.2.1", dev_key="pk_dev_x")


@pytest.mark.parametrize(
    "values",
    [
        {"port": 70_000},
        {"port": "x"},
        {"host": ""},
        {"secret": [{"id": "a", "secret": "short"}]},
        {"secret": [{"id": "a", "secret": SECRET}] * 2},
        {"key": [{"id": "pk_live_1"}] * 2},
        {"key": [{"id": "short"}]},
        {"key": [{"id": "pk_live_1", "channels": ["a\nb"]}]},
        {"key": [{"id": "pk_live_1", "permissions": ["fly"]}]},
        {"console": {"code": "short"}},
        {"console": {"channel": ""}},
        {"ice_server": [{"urls": "http://x"}]},
        {"ice_server": [{"urls": []}]},
        {"ice_server": [{"urls": f"turn:keeper:{SECRET}@turn.example"}]},
        {"ice_server": [{"urls": "stun:x"}] * 17},
        {"ice_server": [{"urls": "turn:x", "credential": "c" * 1025}]},
        {"dev_key": ""},
        {"ice_server": [{"urls": "turn:x", "secret": "s", "username": "u"}]},
        {"ice_server": [{"urls": ["turn:x", "stun:x"], "secret": "s"}]},
        {"ice_server": [{"urls": "turn:x", "secret": "s", "ttl_s": 1}]},
        {"tls": {"certificate": "x.crt"}},
        {"tls": {"certificate": "x.crt", "key": "x.key", "self_made": True}},
        {"tls": {"http_port": 80}},
        {"tls": {"names": ["x"]}},
        {"tls": {"self_made": True}},
        {"proxy": {"trusted": ["here"]}},
        {"limits": {"messages_per_period": 0}},
        {"key": [{"id": f"pk_live_{n}"} for n in range(51)]},
    ],
)
def test_wrong_values_are_refused_without_telling_secrets(values: dict[str, Any]) -> None:
    text = problem(**values)
    assert text and SECRET not in text and "pk_live_1" not in text


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        load_config(tmp_path / "none.toml")


def test_the_command_line_knows_a_place_for_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}:/elsewhere")
    config = load_config()
    assert config.state_dir == tmp_path and config.keys.file == tmp_path / "keys.json"
    path = tmp_path / "hub.toml"
    path.write_text('state_dir = "/x"\n[keys]\nfile = "/y.json"\n')
    config = load_config(path)
    assert config.state_dir == Path("/x") and config.keys.file == Path("/y.json")
    path.write_text('state_dir = "/x"\n')
    assert load_config(path).keys.file == Path("/x/keys.json")


def test_without_systemd_state_is_roots_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state_dir({}) == Path("/var/lib/edge-node/hub")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_state_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/edge-node/hub")
    assert default_state_dir({}) == Path.home() / ".local/state/edge-node/hub"
