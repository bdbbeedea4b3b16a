"""The bench of bad networks runs, in a small version; nothing is asserted of what is seen."""

from __future__ import annotations

import pytest

from tests.bench.network import lab
from tests.bench.network.__main__ import run
from tests.bench.network.sizes import QUICK
from tests.support.turn import ABSENT, missing_turnserver


@pytest.mark.chromium
async def test_a_small_run_in_chromium() -> None:
    report = await run(QUICK, "narrow", quick=True)
    assert report.value("20 to 1 Mbit/s, handed through: pictures") > 0
    frozen = next(row for row in report.rows if row.name == "20 to 1 Mbit/s, encoded: frozen")
    assert frozen.note.startswith("of 2 s") and frozen.holds is None


async def test_without_chromium_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "CHROMIUM", None)
    report = await run(QUICK, "loss", quick=True)
    assert report.reasons == [f"loss: {lab.NO_CHROMIUM}"]


async def test_a_small_run_through_a_relay() -> None:
    report = await run(QUICK, "relay", quick=True)
    if missing_turnserver() is None:
        assert report.value("relayed over tcp / aiortc's sender") > 0
    else:
        assert report.reasons == [f"relay: {ABSENT}"]
