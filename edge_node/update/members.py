"""The plain files of a tar, read without believing what the tar says about itself."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

MAX_NAME_BYTES = 1024
_BLOCK = tarfile.BLOCKSIZE
_READ = 1 << 20


class Damaged(Exception):
    """Not a tar of ours; its text says why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the tar: `size` bytes from `offset` on, all of them there."""

    name: str
    offset: int
    size: int


class Members:
    """The members of an open tar of `total` bytes, one after the other.

    Only what `bundle.pack` writes is taken: plain files, their long names in GNU's way. tarfile itself takes more, from
    anybody, as the signature comes after the first header: it makes 8 TB of a sparse file's few bytes, and asks for as
    much memory as a header says that a name has.
    """

    def __init__(self, file: IO[bytes], total: int) -> None:
        self._file = file
        self._total = total
        self._at = 0

    def next(self) -> Member | None:
        """None at the end. Raises Damaged, OSError."""
        info = self._header()
        name = None
        if info is not None and info.type == tarfile.GNUTYPE_LONGNAME:
            if not 0 < info.size <= MAX_NAME_BYTES:
                raise Damaged("a file's name in it is too long")
            name = self._long_name(info.size)
            info = self._header()
            if info is None:
                raise Damaged("it is cut off")
        if info is None:
            return None
        name = info.name if name is None else name
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise Damaged(f"{name[:80]!r} in it is no plain file")
        member = Member(name, self._at, info.size)
        self._skip(info.size)
        return member

    def blocks(self, member: Member) -> Iterator[bytes]:
        """What is in a file of the tar. Raises Damaged, OSError."""
        self._file.seek(member.offset)
        left = member.size
        while left:
            block = self._file.read(min(left, _READ))
            if not block:
                raise Damaged("it is cut off")
            left -= len(block)
            yield block

    def _header(self) -> tarfile.TarInfo | None:
        self._file.seek(self._at)
        data = self._file.read(_BLOCK)
        try:
            info = tarfile.TarInfo.frombuf(data, "utf-8", "surrogateescape")
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            return None
        except (tarfile.HeaderError, ValueError) as err:
            raise Damaged(str(err)) from None
        self._at += _BLOCK
        return info

    def _long_name(self, size: int) -> str:
        self._file.seek(self._at)
        data = self._file.read(size)
        self._skip(size)
        return data.rstrip(b"\0").decode(errors="surrogateescape")

    def _skip(self, size: int) -> None:
        if not 0 <= size <= self._total - self._at:
            raise Damaged("it is cut off")
        self._at += -(-size // _BLOCK) * _BLOCK
