"""Board profiles as encoder limits."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge_node.encode_plan.limits import (
    HARDWARE,
    HARDWARE_CARD,
    LIMITS,
    SOFTWARE,
    BoardLimits,
    EncoderLimits,
    HeatLimits,
    board_limits,
)
from edge_node.encode_plan.plan import Plan, Source, Wish, plan
from edge_node.encode_plan.rules import LEVEL_4_2_MB_PER_S
from edge_node.errors import SettingsError

BOARDS = sorted((Path(__file__).parents[2] / "hardware" / "boards").glob("*.toml"))
TABLE = dict.fromkeys(LIMITS, 100)


def profile_of(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_a_profile_without_encoders_has_the_software_one() -> None:
    assert board_limits({"board": {"id": "x"}}) == BoardLimits(None, SOFTWARE)


def test_tables_are_read() -> None:
    limits = board_limits(
        {
            "encoder": {"hardware": TABLE, "main_cbr_hangs": True},
            "heat": {"warm_c": 70, "wifi_c": 65.5},
            "camera": {"buffers": 3},
            "sending": {"max_kbps": 9000},
        }
    )
    assert limits == BoardLimits(
        EncoderLimits("v4l2m2m", *[100] * 8), None, HeatLimits(70.0, 65.5), 3, 9000, main_cbr_hangs=True
    )


def test_every_wrong_number_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        board_limits(
            {
                "encoder": {
                    "hardware": {**TABLE, "align_width_px": 0},
                    "software": {**TABLE, "min_kbps": True, "parallel": "two"},
                },
                "heat": {"warm_c": -1},
                "camera": {},
            }
        )
    assert [text.split()[0] for text in caught.value.problems] == [
        "encoder.hardware.align_width_px",
        "encoder.software.min_kbps",
        "encoder.software.parallel",
        "heat.warm_c",
        "camera.buffers",
    ]


def test_the_kernel_not_the_model_says_which_encoder_there_is() -> None:
    with_table: dict[str, Any] = {"encoder": {"hardware": TABLE, "software": TABLE}}
    assert board_limits(with_table).hardware is not None
    assert board_limits(with_table, ["pispbe-input"]).hardware is None
    assert board_limits(with_table, ["unicam-image", HARDWARE_CARD]).hardware == EncoderLimits("v4l2m2m", *[100] * 8)
    assert board_limits({}, [HARDWARE_CARD]).hardware == HARDWARE


def test_a_measured_speed_takes_the_place_of_the_estimate() -> None:
    board = BoardLimits()
    assert board.measured(None) == board
    faster = board.measured(300_000).software
    assert faster is not None and faster.max_mb_per_s == 300_000
    bounded = board.measured(10**9).software
    assert bounded is not None and bounded.max_mb_per_s == LEVEL_4_2_MB_PER_S
    assert BoardLimits(HARDWARE, None).measured(5).software is None


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_board_can_show_something(path: Path) -> None:
    limits = board_limits(profile_of(path))
    for source in Source:
        chosen = plan(limits, Wish(640, 480, 30, 2000, source))
        assert isinstance(chosen, Plan)
        assert chosen.fps >= 15


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_limit_says_where_it_comes_from(path: Path) -> None:
    profile = profile_of(path)
    tables: dict[str, Any] = {name: profile[name] for name in ("camera", "heat", "sending") if name in profile}
    tables |= {kind: profile["encoder"][kind] for kind in ("hardware", "software") if kind in profile["encoder"]}
    for name, table in tables.items():
        assert set(table["source"]) == set(table) - {"source"}, name
        assert all(len(text) > 3 for text in table["source"].values())


def test_only_boards_that_have_it_use_the_hardware_encoder() -> None:
    encoders = {}
    for path in BOARDS:
        chosen = plan(board_limits(profile_of(path)), Wish(1280, 720, 30, 2000, Source.CAMERA))
        assert isinstance(chosen, Plan)
        encoders[path.stem] = chosen.encoder
    assert encoders == {
        "generic": "libx264", "pi-3": "v4l2m2m", "pi-4": "v4l2m2m", "pi-5": "libx264", "pi-zero-2-w": "v4l2m2m",
    }  # fmt: skip
