"""Files that survive a power cut: written aside, synced, renamed. The standard library alone."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def put(path: Path, content: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Replaces a file as a whole: readers see the old content or the new. One writer at a time.

    Root leaves it to `owner` (user and group), or to whom the directory belongs. Raises OSError, and leaves nothing
    aside then.
    """
    # Always the same name: what a power cut leaves there is written over by the next try.
    aside = path.with_name(f".{path.name}.new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            if os.geteuid() == 0:
                folder = path.parent.stat()
                os.fchown(handle, *(owner or (folder.st_uid, folder.st_gid)))
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.replace(aside, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None without one, or when there is none in it (a card that lost its power)."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync_folder(folder: Path) -> None:
    """What was created, renamed or deleted in it is on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
