"""Files that only the hub may read, files that change under it."""

from __future__ import annotations

import stat
from pathlib import Path

from edge_node import durable
from edge_node.errors import SettingsError

Stamp = tuple[tuple[int, int, int] | None, ...]


def stamp(*paths: Path) -> Stamp:
    """Changes whenever one of these files is written or replaced."""
    return tuple(_stat(path) for path in paths)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_exposed(path: Path) -> bool:
    """True when others than the owner may read it."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file at once, readable by its owner only. Root leaves it to whom the directory belongs.

    Raises SettingsError.
    """
    try:
        durable.put(path, content)
    except OSError as err:
        raise SettingsError(f"{path} cannot be written ({err.strerror}): check the directory and its owner") from None


def make_private_dir(path: Path) -> None:
    """Makes a directory for its owner only, unless it is there. Raises SettingsError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise SettingsError(f"{path} cannot be made ({err.strerror}): set state_dir to a place that can") from None
