"""What is written for the three customisation formats, byte by byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge_node.provision import toml_text
from edge_node.provision.card import Card, Format
from edge_node.provision.formats import cmdline_tokens, render
from tests.provision.cards import CANARY, CODE, HASH, SSH_KEY, card

GOLDEN = Path(__file__).parent / "golden"
PLAIN = {"user": None, "wifi": None, "country": None, "claim": None}
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "plain": PLAIN,
    "wpa3": {
        "user": {"name": "keeper", "password_hash": HASH},
        "wifi": {"ssid": "Türen; 5 GHz", "security": "wpa3", "password": 'it\'s \\ "secret"', "hidden": True},
    },
    "open": {"user": {"name": "keeper", "ssh_keys": [SSH_KEY], "password_hash": HASH}}
    | {"wifi": {"ssid": "Guests", "security": "open"}},
}
FORMATS: tuple[Format, ...] = ("cloud-init", "rpi-preseed", "firstrun", "edge-node")


READ_NETWORKS = """
import json, sys, yaml
from cloudinit.net.network_state import parse_net_config_data
found = [yaml.safe_load(open(path, encoding="utf-8"))["network"] for path in sys.argv[1:]]
cables = [[it["name"] for it in parse_net_config_data(network).iter_interfaces()] for network in found]
wireless = [{name: list(it["access-points"]) for name, it in n.get("wifis", {}).items()} for n in found]
print(json.dumps(list(zip(cables, wireless))))
"""


def of(form: Format, variant: str) -> Card:
    nobody = {"user": None} if form == "edge-node" else {}
    return card(format=form, **VARIANTS[variant] | nobody)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("form", FORMATS)
def test_the_bytes_are_those_that_were_looked_at(form: Format, variant: str) -> None:
    """After a change that is meant: EDGE_NODE_GOLDEN=write, then read the diff."""
    files = render(of(form, variant), 3)
    assert files == render(of(form, variant), 3)
    for name, body in files.items():
        folder, _, last = name.rpartition("/")
        path = GOLDEN / (f"{variant}.{form}.{name}" if not folder else f"{variant}.{last}")
        if last == "install.sh":
            path = GOLDEN / last
        if os.environ.get("EDGE_NODE_GOLDEN") == "write":
            path.write_bytes(body)
        assert body == path.read_bytes(), f"{path.name} differs"


def schema(*words: str | Path) -> subprocess.CompletedProcess[str]:
    given = ["-c", *map(str, words)] if isinstance(words[0], Path) else map(str, words)
    return subprocess.run(["cloud-init", "schema", *given], capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="needs cloud-init")
@pytest.mark.parametrize("variant", VARIANTS)  # a second each
def test_cloud_init_takes_its_user_data(variant: str) -> None:
    done = schema(GOLDEN / f"{variant}.cloud-init.user-data")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="needs cloud-init")
def test_cloud_init_would_tell(tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text("#cloud-config\nwrite_files:\n- permisions: x\n")
    assert schema(tmp_path / "user-data").returncode != 0


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="needs cloud-init")
def test_cloud_init_takes_its_network(tmp_path: Path) -> None:
    """It checks version 2 where netplan is installed, or from 24.2 on by itself."""
    if "--schema-type" not in schema("--help").stdout:
        pytest.skip("needs cloud-init 23.4 or later, which knows --schema-type")
    for variant in VARIANTS:
        done = schema(GOLDEN / f"{variant}.cloud-init.network-config", "--schema-type", "network-config")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="needs cloud-init")
def test_any_version_of_cloud_init_reads_its_network() -> None:
    """With its own parser, as the schema of networks is only in newer ones."""
    files = [str(GOLDEN / f"{variant}.cloud-init.network-config") for variant in VARIANTS]
    interpreter = Path(str(shutil.which("cloud-init"))).read_text().splitlines()[0].removeprefix("#!").split()
    done = subprocess.run([*interpreter, "-c", READ_NETWORKS, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for variant, (cables, wireless) in zip(VARIANTS, json.loads(done.stdout), strict=True):
        wifi = of("cloud-init", variant).wifi
        assert cables == ["eth0"]
        assert wireless == ({"wlan0": [wifi.ssid]} if wifi else {})


@pytest.mark.parametrize("variant", VARIANTS)
def test_shells_and_parsers_take_it(variant: str, tmp_path: Path) -> None:
    script = tmp_path / "firstrun.sh"
    script.write_bytes(render(of("firstrun", variant), 1)["firstrun.sh"])
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    found = tomllib.loads(render(of("rpi-preseed", variant), 1)["rpi-preseed.toml"].decode())
    assert found["config_version"] == "1.1" and found["system"] == {"hostname": "gate-1"}
    settings = tomllib.loads(render(of("firstrun", variant), 1)["edge-node/edge-node.toml"].decode())
    assert settings == of("firstrun", variant).settings


@pytest.mark.parametrize("form", FORMATS)
def test_a_wpa2_passphrase_is_nowhere_and_the_claim_in_one_place(form: Format) -> None:
    files = render(of(form, "full"), 1)
    assert not [name for name, body in files.items() if CANARY.encode() in body]
    assert [name for name, body in files.items() if CODE.encode() in body] == ["edge-node/claim.toml"]
    assert CODE not in repr(of(form, "full")) and CANARY not in repr(of(form, "full"))


def test_the_command_line_of_each() -> None:
    assert cmdline_tokens(of("cloud-init", "full"), 4) == [
        "cgroup_enable=memory",
        "cfg80211.ieee80211_regdom=DE",
        "ds=nocloud;i=edge-node-gate-1-4",
    ]
    assert cmdline_tokens(of("rpi-preseed", "plain"), 4) == ["cgroup_enable=memory"]
    assert cmdline_tokens(of("firstrun", "plain"), 4)[1] == "systemd.run=/boot/firmware/firstrun.sh"
    assert cmdline_tokens(of("edge-node", "plain"), 4) == ["systemd.hostname=gate-1"]


def test_nobody_logs_in_to_our_own_image() -> None:
    with pytest.raises(ValueError, match="leave user out"):
        card(format="edge-node")


def test_toml_of_everything() -> None:
    values = {
        "a": 'x"\\\n\x7f',
        "n": 1.5,
        "l": [1, "b"],
        "t": {"k y": True, "i": [{"a": 1}, {"b": {"c": []}}]},
        "e": {},
    }
    assert tomllib.loads(toml_text.dumps(values)) == values
    assert tomllib.loads(toml_text.dumps({"mixed": [{"a": 1}, 2]})) == {"mixed": [{"a": 1}, 2]}
    with pytest.raises(TypeError, match="no place"):
        toml_text.dumps({"none": None})
