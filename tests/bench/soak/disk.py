"""A small disk of our own that can be full or read-only."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

MS_RDONLY, MS_REMOUNT = 1, 32  # mount(2)
SIZE = "8m"
INODES = 128
_OPTIONS = f"size={SIZE},nr_inodes={INODES},mode=0700"


def own_mounts(command: Sequence[str]) -> list[str]:
    """The command in a mount namespace of its own, where it may mount; unchanged where the kernel allows no such."""
    wrapper = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") and not subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        return [*wrapper, *command]
    return list(command)


class Disk:
    """A tmpfs on `folder`; `real` is false where it could not be mounted: then its faults do nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read_only = self.full = False
        try:
            self._mount(0)
            self.real = True
        except OSError:
            self.real = False
        self._seen: dict[Path, tuple[int, int]] = {}
        self.written_bytes = 0
        """What look() has seen come or change, each file counted whole."""

    def set_read_only(self, on: bool) -> None:
        if not self.real or on is self.read_only:
            return
        self._mount(MS_REMOUNT | (MS_RDONLY if on else 0))
        self.read_only = on

    def set_full(self, on: bool) -> None:
        """Neither room nor names are left."""
        if not self.real or on is self.full:
            return
        filler = self.folder / ".filler"
        was_read_only = self.read_only
        self.set_read_only(False)
        if on:
            filler.mkdir()
            self._fill(filler)
        else:
            shutil.rmtree(filler)
        self.full = on
        self.set_read_only(was_read_only)

    def _fill(self, folder: Path) -> None:
        try:
            with (folder / "data").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(65536))
        except OSError as err:
            assert err.errno == errno.ENOSPC
        for number in range(INODES):
            try:
                (folder / str(number)).touch()
            except OSError:
                return

    def look(self) -> None:
        """Counts what was written since the last look."""
        for path in self.folder.rglob("*"):
            if path.is_file() and ".filler" not in path.parts:
                stat = path.stat()
                now = (stat.st_ino, stat.st_mtime_ns)
                if self._seen.get(path) != now:
                    self._seen[path] = now
                    self.written_bytes += stat.st_size
        self._seen = {path: known for path, known in self._seen.items() if path.exists()}

    def close(self) -> None:
        if self.real:
            ctypes.CDLL(None).umount(os.fsencode(self.folder))

    def _mount(self, flags: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        target, options = os.fsencode(self.folder), _OPTIONS.encode()
        if libc.mount(b"edge-node-soak", target, b"tmpfs", ctypes.c_ulong(flags), options):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(self.folder))
