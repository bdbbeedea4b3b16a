"""Clips on disk: complete ones only, the oldest deleted first."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_node.errors import UsageError

PART = ".part"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9._-]{1,80}\.mp4")


@dataclass(frozen=True, slots=True)
class Clip:
    """One file; `at` in unix seconds."""

    name: str
    bytes: int
    at: float

    def told(self) -> Mapping[str, object]:
        """As JSON."""
        return {"name": self.name, "bytes": self.bytes, "at": round(self.at, 1)}


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
        """The oldest first."""
        found = []
        for path in self.directory.glob("*.mp4") if self.directory.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                if _NAME.fullmatch(path.name):
                    found.append(Clip(path.name, about.st_size, about.st_mtime))
        return sorted(found, key=lambda clip: (clip.name[:16], clip.at, clip.name))

    def add(self, data: bytes, reason: str, at: float) -> Clip:
        """Writes a clip, whole or not at all, after making room for it. Raises UsageError when it is too large."""
        if len(data) > self._max_bytes:
            raise UsageError(f"a clip of {len(data) // 1_000_000} MB is larger than clip.max_mb: raise that")
        with self._lock:
            self._make_room(self._max_bytes - len(data))
            name = self._free_name(reason, at)
            half = self.directory / f"{name}{PART}"
            try:
                with half.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                half.rename(self.directory / name)
            except BaseException:
                with contextlib.suppress(OSError):
                    half.unlink(missing_ok=True)
                raise
            self._sync()
            return Clip(name, len(data), (self.directory / name).stat().st_mtime)

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

    def _free_name(self, reason: str, at: float) -> str:
        stem = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}-{reason}"
        names = (f"{stem}.mp4", *(f"{stem}.{number}.mp4" for number in range(2, 1000)))
        return next(name for name in names if not (self.directory / name).exists())

    def _sync(self) -> None:
        """The names themselves survive a power cut."""
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
