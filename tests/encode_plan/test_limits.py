"""Board profiles as encoder limits."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edge_node.encode_plan.limits import SOFTWARE, BoardLimits, board_limits
from edge_node.encode_plan.plan import Plan, Wish, plan
from edge_node.errors import SettingsError

BOARDS = sorted((Path(__file__).parents[2] / "hardware" / "boards").glob("*.toml"))
TABLE = {
    "max_mb_per_s": 100, "max_width_px": 1920, "max_height_px": 1088, "align_px": 16, "min_kbps": 500, "max_kbps": 9000,
}  # fmt: skip


def test_a_profile_without_encoders_has_the_software_one() -> None:
    assert board_limits({"board": {"id": "x"}}) == BoardLimits(None, SOFTWARE)


def test_tables_are_read() -> None:
    limits = board_limits({"encoder": {"hardware": TABLE}})
    assert limits.hardware is not None
    assert (limits.hardware.name, limits.hardware.align_px, limits.software) == ("v4l2m2m", 16, None)


def test_every_wrong_number_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        board_limits({"encoder": {"hardware": {**TABLE, "align_px": 0}, "software": {**TABLE, "min_kbps": True}}})
    assert [text.split()[0] for text in caught.value.problems] == [
        "encoder.hardware.align_px",
        "encoder.software.min_kbps",
    ]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_board_can_show_something(path: Path) -> None:
    limits = board_limits(tomllib.loads(path.read_text()))
    for hardware in (False, True):
        chosen = plan(limits, Wish(1280, 720, 30, 2000, hardware=hardware))
        assert isinstance(chosen, Plan)
        assert chosen.fps >= 15


def test_only_the_camera_reaches_the_hardware_encoder() -> None:
    board = board_limits(tomllib.loads(next(path for path in BOARDS if path.stem == "pi-4").read_text()))
    assert [getattr(plan(board, Wish(1280, 720, 30, 2000, hardware=h)), "encoder", None) for h in (True, False)] == [
        "v4l2m2m",
        "libx264",
    ]
