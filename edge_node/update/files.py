"""What the slots keep on the disk, step by durable step."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_node.durable import put, sync_folder


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replaces the file as a whole: readers see the old value or the new one."""
    put(path, json.dumps(value).encode(), mode=0o644)


def remove(path: Path) -> None:
    """Deletes a file, if it is there, for good."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Makes `link` a symbolic link to `target` in one step (rename(2)). One writer at a time."""
    aside = link.with_name(f".{link.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    os.replace(aside, link)
    sync_folder(link.parent)


# A holder that was killed between fork(2) and exec(2) leaves a child that keeps the lock for a moment.
DYING_S = 2.0


def held(path: Path) -> bool | None:
    """Whether somebody has this lock now; None when we may not know."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextlib.contextmanager
def locked(path: Path, *, wait_s: float | None = None) -> Iterator[bool]:
    """Holds the lock file; False when somebody else has held it for `wait_s`. The kernel frees it if we die."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:  # flock(2): who may read a file may lock it; 0.1.0 made it for everybody
            os.fchmod(handle, 0o600)
        yield _lock(handle, wait_s)
    finally:
        os.close(handle)


def _lock(handle: int, wait_s: float | None) -> bool:
    if wait_s is None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
