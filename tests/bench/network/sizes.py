"""How long everything lasts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rounds` of alternation, `seconds` of watching; the clips' size; `minutes` of growing or not."""

    seconds: int = 13
    narrow_s: int = 20
    estimate_s: float = 10.0
    settle: bool = True
    rounds: int = 5
    window_s: float = 4.0
    width_px: int = 1280
    height_px: int = 720
    minutes: float = 10.0


QUICK = Sizes(
    seconds=2, narrow_s=2, estimate_s=0.5, settle=False, rounds=1, window_s=0.5, width_px=320, height_px=240,
    minutes=0.1,
)  # fmt: skip
