"""Doors after somebody opened the case."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edge_node.errors import RetryLater
from edge_node.node.tamper import MARKER, Tamper
from tests.support.clock import ManualClock
from tests.support.waiting import eventually

BLOCK_S = 1800.0


class Said:
    """supervisor.Report that remembers."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.ups = 0

    def up(self) -> None:
        self.reason = None
        self.ups += 1

    def down(self, reason: str) -> None:
        self.reason = reason

    def off(self, reason: str) -> None:
        raise AssertionError


async def test_doors_stay_shut_for_a_while_and_longer_when_it_is_opened_again() -> None:
    clock, told = ManualClock(), list[Any]()
    tamper = Tamper(BLOCK_S, clock, None, told.append)
    tamper.guard()
    assert tamper.described() is None
    tamper.changed("case", False)
    assert told == []
    tamper.changed("case", True)
    with pytest.raises(RetryLater, match="doors stay shut for 30 more minutes"):
        tamper.guard()
    clock.advance(BLOCK_S - 60)
    assert tamper.described() == (
        "case is open: doors stay shut for 1 more minute, unless somebody runs: edge-node tamper clear"
    )
    tamper.changed("case", True)
    tamper.changed("case", False)
    tamper.changed("case", True)
    assert tamper.blocked_s == BLOCK_S
    clock.advance(BLOCK_S)
    tamper.guard()
    assert tamper.described() == "case is open: close it"
    tamper.changed("case", False)
    assert tamper.described() is None
    assert [(said["input"], said["state"], said["blocked_s"]) for said in told] == [
        ("case", "open", 1800),
        ("case", "closed", 60),
        ("case", "open", 1800),
        ("case", "closed", 0),
    ]


async def test_somebody_here_ends_it() -> None:
    tamper = Tamper(BLOCK_S, ManualClock(), None)
    tamper.changed("case", True)
    assert tamper.clear() == "doors open again; still open: case"
    tamper.guard()
    tamper.changed("case", False)
    assert tamper.clear() == "doors open again"


async def test_zero_minutes_only_tell() -> None:
    tamper = Tamper(0, ManualClock(), None)
    tamper.changed("case", True)
    tamper.guard()
    assert tamper.described() == "case is open: close it"


async def test_a_restart_ends_nothing(tmp_path: Path) -> None:
    clock, report = ManualClock(), Said()
    tamper = Tamper(BLOCK_S, clock, tmp_path)
    task = asyncio.create_task(tamper.run(report))
    await eventually(lambda: report.ups == 1)
    assert not (tmp_path / MARKER).exists()
    tamper.changed("case", True)
    await eventually(lambda: report.reason is not None and (tmp_path / MARKER).exists())
    task.cancel()
    await asyncio.wait([task])

    clock.advance(600)
    again = Tamper(BLOCK_S, clock, tmp_path)
    assert 1190 <= again.blocked_s <= 1210
    assert str(again.described()).startswith("the case was opened: doors stay shut for 20 more minutes")
    task = asyncio.create_task(again.run(report))
    again.clear()
    await eventually(lambda: not (tmp_path / MARKER).exists() and report.reason is None)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(("text", "expected_s"), [("9e99", BLOCK_S), ("0", 0.0), ("rubbish", BLOCK_S), ("", BLOCK_S)])
async def test_what_may_lie_on_the_disk(tmp_path: Path, text: str, expected_s: float) -> None:
    (tmp_path / MARKER).write_text(text)
    assert Tamper(BLOCK_S, ManualClock(), tmp_path).blocked_s == pytest.approx(expected_s)


async def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    report = Said()
    tamper = Tamper(BLOCK_S, ManualClock(), tmp_path / "absent")
    task = asyncio.create_task(tamper.run(report))
    tamper.changed("case", True)
    await eventually(lambda: "forgotten at a restart" in str(report.reason))
    task.cancel()
    await asyncio.wait([task])
