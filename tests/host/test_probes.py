"""Readings of a Pi, of this machine, of a machine that tells nothing."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from edge_node.host import probes
from edge_node.host.probes import LinuxProbe
from edge_node.ports import Probe
from edge_node.telemetry.sample import build
from tests.support.fake_root import PI_4, lay_out


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    return lay_out(tmp_path, PI_4)


def test_a_pi(pi: Path) -> None:
    probe = LinuxProbe(pi)
    assert probe.read()["cpu_percent"] is None
    (pi / "proc/stat").write_text("cpu  150 0 150 750 150 0 0 0 0 0\n")
    reading = probe.read()
    disk = reading["disk_used_percent"]
    assert dict(reading) == {
        "cpu_percent": 50.0,
        "load_1m": 0.52,
        "memory_used_percent": 25.0,
        "disk_used_percent": disk,
        "soc_temp_c": 48.3,
        "throttled": ["under_voltage", "throttled", "under_voltage_since_boot", "throttled_since_boot"],
        "wifi_rssi_dbm": -56.0,
        "clock_synced": True,
    }
    assert 0 <= disk <= 100
    assert probe.rss_mb() == pytest.approx(10_000 * os.sysconf("SC_PAGESIZE") / 1e6, abs=0.1)


def test_a_machine_that_tells_nothing_gives_nulls(tmp_path: Path) -> None:
    probe = LinuxProbe(tmp_path, state_dir=tmp_path / "absent")
    assert all(value is None for value in probe.read().values())
    assert probe.rss_mb() is None


@pytest.mark.parametrize(
    ("file", "text", "key"),
    [
        ("proc/stat", "cpu broken", "cpu_percent"),
        ("proc/loadavg", "", "load_1m"),
        ("proc/meminfo", "MemTotal: 0 kB\n", "memory_used_percent"),
        ("proc/meminfo", "MemTotal: 5 kB\nMemFree: 3 kB\n", "memory_used_percent"),
        ("sys/class/thermal/thermal_zone0/temp", "", "soc_temp_c"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "what", "throttled"),
        ("proc/net/wireless", "a\nb\n wlan0: 0000\n wlan1: 0 1 2 3\n", "wifi_rssi_dbm"),
    ],
)
def test_what_cannot_be_read_is_null(pi: Path, file: str, text: str, key: str) -> None:
    (pi / file).write_text(text)
    if key == "wifi_rssi_dbm":
        assert LinuxProbe(pi).read()[key] == 2 - 256
    else:
        assert LinuxProbe(pi).read()[key] is None


def test_a_stopped_processor_counter_is_no_measurement(pi: Path) -> None:
    probe = LinuxProbe(pi)
    probe.read()
    assert probe.read()["cpu_percent"] is None


def test_a_busy_processor_is_never_busier_than_that(pi: Path) -> None:
    """proc(5): the time that was waited for disks may be less than before."""
    probe = LinuxProbe(pi)
    for line in ("cpu  100 0 0 500 50 0 0 0 0 0\n", "cpu  400 0 0 500 40 0 0 0 0 0\n"):
        (pi / "proc/stat").write_text(line)
        percent = probe.read()["cpu_percent"]
    assert percent == 100.0


@pytest.mark.parametrize(("alarm", "expected"), [("0", []), ("1", ["under_voltage"]), ("?", None)])
def test_under_voltage_from_the_kernels_own_driver(tmp_path: Path, alarm: str, expected: list[str] | None) -> None:
    chips = {"sys/class/hwmon/hwmon0/name": "nvme\n", "sys/class/hwmon/hwmon1/name": "rpi_volt\n"}
    lay_out(tmp_path, {**chips, "sys/class/hwmon/hwmon1/in0_lcrit_alarm": f"{alarm}\n"})
    assert LinuxProbe(tmp_path).read()["throttled"] == expected


def test_the_processors_zone_is_preferred(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone"
    lay_out(tmp_path, {f"{zone}0/type": "wifi", f"{zone}0/temp": "1000", f"{zone}1/type": "cpu-thermal"})
    lay_out(tmp_path, {f"{zone}1/temp": "2000"})
    assert LinuxProbe(tmp_path).soc_temp_c() == 2.0
    (tmp_path / f"{zone}1/type").write_text("battery")
    assert LinuxProbe(tmp_path).soc_temp_c() == 1.0


def test_this_machine() -> None:
    probe: Probe = LinuxProbe()
    reading = probe.read()
    assert reading["memory_used_percent"] > 0
    assert reading["clock_synced"] in (True, False, None)
    assert (LinuxProbe().rss_mb() or 0) > 1
    assert build(node="a", at=0.0, seq=0, uptime_s=0.0, host=reading).host.load_1m is not None


class _Libc:
    def __init__(self, answer: int) -> None:
        self.answer = answer

    def adjtimex(self, _timex: object) -> int:
        return self.answer


@pytest.mark.parametrize(("answer", "expected"), [(0, True), (1, True), (5, False), (-1, None)])
def test_the_kernels_word_on_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int, expected: bool | None
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: _Libc(answer))
    probe = LinuxProbe(tmp_path, ask_clock=probes.kernel_clock_state)
    assert probe.clock_synced() is expected


def test_a_libc_without_adjtimex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert probes.kernel_clock_state() is None
