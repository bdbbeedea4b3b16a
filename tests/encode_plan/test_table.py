"""The committed table is what the code says."""

from __future__ import annotations

from tests.encode_plan.table import BOARDS, ROOT, TARGET, markdown


def test_it_is_up_to_date() -> None:
    assert TARGET.read_text() == markdown(), "run: python -m tests.encode_plan.table"


def test_it_covers_every_board() -> None:
    assert sorted(BOARDS) == sorted(path.stem for path in (ROOT / "hardware" / "boards").glob("*.toml"))
