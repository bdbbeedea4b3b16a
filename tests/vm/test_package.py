"""The Debian package in a throwaway root file system: the small part of the journey in nspawn/run.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("EDGE_NODE_NSPAWN_CACHE", "/var/cache/edge-node-nspawn"))
ROOTS = sorted(marker.parent for marker in CACHE.glob("*/.complete"))
ABLE = os.geteuid() == 0 and shutil.which("dpkg-deb") is not None

pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(
    not (ABLE and ROOTS), reason="needs root, and a root file system: bash tests/vm/nspawn/run.sh"
)


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("package")
    command("bash", str(ROOT / "provisioning/package.sh"), "--out", str(out), "--no-bundles")
    (made,) = out.glob("*.deb")
    return made


@pytest.fixture(params=ROOTS, ids=lambda root: root.name)
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The root file system, with what is written to it kept apart."""
    root = tmp_path / "root"
    for name in ("root", "upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={request.param},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(root)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("overlay file systems cannot be mounted here")
    yield root
    command("umount", str(root))


def inventory(guest: Path) -> set[str]:
    """Everything but what dpkg, the user database and its back-ups are."""
    skipped = ("var/lib/dpkg", "var/log", "tmp", "run", "var/lib/systemd", "var/cache/debconf")
    users = {"passwd", "group", "shadow", "gshadow", "subuid", "subgid", ".pwd.lock"}
    names = {str(path.relative_to(guest)) for path in guest.rglob("*")}
    return {
        name
        for name in names
        if not name.startswith(skipped) and not (name.startswith("etc/") and name[4:].rstrip("-") in users)
    }


@pytest.mark.skipif(shutil.which("lintian") is None, reason="needs apt-get install lintian")
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_lintian_has_no_complaint(package: Path) -> None:
    # Root may run it only when that is said.
    command("lintian", "--allow-root", "--fail-on=error,warning", str(package))


@needs_root
def test_install_remove_purge(package: Path, guest: Path) -> None:
    before = inventory(guest)
    shutil.copy(package, guest / "tmp")
    said = command("chroot", str(guest), "dpkg", "-i", f"/tmp/{package.name}")
    assert "now give it a bundle: edge-node-slots install" in said
    assert "write /etc/edge-node/edge-node.toml" in said
    assert command("chroot", str(guest), "stat", "-c", "%U:%G %a", "/etc/edge-node") == "root:edge-node 750\n"
    assert "edge-node" in command("chroot", str(guest), "id", "edge-node")
    dropin = guest / "usr/lib/systemd/system/edge-node.service.d/50-systemd-254.conf"
    version = int(command("chroot", str(guest), "systemctl", "--version").split()[1])
    assert dropin.exists() is (version >= 254)
    assert not (guest / "usr/lib/systemd/system.conf.d/50-edge-node-watchdog.conf").exists(), (
        "the board's watchdog is for boards"
    )
    for unit in ("edge-node.service", "edge-node-hub.service", "edge-node-settle.service"):
        assert (guest / "usr/lib/systemd/system" / unit).exists()
    assert (guest / "usr/lib/udev/rules.d/60-edge-node-gpio.rules").exists()
    wants = guest / "etc/systemd/system/multi-user.target.wants"
    for unit in ("edge-node.service", "edge-node-firstboot.service"):
        assert (wants / unit).is_symlink(), f"{unit} starts when this root file system is booted"

    (guest / "etc/edge-node/edge-node.toml").write_text("mine")
    command("chroot", str(guest), "dpkg", "-i", f"/tmp/{package.name}")
    assert (guest / "etc/edge-node/edge-node.toml").read_text() == "mine", "an upgrade leaves settings alone"
    command("chroot", str(guest), "dpkg", "--remove", "edge-node")
    assert (guest / "etc/edge-node/edge-node.toml").exists() and not dropin.exists()
    assert not (wants / "edge-node.service").is_symlink()
    command("chroot", str(guest), "dpkg", "--purge", "edge-node")
    assert inventory(guest) - before == set()
    assert subprocess.run(["chroot", str(guest), "id", "edge-node"], capture_output=True, check=False).returncode
