"""What a board's encoders can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_node.encode_plan.rules import HARDWARE_MAX_KBPS, LEVEL_4_2_MB_PER_S, LEVEL_4_MB_PER_S, SAFE_BUFFERS
from edge_node.errors import SettingsError

HARDWARE_CARD = "bcm2835-codec-encode"
"""How the kernel names the H.264 encoder of Zero 2 W, 3 and 4 (/sys/class/video4linux/*/name)."""
LIMITS = (
    "max_mb_per_s", "max_width_px", "max_height_px", "align_width_px", "align_height_px", "min_kbps", "max_kbps",
    "parallel",
)  # fmt: skip
BOARD_NUMBERS = ("camera.buffers", "sending.max_kbps")


@dataclass(frozen=True, slots=True)
class EncoderLimits:
    """What one encoder can do in real time; `name` is `libx264` or `v4l2m2m`.

    `max_mb_per_s` is of one stream, in macroblocks a second; for libx264 at its preset ultrafast. `parallel` streams
    of that size go at a time.
    """

    name: str
    max_mb_per_s: int
    max_width_px: int
    max_height_px: int
    align_width_px: int
    align_height_px: int
    min_kbps: int
    max_kbps: int
    parallel: int = 1


SOFTWARE = EncoderLimits("libx264", LEVEL_4_MB_PER_S, 1920, 1088, 2, 2, 50, 20_000, 2)
"""A machine that nobody measured: a slow one drops pictures and never queues them."""
HARDWARE = EncoderLimits("v4l2m2m", LEVEL_4_MB_PER_S, 1920, 1088, 16, 16, 1000, HARDWARE_MAX_KBPS)
"""The encoder behind HARDWARE_CARD on a board without a profile of its own."""


@dataclass(frozen=True, slots=True)
class HeatLimits:
    """Where a board begins to do less, in degrees Celsius; `wifi_c`: where its Wi-Fi drops out, if it does."""

    warm_c: float = 80.0
    wifi_c: float | None = None


@dataclass(frozen=True, slots=True)
class BoardLimits:
    """The encoders of a board, None for one that it does not have; what else bounds its pictures.

    `sending_kbps` is what it sends to all viewers together; `main_cbr_hangs` as in rules.safe_profile.
    """

    hardware: EncoderLimits | None = None
    software: EncoderLimits | None = SOFTWARE
    heat: HeatLimits = HeatLimits()
    buffers: int = SAFE_BUFFERS
    sending_kbps: int = 200_000
    main_cbr_hangs: bool = False

    def measured(self, mb_per_s: int | None) -> BoardLimits:
        """With the software encoder's real speed on this very machine (macroblocks a second); None: not measured."""
        if mb_per_s is None or self.software is None:
            return self
        return replace(self, software=replace(self.software, max_mb_per_s=min(mb_per_s, LEVEL_4_2_MB_PER_S)))

    def without_hardware(self) -> BoardLimits:
        """The same board after its encoder failed."""
        return replace(self, hardware=None)


def board_limits(profile: Mapping[str, Any], cards: Collection[str] | None = None) -> BoardLimits:
    """The tables `encoder`, `heat`, `camera` and `sending` of a board's profile (hardware/boards/*.toml).

    `cards` are the V4L2 cards that the kernel offers: its encoder is used when it is there, whatever the profile says,
    and only then; None trusts the profile. Raises SettingsError for a wrong table.
    """
    problems: list[str] = []
    tables = profile.get("encoder", {})
    hardware = _limits(tables, "hardware", "v4l2m2m", problems)
    software = _limits(tables, "software", "libx264", problems) if tables else SOFTWARE
    heat = profile.get("heat", {})
    temperatures = {key: _number(heat, "heat", key, problems) for key in ("warm_c", "wifi_c") if key in heat}
    sizes = {}
    for path in BOARD_NUMBERS:
        table, key = path.split(".")
        if table in profile:
            sizes[path] = int(_number(profile[table], table, key, problems))
    if problems:
        raise SettingsError(problems)
    if cards is not None:
        offered = any(HARDWARE_CARD in card for card in cards)
        hardware = (hardware or HARDWARE) if offered else None
    return BoardLimits(
        hardware, software, HeatLimits(**temperatures), sizes.get("camera.buffers", SAFE_BUFFERS),
        sizes.get("sending.max_kbps", BoardLimits().sending_kbps), tables.get("main_cbr_hangs") is True,
    )  # fmt: skip


def _limits(tables: Mapping[str, Any], kind: str, name: str, problems: list[str]) -> EncoderLimits | None:
    table = tables.get(kind)
    if table is None:
        return None
    before = len(problems)
    numbers = {key: int(_number(table, f"encoder.{kind}", key, problems)) for key in LIMITS}
    return None if len(problems) > before else EncoderLimits(name, **numbers)


def _number(table: Mapping[str, Any], path: str, key: str, problems: list[str]) -> float:
    value = table.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    problems.append(f"{path}.{key} of the board's profile is {value!r}: write a number above 0")
    return 0.0
