"""Files that only the hub may read, files that change under it."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from edge_node import durable
from edge_node.errors import SettingsError
from edge_node.settings.problems import sentences
from edge_node.settings.section import Section

M = TypeVar("M", bound=Section)
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


def read_model(path: Path, model: type[M], max_bytes: int, or_else: str) -> M:
    """What this hub keeps in a JSON file; the model's defaults without a file.

    Raises SettingsError; `or_else` says what is to be done after the file was removed.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
        if len(raw) > max_bytes:
            raise SettingsError(f"{path} is too large: restore it, or remove it and {or_else}")
        return model.model_validate(json.loads(raw))
    except FileNotFoundError:
        return model()
    except OSError as err:
        raise SettingsError(f"{path} cannot be read ({err.strerror}): check its owner and permissions") from None
    except ValidationError as err:
        raise SettingsError(sentences(err, model, str(path))) from None
    except (ValueError, RecursionError):
        raise SettingsError(f"{path} is no JSON: restore it, or remove it and {or_else}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time changes what is in it; made when it is not there. Raises SettingsError."""
    make_private_dir(folder)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def make_private_dir(path: Path) -> None:
    """Makes a directory for its owner only, unless it is there. Raises SettingsError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise SettingsError(f"{path} cannot be made ({err.strerror}): set state_dir to a place that can") from None
