"""Memory goes back to the kernel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from edge_node.host import memory

HOLES = """
import gc
from edge_node.host import memory
memory.keep_little()
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
blocks = [bytearray(100_000) for _ in range(400)]
kept = blocks[-1]
full = rss()
del blocks
memory.give_back()
assert full - rss() > 20_000_000, (full, rss())
"""


def test_holes_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_pool_of_threads_unless_somebody_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    memory.keep_little()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


async def test_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "FIRST_S", 0.0)
    monkeypatch.setattr(memory, "EVERY_S", 0.0)
    times: list[int] = []
    monkeypatch.setattr(memory, "give_back", lambda: times.append(1))
    work = asyncio.create_task(memory.give_back_for_ever())
    while len(times) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait([work])
