"""The bench of publishing runs, in a small version; nothing is asserted of speed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.media import janus
from tests.bench.media.__main__ import run
from tests.bench.media.awake import cores_awake
from tests.bench.media.bench import QUICK
from tests.bench.media.contenders import Measured, Results
from tests.bench.runner import Report

SMALL = replace(QUICK, window_s=0.3)


async def test_a_small_run_hands_pictures_through_beside_the_others() -> None:
    report = await run(SMALL, "handthrough", quick=True)
    contenders = ["ours, handed through", "aiortc's sender", *(["Janus"] if janus.missing() is None else [])]
    for name in contenders:
        assert report.value(f"{name}, 2 viewers") > 0
    assert bool(report.reasons) == (janus.missing() is not None)


async def test_a_small_run_joins() -> None:
    report = await run(SMALL, "join", quick=True)
    assert report.value("first picture after DTLS, handed through") > 0
    assert report.value("first picture after DTLS, encoded") > 0


async def test_without_janus_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert janus.missing() == janus.ABSENT


def test_what_keeps_cores_awake_stands_back_and_ends() -> None:
    with cores_awake() as pids:
        assert len(pids) == len(os.sched_getaffinity(0))
        assert {os.sched_getscheduler(pid) for pid in pids} == {os.SCHED_IDLE}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_numbers_of_one_contender_and_number_of_viewers_stay_together() -> None:
    results = Results()
    for cpu_ms in (1.0, 2.0):
        results.add("x", 1, Measured(cpu_ms, 1, 30, 1, 0))
    results.add("x", 2, Measured(3.0, 1, 30, 1, 0))
    assert [window.cpu_ms for window in results.windows["x", 1]] == [1.0, 2.0]


def test_a_limit_is_judged_and_shown() -> None:
    report = Report("x")
    report.judge("cheap", 0.5, "x", at_most=0.65)
    report.judge("slow", 20, "fps", at_least=29)
    assert [row["holds"] for row in report.as_json["rows"]] == [True, False]
    assert "<= 0.65  yes" in report.as_table and ">= 29    NO" in report.as_table
    hasty = Report("x", quick=True)
    hasty.judge("slow", 20, "fps", at_least=29)
    assert "holds" not in hasty.as_json["rows"][0]
