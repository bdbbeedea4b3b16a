"""Cores that do not halt between pictures, as after booting with `idle=poll`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def cores_awake() -> Iterator[list[int]]:
    """One process on each core that runs only while nobody else wants to (sched(7), SCHED_IDLE); their ids.

    A virtual machine's core that halts is given to others: what wakes up on it finds cold caches, and how cold they are
    depends on them.
    """
    with ExitStack() as stack:
        pids = []
        for core in sorted(os.sched_getaffinity(0)):
            spinning = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
            stack.callback(spinning.wait)
            stack.callback(spinning.kill)
            os.sched_setscheduler(spinning.pid, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setaffinity(spinning.pid, {core})
            pids.append(spinning.pid)
        yield pids
