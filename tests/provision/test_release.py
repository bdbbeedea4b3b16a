"""A release: requirement files narrowed to one kind of machine, bundles, the Debian package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge_node.errors import EdgeNodeError
from edge_node.provision import release
from edge_node.update.bundle import Bundle
from edge_node.version import __version__
from tests.support.update_lab import new_key

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "provisioning/requirements/hub-aec-qr.txt"
LINES = """\
# a comment
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
plain==1.0 \\
    --hash=sha256:dd
board==1.0 ; platform_machine == 'aarch64' \\
    --hash=sha256:ee
bare==1.0
"""


def test_only_the_entries_of_this_machine_are_kept() -> None:
    pi = release.narrow(LINES, "3.13", "aarch64")
    assert "numpy==2.5.5" in pi and "2.4.6" not in pi and "board==1.0" in pi and ";" not in pi and "#" not in pi
    pc = release.narrow(LINES, "3.11", "x86_64")
    assert "numpy==2.4.6" in pc and "2.5.5" not in pc and "board" not in pc
    assert pc.splitlines()[1].strip() == "--hash=sha256:aa" and pc.endswith("bare==1.0\n")


@pytest.mark.parametrize("arch", release.ARCHES)
@pytest.mark.parametrize("python", release.PYTHONS)
def test_our_own_requirements_give_one_version_of_each(python: str, arch: str) -> None:
    text = release.narrow(REQUIREMENTS.read_text(), python, arch)
    names = [line.partition("==")[0] for line in text.splitlines() if "==" in line]
    assert len(names) == len(set(names)) and {"aiortc", "av", "numpy", "livekit"} <= set(names)
    assert text.count("--hash=") > len(names)


def test_a_bundle_of_one_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download itself is left out: it needs the internet (bash provisioning/package.sh)."""
    asked: list[tuple[str, str]] = []

    def download(requirements: Path, python: str, arch: str, folder: Path) -> None:
        asked.append((python, arch))
        (folder / "plain-1.0-py3-none-any.whl").write_bytes(b"wheel")

    monkeypatch.setattr(release, "download", download)
    wheel = tmp_path / f"edge_node-{__version__}-py3-none-any.whl"
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(LINES)
    key, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    new_key(key, public)
    words = ["--wheel", str(wheel), "--requirements", str(requirements), "--key", str(key), "--out", str(tmp_path)]
    words += ["--arch", "aarch64", "--python", "3.13"]
    assert release.main(words) == 1  # no wheel yet
    wheel.write_bytes(b"own")
    assert release.main(words) == 0 and asked == [("3.13", "aarch64")]
    with Bundle(tmp_path / f"edge-node-{__version__}-aarch64-cp313.tar", [public]) as bundle:
        assert (bundle.manifest.arch, bundle.manifest.python) == ("aarch64", "3.13")
        bundle.unpack(tmp_path / "out")
    assert (tmp_path / "out/wheels" / wheel.name).read_bytes() == b"own"
    assert "numpy==2.5.5" in (tmp_path / "out/requirements.txt").read_text()


def test_wheels_are_downloaded_once_when_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(requirements: Path, python: str, arch: str, folder: Path) -> None:
        asked.append(python)
        (folder / "plain-1.0-py3-none-any.whl").write_bytes(b"wheel")
        if python == "3.14":
            raise EdgeNodeError("no wheels")

    monkeypatch.setattr(release, "download", download)
    requirements, kept = tmp_path / "requirements.txt", tmp_path / "kept"
    requirements.write_text("plain==1.0\n")
    for python in ("3.11", "3.11", "3.13"):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        release.fetch(requirements, python, "aarch64", out, kept)
        assert (out / "plain-1.0-py3-none-any.whl").read_bytes() == b"wheel"
    assert asked == ["3.11", "3.13"]
    with pytest.raises(EdgeNodeError):
        release.fetch(requirements, "3.14", "aarch64", tmp_path / "out", kept)
    assert len(list(kept.iterdir())) == 2, "half a set is not kept"


def test_a_download_that_fails_or_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("-r none.txt\n")
    with pytest.raises(EdgeNodeError, match=r"no wheels for aarch64, Python 3\.13: ERROR: Could not open"):
        release.download(requirements, "3.13", "aarch64", tmp_path)
    monkeypatch.setattr(release, "DOWNLOAD_DEADLINE_S", 0.0)
    with pytest.raises(EdgeNodeError, match="took more than 0 s: try again"):
        release.download(requirements, "3.13", "aarch64", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_the_debian_package(tmp_path: Path) -> None:
    script = ["bash", str(ROOT / "provisioning/package.sh"), "--out", str(tmp_path), "--no-bundles"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    deb = tmp_path / f"edge-node_{__version__}_all.deb"
    first = deb.read_bytes()
    listing = subprocess.run(["dpkg-deb", "--contents", str(deb)], capture_output=True, text=True, check=True).stdout
    for name in (
        "/usr/sbin/edge-node-slots", "/usr/bin/edge-node", "/usr/lib/systemd/system/edge-node.service",
        "/usr/lib/edge-node/edge_node/update/slots.py", "/usr/share/edge-node/hardware/boards/pi-5.toml",
        "/usr/share/edge-node/trust/release.pem", "/usr/lib/sysusers.d/edge-node.conf",
        "/usr/lib/udev/rules.d/60-edge-node-gpio.rules",
        "/usr/lib/sysctl.d/50-edge-node.conf", "/usr/lib/systemd/journald.conf.d/50-edge-node.conf",
        "/usr/share/edge-node/systemd/system.conf.d/50-edge-node-watchdog.conf",
    ):  # fmt: skip
        assert f" .{name}\n" in listing, name
    assert "root/root" in listing and len(first) < 1 << 20
    folder = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(folder)], check=True)
    # The part outside the slots runs from there on the standard library alone.
    status = subprocess.run(
        ["/usr/bin/python3", "-P", "-s", "-S", "-m", "edge_node.update", "--root", str(tmp_path / "opt"), "status"],
        env={"PYTHONPATH": str(folder / "usr/lib/edge-node")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert status.stdout.startswith("slot a: -, empty"), status.stderr
    subprocess.run(script, capture_output=True, timeout=300, check=True, umask=0o077)  # as a careful root's
    assert deb.read_bytes() == first, "the same input gives the same bytes"
