"""What a board's encoders can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_node.errors import SettingsError

LEVEL_4_MB_PER_S = 245_760
"""Macroblocks per second of H.264 level 4.0 (ITU-T H.264 table A-1): 1080p30, or 720p68."""


@dataclass(frozen=True, slots=True)
class EncoderLimits:
    """What one encoder can do in real time; `name` is `libx264` or `v4l2m2m`."""

    name: str
    max_mb_per_s: int
    max_width_px: int
    max_height_px: int
    align_px: int
    min_kbps: int
    max_kbps: int


SOFTWARE = EncoderLimits("libx264", LEVEL_4_MB_PER_S, 1920, 1088, 2, 50, 20_000)
"""A machine that nobody measured: a slow one drops pictures and never queues them."""


@dataclass(frozen=True, slots=True)
class BoardLimits:
    """The encoders of a board; None for one that it does not have."""

    hardware: EncoderLimits | None = None
    software: EncoderLimits | None = SOFTWARE


def board_limits(profile: Mapping[str, Any]) -> BoardLimits:
    """The `[encoder.hardware]` and `[encoder.software]` tables of a board's profile (hardware/boards/*.toml).

    A profile without `[encoder]` has the software encoder only. Raises SettingsError for a wrong table.
    """
    tables = profile.get("encoder")
    if tables is None:
        return BoardLimits()
    problems: list[str] = []
    hardware = _limits(tables, "hardware", "v4l2m2m", problems)
    software = _limits(tables, "software", "libx264", problems)
    if problems:
        raise SettingsError(problems)
    return BoardLimits(hardware, software)


def _limits(tables: Mapping[str, Any], kind: str, name: str, problems: list[str]) -> EncoderLimits | None:
    table = tables.get(kind)
    if table is None:
        return None
    numbers: dict[str, int] = {}
    for key in ("max_mb_per_s", "max_width_px", "max_height_px", "align_px", "min_kbps", "max_kbps"):
        value = table.get(key)
        if type(value) is int and value > 0:
            numbers[key] = value
        else:
            problems.append(f"encoder.{kind}.{key} of the board's profile is {value!r}: write a whole number above 0")
    return None if problems else EncoderLimits(name, **numbers)
