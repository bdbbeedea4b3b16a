"""Background tasks that have names, are never lost and are always awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class TaskGroup:
    """A bag of tasks: each is logged when it fails, and all end with close().

    Unlike asyncio.TaskGroup a failing task does not take its siblings down.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Starts a task; its exception is logged, and kept for whoever awaits it."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (err := task.exception()) is not None:
            log.error("task %s failed: %s", task.get_name(), err, exc_info=err)

    async def close(self, grace_s: float = 1.0) -> None:
        """Cancels what runs and waits at most grace_s for it."""
        current = asyncio.current_task()
        tasks = [t for t in self._tasks if t is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                log.warning("task %s did not end within %g s", task.get_name(), grace_s)


async def cancel_and_wait(task: asyncio.Task[Any] | None, grace_s: float = 1.0) -> None:
    """Cancels one task and waits at most grace_s for it; None and finished tasks are fine."""
    if task is None or task.done() or task is asyncio.current_task():
        return
    task.cancel()
    await asyncio.wait([task], timeout=grace_s)
