"""The first start: everything or nothing, whatever happens in between."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.main import main
from edge_node.errors import EdgeNodeError, SettingsError
from edge_node.host.enrolment import claim_hash
from edge_node.provision.disk import Disk, UnsyncedDisk
from edge_node.provision.firstboot import BUILT_AT, RULES_IN_USE, WIFI_RULE, FirstBoot
from edge_node.provision.folder import write_folder
from tests.provision import cards
from tests.provision.cards import CA, CODE, card

POLKIT = Path(__file__).resolve().parents[2] / "provisioning" / "polkit"
NOW = BUILT_AT + 1
OLD = '[node]\nid = "old"\n[channel]\nname = "home/old"\napi_key = "pk"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A device whose card was just written."""
    (tmp_path / "boot").mkdir()
    write_folder(card(), tmp_path / "boot" / "firmware", Disk())
    (tmp_path / "boot" / "firmware" / "edge-node" / "edge-node_0.1.0_all.deb").write_bytes(b"deb")
    return tmp_path


def run(root: Path, disk: Disk | None = None, now: float = NOW) -> bool:
    return FirstBoot(root, disk or Disk(), now).run()


def on_card(root: Path) -> set[str]:
    return {path.name for path in (root / "boot" / "firmware" / "edge-node").iterdir()}


def settings_of(root: Path) -> str:
    return (root / "etc/edge-node/edge-node.toml").read_text()


def state_of(root: Path, name: str) -> Any:
    return json.loads((root / "var/lib/edge-node" / name).read_text())


def assert_done(root: Path) -> None:
    assert 'id = "gate-1"' in settings_of(root) and state_of(root, "claim.json") == {"code": CODE}
    assert (root / "var/lib/edge-node/hub-ca.crt").read_text() == CA
    assert on_card(root) == {"install.sh", "edge-node_0.1.0_all.deb"}


def test_the_card_becomes_the_devices_own(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert run(root)
    assert_done(root)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root / "var/lib/edge-node").iterdir()}
    assert set(modes.values()) == {0o600} and {"identity.key", "claim.json"} <= modes.keys()
    assert (root / "etc/edge-node/edge-node.toml").stat().st_mode & 0o777 == 0o640
    assert "flash memory may keep" in caplog.text and "canary" not in caplog.text
    key = (root / "var/lib/edge-node/identity.key").read_bytes()
    assert run(root) is False and (root / "var/lib/edge-node/identity.key").read_bytes() == key
    left = [path for path in (root / "boot").rglob("*") if path.is_file() and b"canary-claim" in path.read_bytes()]
    assert not left, "the claim is nowhere on the card"


class PowerCut(BaseException):
    """Nothing after this happens, no clean-up either."""


class FailingDisk(UnsyncedDisk):
    """Every sync, write, rename or removal counts; the chosen one does not return, done or not."""

    def __init__(self, at: int, *, done: bool, error: BaseException) -> None:
        self.left, self.done, self.error = at, done, error

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error

    def fsync(self, handle: int) -> None:
        super().fsync(handle)
        self._step()

    def write(self, handle: int, content: bytes) -> None:
        if self.left == 1:
            super().write(handle, content if self.done else content[: len(content) // 2])
        else:
            super().write(handle, content)
        self._step()

    def rename(self, source: Path, target: Path) -> None:
        if self.left == 1 and not self.done:
            self._step()
        super().rename(source, target)
        if self.left == 1:
            self._step()

    def remove(self, path: Path) -> None:
        if self.left == 1 and not self.done:
            self._step()
        super().remove(path)


@pytest.mark.parametrize("done", [False, True])
def test_a_power_cut_at_any_step_is_made_up_for(
    root: Path, done: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cuts = 0
    for step in range(1, 200):
        here = tmp_path_factory.mktemp("device")
        (here / "boot").mkdir()
        write_folder(card(), here / "boot" / "firmware", UnsyncedDisk())
        (here / "boot/firmware/edge-node/edge-node_0.1.0_all.deb").write_bytes(b"deb")
        (here / "etc/edge-node").mkdir(parents=True)
        (here / "etc/edge-node/edge-node.toml").write_text(OLD)
        try:
            run(here, FailingDisk(step, done=done, error=PowerCut()))
        except PowerCut:
            cuts += 1
        else:
            break
        assert settings_of(here) == OLD or 'id = "gate-1"' in settings_of(here), "never half of one"
        run(here, UnsyncedDisk())
        assert_done(here)
    assert cuts > 20, f"only {cuts} steps"


def test_a_full_disk_takes_nothing_from_the_card(root: Path) -> None:
    (root / "etc/edge-node").mkdir(parents=True)
    (root / "etc/edge-node/edge-node.toml").write_text(OLD)
    before = on_card(root)
    for step in (1, 3, 6, 9):
        with pytest.raises(EdgeNodeError, match="No space left on device"):
            run(root, FailingDisk(step, done=False, error=OSError(errno.ENOSPC, "No space left on device")))
        assert on_card(root) == before and settings_of(root) == OLD
        assert not list(root.rglob(".*.new")), "nothing is left aside"
    assert run(root)
    assert_done(root)


def read_only(*words: object, **more: object) -> int:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize("claimed", [True, False])
def test_a_read_only_disk_is_one_sentence_and_changes_nothing(
    root: Path, claimed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What writes, makes, moves or removes a file or folder is refused, as by a disk mounted read-only."""
    if not claimed:
        (root / "boot/firmware/edge-node/claim.toml").unlink()
    before = {path: path.is_file() and path.read_bytes() for path in root.rglob("*")}
    opened = os.open

    def open_to_read(path: Any, flags: int, *words: Any, **more: Any) -> int:
        return read_only() if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else opened(path, flags, *words, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_to_read)
        for name in ("mkdir", "unlink", "replace", "rename"):
            patched.setattr(os, name, read_only)
        assert main(["firstboot", "--root", str(root)]) == 1
    assert {path: path.is_file() and path.read_bytes() for path in root.rglob("*")} == before
    said = [line for line in capsys.readouterr().err.splitlines() if "Read-only" in line]
    assert len(said) == 1 and "nothing was taken from the card (Read-only file system)" in said[0]


def test_a_card_that_cannot_be_read_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", spoilt)
    with pytest.raises(EdgeNodeError, match=r"cannot be read \(Input/output error\)"):
        run(root)
    assert not (root / "var").exists() and not (root / "etc").exists()


def with_polkit(root: Path, **gpio: str) -> Path:
    """Such a card again; where polkit looks for the rule."""
    settings = cards.values()["settings"]
    settings["gpio"]["button"][0] |= gpio
    write_folder(card(settings=settings), root / "boot" / "firmware", Disk())
    (root / "usr/share/edge-node/polkit").mkdir(parents=True, exist_ok=True)
    shutil.copy(POLKIT / WIFI_RULE, root / "usr/share/edge-node/polkit")
    (root / "etc/polkit-1/rules.d").mkdir(parents=True, exist_ok=True)
    return root / "etc/polkit-1/rules.d" / WIFI_RULE


def test_a_button_for_wifi_brings_the_rule_and_takes_it_along(root: Path) -> None:
    rule = with_polkit(root)
    assert run(root) and not rule.exists(), "no button is for it"
    with_polkit(root, long_action="wifi")
    assert run(root) and rule.read_bytes() == (POLKIT / WIFI_RULE).read_bytes()
    assert rule.stat().st_mode & 0o777 == 0o644, "polkit is another user"
    assert run(root) is False and rule.exists()
    with_polkit(root, long_action="mute")
    assert run(root) and not rule.exists()


def test_without_polkit_the_card_is_taken_all_the_same(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(with_polkit(root, action="wifi").parent)
    assert run(root) and "install the package edge-node, and polkitd" in caplog.text
    assert not (root / "etc/polkit-1/rules.d").exists() and 'action = "wifi"' in settings_of(root)


def test_the_unit_lets_it_write_there() -> None:
    unit = (POLKIT.parents[1] / "systemd" / "edge-node-firstboot.service").read_text()
    (line,) = [line for line in unit.splitlines() if line.startswith("ReadWritePaths=")]
    assert "-/" + RULES_IN_USE in line.split("=", 1)[1].split()


class LockedCard(Disk):
    def rename(self, source: Path, target: Path) -> None:
        if "boot" in target.parts[-4:]:
            raise OSError(errno.EROFS, "Read-only file system")
        super().rename(source, target)


def test_a_locked_card_is_told_and_taken_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(root, LockedCard())
    assert "still holds what was taken over" in caplog.text and "claim.toml" in on_card(root)
    edited = settings_of(root).replace("home/gate-1", "home/elsewhere")
    (root / "etc/edge-node/edge-node.toml").write_text(edited)
    assert run(root, LockedCard()) is False
    assert settings_of(root) == edited, "a change made here is not undone at the next start"


def test_the_same_card_written_again_is_taken_again(root: Path) -> None:
    """README: "Write a card again to change a device", also back to what it was."""
    assert run(root)
    (root / "etc/edge-node/edge-node.toml").write_text("an operator's slip")
    write_folder(card(), root / "boot" / "firmware", Disk())
    assert run(root)
    assert_done(root)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("edge-node.toml", lambda text: text[: len(text) // 2], "edge-node.toml"),
        ("edge-node.toml", lambda text: text.replace("GPIO17", "GPIO99"), "GPIO99"),
        ("edge-node.toml", lambda text: text.replace("GPIO27", "GPIO17"), 'which button "call" has'),
        ("edge-node.toml", lambda text: text.replace("led:status", "led:lamp"), "lamp"),
        ("edge-node.toml", lambda text: text.replace('"gate-1"', '"gate-2"'), "are for gate-2"),
        ("claim.toml", lambda text: text[:60], "half written"),
        ("claim.toml", lambda text: text.replace("claim-", "clam-"), "no claim"),
        ("claim.toml", lambda text: text.replace("wss://hub", "wss://other"), "write the card again"),
    ],
)
def test_a_wrong_card_changes_nothing(root: Path, name: str, change: Any, reason: str) -> None:
    path = root / "boot/firmware/edge-node" / name
    path.write_text(change(path.read_text()))
    before = on_card(root)
    with pytest.raises(SettingsError) as caught:
        run(root)
    assert reason in str(caught.value) and "canary" not in str(caught.value)
    assert on_card(root) == before and not (root / "etc").exists() and not (root / "var").exists()


def test_a_claim_alone_goes_with_the_settings_that_are_there(root: Path) -> None:
    (root / "boot/firmware/edge-node/edge-node.toml").unlink()
    with pytest.raises(SettingsError, match="beside it"):
        run(root)
    (root / "etc/edge-node").mkdir(parents=True)
    (root / "etc/edge-node/edge-node.toml").write_text(
        '[node]\nid = "gate-1"\n[channel]\nname = "a"\nurl = "wss://hub.example:9292"\nenrolled = true\n'
    )
    assert run(root) and state_of(root, "claim.json")


def test_a_claim_that_this_device_used_is_not_offered_again(root: Path) -> None:
    state = root / "var/lib/edge-node"
    state.mkdir(parents=True)
    (state / "identity.json").write_text(json.dumps({"claim_sha256": claim_hash(CODE)}))
    assert run(root) and not (state / "claim.json").exists()


def test_edited_under_windows(root: Path) -> None:
    path = root / "boot/firmware/edge-node/edge-node.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert run(root)
    assert main(["config", "check", str(root / "etc/edge-node/edge-node.toml")]) == 0


def test_a_clock_from_the_past_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(root, now=0)
    assert "clock is far behind" in caplog.text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["firstboot", "--root", str(tmp_path)]) == 0
    (tmp_path / "boot/edge-node").mkdir(parents=True)
    (tmp_path / "boot/edge-node/edge-node.toml").write_text("[node")
    assert main(["firstboot", "--root", str(tmp_path)]) == 78
    assert "half written" in capsys.readouterr().err
