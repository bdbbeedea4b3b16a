"""The bench of memory and writes runs."""

from __future__ import annotations

import json
import os

import pytest

from tests.bench.footprint.__main__ import main
from tests.bench.footprint.meter import PROC, by_mapping, family, mapped, memory


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
    owners = by_mapping((PROC / str(os.getpid()) / "smaps").read_text())
    assert owners["[heap]"][1] > 0 < owners["objects"][1]
    assert sum(rss for rss, _ in owners.values()) == pytest.approx(memory(os.getpid()).rss_mb, rel=0.1)
    assert (own + own).pss_mb == pytest.approx(2 * own.pss_mb)


def test_mappings_are_told_by_their_owners() -> None:
    lines = [
        "7f00-7f01 r--p 00000000 08:01 12   /venv/lib/site-packages/av.libs/libavcodec.so", "Rss:  2000 kB",
        "Anonymous:  500 kB", "7f02-7f03 rw-p 00000000 00:00 0 ", "Rss:  1000 kB", "Anonymous:  1000 kB",
        "7f04-7f05 rw-s 00000000 00:05 9    /dev/video0", "Rss:  100 kB", "Anonymous:  0 kB",
        "7f06-7f07 r-xp 00000000 08:01 13   /usr/lib/libc.so.6", "Rss:  3000 kB", "Anonymous:  0 kB",
        "7f08-7f09 r-xp 00000000 08:01 13   /usr/lib/libm.so.6", "Rss:  0 kB", "Anonymous:  0 kB",
    ]  # fmt: skip
    assert list(by_mapping("\n".join(lines)).items()) == [
        ("libc.so.6", (3.07, 0.0)), ("av.libs", (2.05, 0.51)), ("objects", (1.02, 1.02)), ("/dev/video0", (0.1, 0.0)),
    ]  # fmt: skip
