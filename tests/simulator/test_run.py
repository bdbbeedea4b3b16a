"""`edge-node simulate` as scripts use it."""

from __future__ import annotations

import asyncio

from tests.support.process import Child, edge_node, run_once


async def test_json_lines_begin_with_ready_and_tell_what_happens() -> None:
    async with Child.edge_node(
        "simulate", "--port", "0", "--json", "--press-after", "0.5", "--duration", "60"
    ) as child:
        ready = await child.event(lambda e: True)
        assert ready["event"] == "ready"
        assert set(ready) >= {"console", "hub", "key", "channel", "telemetry_channel", "node"}
        await child.event(lambda e: e["event"] == "press" and e["button"] == "call")
        ring = await child.event(lambda e: e["event"] == "ring")
        await child.event(lambda e: e["event"] == "call" and e["state"] == "ringing" and e["call"] == ring["call"])
        await child.event(lambda e: e["event"] == "led" and e["name"] == "status" and e["on"])
        assert await child.stop() == 0


async def test_people_get_the_address_as_the_first_line_and_it_ends_by_itself() -> None:
    status, out, _ = await run_once(*edge_node("simulate", "--port", "0", "--duration", "1"))
    assert status == 0
    assert out.startswith("console: http://127.0.0.1:")


async def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    command = " ".join(edge_node("simulate", "--port", "0", "--json", "--press-after", "0.2", "--duration", "60"))
    async with asyncio.timeout(40):
        status, out, err = await run_once("bash", "-c", f"{command} | head -n 1", timeout_s=40)
    assert (status, err) == (0, "")
    assert out.startswith('{"event": "ready"')


async def test_wrong_settings_end_with_78_and_a_sentence() -> None:
    status, _, err = await run_once(*edge_node("simulate", "--port", "0", "--config", "/nonexistent.toml"))
    assert status == 78
    assert "/nonexistent.toml" in err
    assert "Traceback" not in err
