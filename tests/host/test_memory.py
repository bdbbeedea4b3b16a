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


HUGE = """
from edge_node.host import memory
memory.keep_little()
with open("/proc/self/status") as status:
    told = [line.split()[1] for line in status if line.startswith("THP_enabled:")]
assert told in ([], ["0"]), told  # kernels without huge pages tell nothing
"""


@pytest.mark.parametrize("program", [HOLES, HUGE])
def test_what_only_a_process_of_its_own_shows(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_pool_of_threads_unless_somebody_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    memory.keep_little()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


async def test_often_after_the_start_then_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    trims = iter(range(9))

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(memory, "give_back", lambda: next(trims))
    with pytest.raises(RuntimeError):  # what a coroutine makes of the StopIteration after nine times
        await memory.give_back_for_ever()
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0, 300.0]
