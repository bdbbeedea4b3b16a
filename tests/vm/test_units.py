"""The units, as systemd's own tools judge them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parent.parent.parent / "systemd"
UNITS = tuple(sorted(path.name for path in SYSTEMD.glob("*.service")))
SANDBOXED = ("edge-node.service", "edge-node-hub.service")
MAX_EXPOSURE = 16  # tenths

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_no_key_is_unknown_or_wrong(unit: str, tmp_path: Path) -> None:
    text = (SYSTEMD / unit).read_text()
    # The program is not installed here, and no page of its manual is.
    text = re.sub(r"^(Exec\w+=[-+]*)/\S+", rf"\g<1>{shutil.which('true')}", text, flags=re.MULTILINE)
    (tmp_path / unit).write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    done = analyze("verify", str(tmp_path / unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", SANDBOXED)
def test_the_sandbox_is_tight(unit: str) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(SYSTEMD / unit))
    assert done.returncode == 0, done.stdout[-200:]


def test_what_media_needs_is_not_taken_away() -> None:
    """Each of these was seen to break the node, some without a word."""
    text = (SYSTEMD / "edge-node.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE))
    assert "AF_NETLINK" in settings["RestrictAddressFamilies"]
    assert settings["SystemCallErrorNumber"] == "EPERM"
    assert not {"MemoryDenyWriteExecute", "PrivateUsers", "PrivateDevices", "PrivateNetwork", "ProcSubset"} & set(
        settings
    )
    assert settings["RestartPreventExitStatus"] == "78"
    assert settings["Type"] == "notify"


def test_every_group_the_unit_names_is_made() -> None:
    unit = (SYSTEMD / "edge-node.service").read_text()
    users = (SYSTEMD / "sysusers.d" / "edge-node.conf").read_text()
    groups = re.search(r"^SupplementaryGroups=(.*)$", unit, flags=re.MULTILINE)
    assert groups is not None
    for group in groups[1].split():
        assert f"g {group} " in users


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs systemd-sysusers")
def test_the_user_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    words = ["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "sysusers.d" / "edge-node.conf")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "edge-node:" in (tmp_path / "etc" / "passwd").read_text()
