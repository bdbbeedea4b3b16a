"""Memory that the C library keeps although nobody uses it any more."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable

M_ARENA_MAX = -8  # mallopt(3)
ARENAS = 2
PR_SET_THP_DISABLE = 41  # prctl(2)
FIRST_S = 5.0
EVERY_S = 300.0
"""A start, a measured encoder, a viewer that left: each leaves 10 to 30 MB of holes, which no later moment closes. How
long a start takes depends on the board: so it is tried after FIRST_S, then after twice as long each time."""


def keep_little() -> None:
    """Before any thread is started, any library loaded: fewer heaps, no pool of threads for arithmetic on arrays.

    No huge pages either: where the kernel hands them out unasked (Debian's does), it fills the holes again that were
    given back, 5 MB within half a minute.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(M_ARENA_MAX, ARENAS)
    if (prctl := _glibc("prctl")) is not None:
        prctl(PR_SET_THP_DISABLE, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0)))


def give_back() -> None:
    """Returns unused pages to the kernel; takes a few milliseconds. Nothing where the C library cannot."""
    if (trim := _glibc("malloc_trim")) is not None:
        trim(0)


async def give_back_for_ever() -> None:
    """Often after the start, then now and then, until cancelled."""
    await asyncio.sleep(FIRST_S)
    gc.collect()
    wait_s = FIRST_S
    while True:
        give_back()
        wait_s = min(2 * wait_s, EVERY_S)
        await asyncio.sleep(wait_s)


def _glibc(name: str) -> Callable[..., int] | None:
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)  # other C libraries lack them
    return found
