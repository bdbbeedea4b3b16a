"""Changes to a disk that a power cut may interrupt anywhere."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


class Disk:
    """Every step that reaches the disk is a method of its own, so that tests can let it fail there."""

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def write(self, handle: int, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)
        self.sync_folder(target.parent)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.sync_folder(path.parent)

    def sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(handle)
        finally:
            os.close(handle)

    def put(self, path: Path, content: bytes, mode: int | None = 0o600, owner: tuple[int, int] | None = None) -> None:
        """Replaces a file as a whole: written aside, synced, renamed. Raises OSError, and leaves nothing aside then.

        Without a mode it has what the file system gives: FAT knows none.
        """
        aside = path.with_name(f".{path.name}.new")
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                self.write(handle, content)
                if mode is not None and os.fstat(handle).st_mode & 0o777 != mode:
                    os.fchmod(handle, mode)
                if owner is not None:
                    os.fchown(handle, *owner)
                self.fsync(handle)
            finally:
                os.close(handle)
            self.rename(aside, path)
        except OSError:
            with contextlib.suppress(OSError):  # a read-only disk refuses that, too
                aside.unlink()
            raise

    def wipe(self, path: Path) -> None:
        """Overwrites with zeros, then deletes. Flash memory keeps copies elsewhere: this is no erasure."""
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.write(handle, bytes(os.fstat(handle).st_size))
            self.fsync(handle)
        finally:
            os.close(handle)
        self.remove(path)

    def free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(folder).free


class UnsyncedDisk(Disk):
    """For what can be written again at any time, and is read back: a fleet's folders."""

    def fsync(self, handle: int) -> None:
        pass
