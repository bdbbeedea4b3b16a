"""What a process with its children holds in memory, has written to disks."""

from __future__ import annotations

import re
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


HEAD = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)")
PACKAGE = re.compile(r"/(?:site|dist)-packages/([^/]+)")


def by_mapping(smaps: str) -> dict[str, tuple[float, float]]:
    """Of what /proc/PID/smaps says: owner → (resident, of it anonymous) in MB, the largest first.

    Owners are packages of Python, other libraries, a device's buffers, `[heap]`, `[stack]`; `objects` is what has no
    name: Python's small objects, C's heaps of threads, large blocks, threads' stacks.
    """
    found: dict[str, list[float]] = {}
    sizes = [0.0, 0.0]
    for line in smaps.splitlines():
        if head := HEAD.match(line):
            sizes = found.setdefault(_owner(head[1]), [0.0, 0.0])
        elif line.startswith(("Rss:", "Anonymous:")):
            name, kib, _ = line.split()
            sizes[name == "Anonymous:"] += int(kib) * 1024 / 1e6
    ordered = sorted(found.items(), key=lambda item: -item[1][0])
    return {owner: (round(rss, 2), round(anonymous, 2)) for owner, (rss, anonymous) in ordered if rss}


def _owner(path: str) -> str:
    if package := PACKAGE.search(path):
        return package[1]
    return path.rpartition("/")[2] if path and not path.startswith("/dev/") else path or "objects"


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
