"""A factory reset leaves nothing of the owner's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_node.cli.main import main
from edge_node.errors import EdgeNodeError
from edge_node.provision import reset as room
from edge_node.provision.boot import BACKUP

CANARY = "canary-in-the-box"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    for name in (
        "etc/credstore/edge-node.api_key", "etc/edge-node/edge-node.toml", "etc/edge-node/edge-node.toml.set-aside",
        "var/lib/edge-node/identity.key", "var/lib/edge-node/clips/door.mp4", "var/lib/edge-node/hub/keys.json",
        "etc/NetworkManager/system-connections/home.nmconnection", "var/lib/cloud/instances/x/user-data.txt",
        "opt/edge-node/slots/a/settings.toml", "opt/edge-node/slots/a/slot.json",
        "etc/polkit-1/rules.d/50-edge-node-wifi.rules", "etc/edge-node/trust/ours.pem", "etc/hostname",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CANARY)
    return tmp_path


def kept(device: Path) -> set[str]:
    return {str(path.relative_to(device)) for path in device.rglob("*") if path.is_file()}


def test_keys_settings_recordings_and_networks_go(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Sequence[str]] = []
    monkeypatch.setattr(room, "HERE", device)
    assert room.reset(device, run=said.append) == 10
    assert kept(device) == {"opt/edge-node/slots/a/slot.json", "etc/edge-node/trust/ours.pem", "etc/hostname"}
    assert said[0][:2] == ["systemctl", "stop"] and ["journalctl", "--vacuum-time=1s"] in said
    assert room.reset(device, run=said.append) == 0


def test_another_machines_files_say_nothing_of_this_ones_units_and_journal(device: Path) -> None:
    said: list[Sequence[str]] = []
    assert room.reset(device, run=said.append) == 10 and said == [["sync"]]


def test_the_network_stays_when_asked(device: Path) -> None:
    room.reset(device, keep_wifi=True, run=lambda words: None)
    assert "etc/NetworkManager/system-connections/home.nmconnection" in kept(device)


def test_what_would_come_back_from_the_card_goes_too(device: Path) -> None:
    """cloud-init makes the network anew from the boot partition; settings not taken yet would be taken."""
    for name in ("network-config", "user-data", "cmdline.txt", "edge-node/edge-node.toml", "edge-node/claim.toml",
                 "edge-node/wifi.nmconnection", "edge-node/edge-node_1_all.deb"):  # fmt: skip
        path = device / "boot/firmware" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CANARY)
    for name in ("network-config", "user-data", "firstrun.sh"):  # somebody else's, which provisioning kept beside
        (device / f"boot/firmware/{name}{BACKUP}").write_text(CANARY)
    (device / "boot/firmware/rpi-preseed.toml").write_text(CANARY)
    room.reset(device, keep_wifi=True, run=lambda words: None)
    assert {
        "boot/firmware/rpi-preseed.toml",
        "boot/firmware/network-config",
        "boot/firmware/edge-node/wifi.nmconnection",
    } <= kept(device)
    room.reset(device, run=lambda words: None)
    left = {name for name in kept(device) if name.startswith("boot/")}
    assert left == {f"boot/firmware/{name}" for name in ("user-data", "cmdline.txt", "edge-node/edge-node_1_all.deb")}


@pytest.mark.parametrize("settings", ["etc/edge-node/edge-node.toml", "opt/edge-node/slots/a/settings.toml"])
def test_recordings_kept_elsewhere_go_before_the_settings_that_name_the_place(device: Path, settings: str) -> None:
    stick = device / "media/stick"
    stick.mkdir(parents=True)
    for name in ("20261121T130000Z-press.mp4", "20261121T130000Z-press.2.mp4", "holiday.mp4", "notes.txt"):
        (stick / name).write_text(CANARY)
    (device / settings).write_text('[clip]\ndirectory = "/media/stick"\n')
    (device / "etc/edge-node/edge-node.toml.set-aside").write_text('[clip]\ndirectory = "/var/lib/edge-node/clips"\n')
    first, *_ = room.found(device, keep_wifi=False)
    assert first.parent == stick
    room.reset(device, run=lambda words: None)
    assert sorted(path.name for path in stick.iterdir()) == ["holiday.mp4", "notes.txt"]


@pytest.mark.parametrize("text", ["clip = 1", "[clip]\ndirectory = 5", '[clip]\ndirectory = "here"', "\0"])
def test_settings_of_nonsense_hinder_no_reset(device: Path, text: str) -> None:
    (device / "etc/edge-node/edge-node.toml").write_text(text)
    assert room.reset(device, run=lambda words: None) == 10


def test_what_cannot_be_deleted_is_told(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(EdgeNodeError, match="Read-only file system"):
        room.reset(device, run=lambda words: None)


def test_commands_that_are_not_there_or_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    room.run(["/nonexistent/edge-node-command"])
    room.run(["true"])
    monkeypatch.setattr(room, "COMMAND_DEADLINE_S", 0.0)
    with pytest.raises(EdgeNodeError, match="try again"):
        room.run(["sleep", "60"])


def test_the_command_asks_first(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["factory-reset", "--root", str(device)]) == 2
    out = capsys.readouterr()
    assert "identity.key" in out.out and "--yes" in out.err and len(kept(device)) == 13


def test_the_command_takes_no_answer_for_no(
    device: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hung_up(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", hung_up)
    assert main(["factory-reset", "--root", str(device)]) == 1
    assert "nothing was deleted" in capsys.readouterr().out and len(kept(device)) == 13


def test_the_command_does_it_when_told(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["factory-reset", "--root", str(device), "--yes", "--keep-wifi"]) == 0
    assert "8 deleted" in capsys.readouterr().out
