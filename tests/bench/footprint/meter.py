"""What a process with its children holds in memory, has written to disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """In MB (10^6 bytes): resident; the same with shared pages divided among those who share them; not shared at all;
    of no file, so that only swap space could take it. The rest of what is resident are pages of programs and libraries,
    which the kernel drops when it needs room.

    See proc(5), smaps_rollup.
    """

    rss_mb: float
    pss_mb: float
    private_mb: float
    anonymous_mb: float

    def __add__(self, other: Memory) -> Memory:
        return Memory(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def memory(pid: int) -> Memory:
    sizes = _numbers(PROC / str(pid) / "smaps_rollup")
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(*(kib * 1024 / 1e6 for kib in (sizes["Rss"], sizes["Pss"], private, sizes["Anonymous"])))


def mapped(pid: int) -> set[str]:
    """The files that lie in its memory, such as libraries."""
    lines = (PROC / str(pid) / "maps").read_text().splitlines()
    return {words[5] for words in (line.split(maxsplit=5) for line in lines) if len(words) == 6}


def written_bytes(pid: int) -> int:
    """What it caused to be sent to a disk, page by page; file systems in memory do not count."""
    return _numbers(PROC / str(pid) / "io")["write_bytes"]


def family(pid: int) -> Iterator[int]:
    """The process, then everything below it."""
    yield pid
    for task in (PROC / str(pid) / "task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def _numbers(path: Path) -> Mapping[str, int]:
    words = (line.split() for line in path.read_text().splitlines())
    return {word[0].rstrip(":"): int(word[1]) for word in words if len(word) > 1 and word[1].isdigit()}
