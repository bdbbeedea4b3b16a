"""The bench of the hub runs, and what it measures with is right."""

from __future__ import annotations

import json

import pytest

from tests.bench.hub.__main__ import main
from tests.bench.hub.dialects import DIALECTS, stamp_of, stamped
from tests.bench.hub.servers import mosquitto_path
from tests.bench.hub.wire import TEXT, frame, frames
from tests.bench.runner import Report, cpu_s
from tests.support.process import Child
from tests.support.waiting import eventually


def test_a_small_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    values = {row["name"]: row["value"] for row in found["rows"]}
    assert values["clients"] == values["subscribers"] == 50
    assert 0 < values["hub delay p50"] <= values["hub delay p99"]
    if mosquitto_path() is None:
        assert "mosquitto" in found["not_measured"][0]
    else:
        assert 0 < values["mosquitto delay p50"] <= values["mosquitto delay p99"]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_come_out_whole_however_they_arrive(size: int) -> None:
    payload = b"x" * size
    sent = bytearray(frame(TEXT, payload))
    assert sent[1] & 0x80, "a client masks"
    head = len(sent) - size - 4
    sent[1] &= 0x7F
    del sent[head : head + 4]  # as a server sends it: without the mask
    buffer = bytearray(sent[:-1]) if size else bytearray(sent[:1])
    assert not list(frames(buffer))
    buffer += sent[len(buffer) :] + sent
    assert list(frames(buffer)) == [(TEXT, payload)] * 2 and not buffer


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stamp_survives_each_dialect(name: str) -> None:
    data = stamped(123, 300)
    assert len(data) == 300 and json.loads(data)["t"] == 123
    assert stamp_of(DIALECTS[name].publish("a/b", data)) == 123
    assert stamp_of(b"nothing") is None


def test_a_report_names_what_it_could_not_measure() -> None:
    report = Report("x")
    report.add("speed", 1234.5, "km/h", "downhill")
    report.add("mood", "good")
    report.reasons.append("no rain")
    assert report.value("speed") == 1234.5
    assert "1,234 km/h  downhill" in report.as_table and "not measured: no rain" in report.as_table
    assert report.as_json["not_measured"] == ["no rain"]


async def test_cpu_is_counted() -> None:
    async with Child.module("timeit", "-n", "100000000", "pass") as child:
        await eventually(lambda: cpu_s(child.pid) >= 0.1, timeout_s=20)


def test_more_clients_than_files_are_refused_in_a_sentence() -> None:
    with pytest.raises(SystemExit, match="ulimit -n"):
        main(["--clients", "100000000"])
