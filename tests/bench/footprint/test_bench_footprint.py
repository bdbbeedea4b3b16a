"""The bench of memory and writes runs."""

from __future__ import annotations

import json
import os

import pytest

from tests.bench.footprint.__main__ import main
from tests.bench.footprint.meter import family, mapped, memory


@pytest.mark.pulse
@pytest.mark.slow
def test_a_small_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    found = {row["name"]: row["value"] for row in json.loads(capsys.readouterr().out)["rows"]}
    for state in ("rtsp, no viewer", "rtsp, one viewer"):
        assert found[f"{state}: resident"] >= found[f"{state}: private"] * 0.5 > 10


def test_a_process_with_its_children() -> None:
    assert next(iter(family(os.getpid()))) == os.getpid()
    own = memory(os.getpid())
    assert own.rss_mb >= own.pss_mb >= own.private_mb > 1
    assert own.rss_mb > own.anonymous_mb > 1
    assert any("libc." in file for file in mapped(os.getpid()))
    assert (own + own).pss_mb == pytest.approx(2 * own.pss_mb)
