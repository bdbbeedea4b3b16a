"""Clips on disk: complete ones only, the oldest deleted first."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from edge_node.errors import UsageError

PART = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9._-]{1,80}\.mp4")


@dataclass(frozen=True, slots=True)
class Clip:
    """One file; `at` is when it was begun, in whole unix seconds of the clock of that time."""

    name: str
    bytes: int
    at: float

    def told(self) -> Mapping[str, object]:
        """As JSON."""
        return {"name": self.name, "bytes": self.bytes, "at": self.at}


def _pressed_at(name: str) -> float | None:
    """As the name tells; None for a file that is none of ours."""
    try:
        return float(timegm(time.strptime(name[:15], "%Y%m%dT%H%M%S"))) if _NAME.fullmatch(name) else None
    except ValueError:
        return None


class ClipShelf:
    """A directory of at most `max_bytes` of clips. Blocking; from any thread. Everything may raise OSError."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def open(self) -> None:
        """Makes the directory, removes what a power cut left half-written."""
        with self._lock:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self.directory.glob(f"*{PART}"):
                left.unlink(missing_ok=True)

    def clips(self) -> list[Clip]:
        """The oldest first, in the order in which they were kept: by the files' times, which only grow."""
        found: list[tuple[int, Clip]] = []
        for path in self.directory.glob("*.mp4") if self.directory.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                if (pressed := _pressed_at(path.name)) is not None:
                    found.append((about.st_mtime_ns, Clip(path.name, about.st_size, pressed)))
        return [clip for _, clip in sorted(found, key=lambda one: (one[0], one[1].name))]

    def add(self, data: bytes, reason: str, at: float) -> Clip:
        """Writes a clip, whole or not at all, after making room for it, on a full disk, too.

        Raises UsageError when it is too large.
        """
        if len(data) > self._max_bytes:
            raise UsageError(f"a clip of {len(data) // 1_000_000} MB is larger than clip.max_mb: raise that")
        with self._lock:
            self._make_room(self._max_bytes - len(data))
            name = self._free_name(reason, at)
            freed = 0
            while True:
                try:
                    self._write(name, data, at)
                    break
                except OSError as err:
                    oldest = next(iter(self.clips()), None)
                    if err.errno not in _FULL or oldest is None or freed >= len(data):
                        raise  # others fill the disk: all clips would go, for nothing
                    (self.directory / oldest.name).unlink(missing_ok=True)
                    freed += oldest.bytes
            self._sync()
            return Clip(name, len(data), float(int(at)))

    def _write(self, name: str, data: bytes, at: float) -> None:
        half = self.directory / f"{name}{PART}"
        try:
            with half.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # A clock that was set back must not make the newest clip the first to go.
            kept_ns = max(round(at * 1e9), self._newest_ns() + 1)
            os.utime(half, ns=(kept_ns, kept_ns))
            half.rename(self.directory / name)
        except BaseException:
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)
            raise

    def delete(self, name: str) -> None:
        """Raises UsageError when there is no such clip."""
        if not _NAME.fullmatch(name) or not (self.directory / name).is_file():
            raise UsageError(f"there is no clip {name!r}: see `edge-node clip list`")
        with self._lock:
            (self.directory / name).unlink(missing_ok=True)
            self._sync()

    def _make_room(self, keep_bytes: int) -> None:
        clips = self.clips()
        total = sum(clip.bytes for clip in clips)
        for clip in clips:
            if total <= keep_bytes:
                return
            (self.directory / clip.name).unlink(missing_ok=True)
            total -= clip.bytes

    def _newest_ns(self) -> int:
        clips = self.clips()
        return (self.directory / clips[-1].name).stat().st_mtime_ns if clips else 0

    def _free_name(self, reason: str, at: float) -> str:
        stem = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}-{reason}"
        names = (f"{stem}{f'.{number}' if number else ''}.mp4" for number in chain((0,), count(2)))
        return next(name for name in names if not (self.directory / name).exists())

    def _sync(self) -> None:
        """The names themselves survive a power cut."""
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
