"""Readings of this machine from /proc and /sys."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Firmware bits of get_throttled: kernel drivers/hwmon/raspberrypi-hwmon.c and the firmware's mailbox property
# 0x00030046; the bits 16 to 19 say the same of the time since boot.
THROTTLED_BITS = {
    0: "under_voltage",
    1: "frequency_capped",
    2: "throttled",
    3: "soft_temperature_limit",
    16: "under_voltage_since_boot",
    17: "frequency_capped_since_boot",
    18: "throttled_since_boot",
    19: "soft_temperature_limit_since_boot",
}
CPU_TICKS = 100  # one second of one core: several readers must not shorten each other's time to nothing
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
TIMEX_BYTES = 512  # more than struct timex needs on any architecture; all zero asks without changing anything


class LinuxProbe:
    """ports.Probe: the `host` part of the telemetry sample, below an injectable root."""

    def __init__(
        self,
        root: Path = Path("/"),
        state_dir: Path | None = None,
        ask_clock: Callable[[], int | None] | None = None,
    ) -> None:
        self._root = root
        self._state_dir = root if state_dir is None else state_dir
        self._cpu: tuple[int, int] | None = None
        self._cpu_percent: float | None = None
        # The kernel's clock is this machine's, whatever the root.
        self._ask_clock = ask_clock or (kernel_clock_state if root == Path("/") else lambda: None)

    def read(self) -> Mapping[str, Any]:
        """All readings; percentages 0 to 100, None for what this machine does not tell."""
        return {
            "cpu_percent": self.cpu_percent(),
            "load_1m": self.load_1m(),
            "memory_used_percent": self.memory_used_percent(),
            "disk_used_percent": self.disk_used_percent(),
            "soc_temp_c": self.soc_temp_c(),
            "throttled": self.throttled(),
            "wifi_rssi_dbm": self.wifi_rssi_dbm(),
            "clock_synced": self.clock_synced(),
        }

    def cpu_percent(self) -> float | None:
        """Busy share of all cores since the reading before; None at the first one, the same again right after one."""
        line = self._text("proc/stat").partition("\n")[0].split()
        if len(line) < 6 or line[0] != "cpu":
            return None
        ticks = [int(word) for word in line[1:9] if word.isdigit()]  # proc(5): guest time is part of user time already
        total, idle = sum(ticks), ticks[3] + ticks[4]
        before = self._cpu
        if before is not None and total - before[0] < CPU_TICKS:
            return self._cpu_percent
        self._cpu = (total, idle)
        if before is not None:
            idle_share = max(0, idle - before[1]) / (total - before[0])  # waiting for disks is taken back now and then
            self._cpu_percent = round(100.0 * (1 - idle_share), 1)
        return self._cpu_percent

    def load_1m(self) -> float | None:
        """Mean number of runnable tasks over a minute."""
        return _number(self._text("proc/loadavg").partition(" ")[0])

    def memory_mb(self) -> float | None:
        """All memory that the kernel has, in MB (10^6 bytes)."""
        total_kib = self._memory().get("MemTotal:")
        return None if not total_kib else round(total_kib * 1024 / 1e6, 1)

    def _memory(self) -> dict[str, int]:
        """proc/meminfo, in KiB."""
        lines = (line.split() for line in self._text("proc/meminfo").splitlines())
        return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}

    def memory_used_percent(self) -> float | None:
        """What programs could not get, as the kernel estimates it (MemAvailable)."""
        sizes = self._memory()
        total, available = sizes.get("MemTotal:"), sizes.get("MemAvailable:")
        if not total or available is None:
            return None
        return round(100.0 * (1 - available / total), 1)

    def disk_used_percent(self) -> float | None:
        """The file system that holds the node's state."""
        try:
            disk = os.statvfs(self._state_dir)
        except OSError:
            return None
        return round(100.0 * (1 - disk.f_bavail / disk.f_blocks), 1) if disk.f_blocks else None

    def soc_temp_c(self) -> float | None:
        """The processor's temperature; the first zone that names itself one, else the first zone."""
        zones = sorted((self._root / "sys/class/thermal").glob("thermal_zone*"))
        named = [zone for zone in zones if "cpu" in self._read(zone / "type") or "soc" in self._read(zone / "type")]
        for zone in named or zones[:1]:
            if (milli_c := _number(self._read(zone / "temp"))) is not None:
                return round(milli_c / 1000, 1)
        return None

    def throttled(self) -> list[str] | None:
        """What the Pi firmware holds back, or held back since boot; None on other machines."""
        bits = self._text("sys/devices/platform/soc/soc:firmware/get_throttled").strip()
        if bits:
            try:
                value = int(bits, 16)
            except ValueError:
                return None
            return [name for bit, name in THROTTLED_BITS.items() if value >> bit & 1]
        for chip in sorted((self._root / "sys/class/hwmon").glob("hwmon*")):
            if self._read(chip / "name").strip() == "rpi_volt":
                alarm = self._read(chip / "in0_lcrit_alarm").strip()
                return {"0": [], "1": ["under_voltage"]}.get(alarm)
        return None

    def wifi_rssi_dbm(self) -> float | None:
        """Signal of the first wireless interface; None on a cable."""
        for line in self._text("proc/net/wireless").splitlines()[2:]:
            words = line.split()
            level = _number(words[3]) if len(words) > 3 else None
            if level is not None:
                return level - 256 if level > 0 else level  # old drivers give the byte unsigned
        return None

    def clock_synced(self) -> bool | None:
        """Whether a time source disciplines the clock."""
        if (self._root / "run/systemd/timesync/synchronized").exists():
            return True
        state = self._ask_clock()
        return None if state is None else state != TIME_ERROR

    def rss_mb(self) -> float | None:
        """Resident memory of this process in MB (10^6 bytes)."""
        words = self._text("proc/self/statm").split()
        pages = _number(words[1]) if len(words) > 1 else None
        return None if pages is None else round(pages * os.sysconf("SC_PAGESIZE") / 1e6, 1)

    def _text(self, name: str) -> str:
        return self._read(self._root / name)

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return path.read_text(errors="replace")
        except OSError:
            return ""


def kernel_clock_state() -> int | None:
    """The return value of adjtimex(2) asked without changing anything; None when it cannot be asked."""
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return state if state >= 0 else None  # ProtectClock=yes in the unit refuses the call


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
