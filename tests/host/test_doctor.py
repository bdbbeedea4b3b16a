"""What doctor finds on a Pi, on an empty machine, on this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_node.host.doctor import Doctor
from edge_node.host.findings import Finding, Level
from edge_node.host.live_check import Live
from edge_node.host.panel_check import Claim, Site
from tests.support.fake_root import PI_4, PI_5, lay_out


def examine(root: Path, has: bool = True) -> list[Finding]:
    return Doctor(root, has_module=lambda _: has, has_library=lambda _: has).examine()


def texts(findings: list[Finding], area: str) -> list[str]:
    return [finding.text for finding in findings if finding.area == area]


def test_a_pi_with_everything(tmp_path: Path) -> None:
    findings = examine(lay_out(tmp_path, {**PI_4, "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n"}))
    assert texts(findings, "board")[0].startswith("Raspberry Pi 4 Model B Rev 1.5, Debian GNU/Linux 12")
    assert texts(findings, "camera") == ["unicam at /dev/video0"]
    assert texts(findings, "encoder") == ["H.264 in hardware at /dev/video11"]
    assert texts(findings, "sound") == ["USB-Audio - USB Headset"]
    assert texts(findings, "pins") == ["1 GPIO chips"]
    assert texts(findings, "network") == ["default route over wlan0", "Wi-Fi signal -56 dBm"]
    assert texts(findings, "clock") == ["synchronised"]
    assert texts(findings, "power") == ["never throttled since boot", "processor at 48.3 °C"]
    assert not [finding for finding in findings if finding.level is not Level.OK and finding.area != "storage"]


def test_a_pi_5_with_everything(tmp_path: Path) -> None:
    findings = examine(lay_out(tmp_path, PI_5))
    assert texts(findings, "board")[0].startswith("Raspberry Pi 5 Model B Rev 1.0, Debian GNU/Linux 13")
    assert texts(findings, "camera") == ["rp1-cfe-csi2_ch0 at /dev/video0"]
    assert texts(findings, "encoder")[0].startswith("H.264 in software")
    assert texts(findings, "power") == ["never throttled since boot", "processor at 51.2 °C"]
    assert texts(findings, "service") == ["it has its account and its groups"]
    assert not [finding for finding in findings if finding.level is not Level.OK and finding.area != "storage"]


def test_an_empty_machine_is_told_what_to_do(tmp_path: Path) -> None:
    findings = examine(tmp_path, has=False)
    problems = {finding.area for finding in findings if finding.level is Level.PROBLEM}
    assert {"camera", "sound", "network"} <= problems
    assert all(finding.todo for finding in findings if finding.level is not Level.OK)
    assert "PortAudio is missing" in texts(findings, "sound")
    assert texts(findings, "pins") == ["no GPIO chip"]
    assert texts(findings, "power") == ["this machine does not report its supply"]


@pytest.mark.parametrize(
    ("files", "area", "expected"),
    [
        ({"sys/class/thermal/thermal_zone0/temp": "85000"}, "power", "cool the board: it runs slower"),
        ({"sys/devices/platform/soc/soc:firmware/get_throttled": "50000"}, "power", "own power supply"),
        ({"sys/devices/platform/soc/soc:firmware/get_throttled": "40000"}, "power", "cool the board"),
        ({"proc/sys/net/core/rmem_max": "212992"}, "network", "rmem_max=1048576"),
        ({"proc/mounts": "/dev/mmcblk0p2 / ext4 ro,noatime 0 0\n"}, "storage", "the card is worn out"),
        ({"proc/mounts": "overlay / overlay rw,relatime 0 0\n"}, "storage", "raspi-config"),
        ({"etc/passwd": "edge-node:x:999:999::/:/bin/sh\n", "etc/group": "video:x:44:\n"}, "service", "sysusers"),
        (
            {"etc/passwd": "edge-node:x:9:9::/:/bin/sh\n", "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n"},
            "service",
            "add cgroup_enable=memory to the one line of",
        ),
        ({"proc/net/wireless": "a\nb\n wlan0: 0 1 -90. 0\n"}, "network", "bring the access point nearer"),
        ({"sys/class/video4linux/video0/index": "1\n"}, "camera", "plug one in"),
    ],
)
def test_trouble_and_its_remedy(tmp_path: Path, files: dict[str, str], area: str, expected: str) -> None:
    findings = examine(lay_out(tmp_path, {**PI_4, **files}))
    assert any(expected in finding.todo for finding in findings if finding.area == area)


def test_what_the_settings_do_not_want_is_no_problem(tmp_path: Path) -> None:
    site = Site(source="rtsp", microphone="rtsp", speaker="file:chime.wav")
    live = Live(hub="ws://127.0.0.1:9292")
    findings = Doctor(tmp_path, has_library=lambda _: False, site=site, live=live).examine()
    assert not [finding for finding in findings if finding.level is Level.PROBLEM]
    assert texts(findings, "camera") == ['none here, and video.source = "rtsp" wants none']
    assert len(texts(findings, "sound")) == 2
    assert "no way to the internet" in texts(findings, "network") and "ws://127.0.0.1:9292 answers" in texts(
        findings, "network"
    )


def test_parts_on_pins_need_pins(tmp_path: Path) -> None:
    findings = Doctor(tmp_path, site=Site(claims=[Claim("relay", "door", "GPIO22")])).examine()
    (found,) = (finding for finding in findings if finding.area == "pins" and finding.level is Level.PROBLEM)
    assert found.text == "no GPIO chip, so nothing becomes of relay door" and "gpio.driver" in found.todo


@pytest.mark.parametrize(
    ("state", "expected"),
    [("ro,noatime", "/var/lib/edge-node cannot be written"), ("rw,noatime", "/var/lib/edge-node is kept")],
)
def test_a_state_of_its_own(tmp_path: Path, state: str, expected: str) -> None:
    mounts = f"overlay / overlay rw 0 0\n/dev/mmcblk0p3 /var/lib/edge-node ext4 {state} 0 0\nproc /proc proc rw 0 0\n"
    found = texts(examine(lay_out(tmp_path, {**PI_4, "proc/mounts": mounts})), "storage")
    assert any(expected in text for text in found) and len(found) == 2


def test_missing_drivers_on_a_pi(tmp_path: Path) -> None:
    todos = [finding.todo for finding in examine(lay_out(tmp_path, PI_4), has=False)]
    assert any("python3-picamera2" in todo for todo in todos)
    assert any("python3-lgpio" in todo for todo in todos)
    assert any("libportaudio2" in todo for todo in todos)


def test_a_node_that_may_not_be_opened_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, PI_4)
    monkeypatch.setattr(os, "access", lambda *_: False)
    todos = {finding.area: finding.todo for finding in examine(tmp_path) if finding.level is Level.PROBLEM}
    assert "usermod -aG video" in todos["camera"]
    assert "usermod -aG gpio" in todos["pins"]


@pytest.mark.parametrize(("answer", "level"), [(0, Level.OK), (5, Level.PROBLEM), (None, Level.NOTE)])
def test_the_clock(tmp_path: Path, answer: int | None, level: Level) -> None:
    doctor = Doctor(tmp_path, ask_clock=lambda: answer)
    assert [finding.level for finding in doctor.clock()] == [level]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 100, 5, 5, 0, 0, 0, 0, 255)))
    storage = next(finding for finding in examine(tmp_path) if finding.area == "storage")
    assert (storage.level, storage.text) == (Level.PROBLEM, "95 % used")


def test_an_encoder_alone_is_no_camera_and_a_desktop_has_no_firmware(tmp_path: Path) -> None:
    lay_out(tmp_path, {"sys/class/video4linux/video11/name": "bcm2835-codec-encode\n"})
    assert texts(examine(tmp_path), "camera") == ["no camera"]


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    assert texts(examine(tmp_path / "absent"), "storage") == []


def test_this_machine() -> None:
    findings = Doctor().examine()
    assert {"board", "camera", "encoder", "sound", "pins", "network", "clock", "power"} <= {f.area for f in findings}
