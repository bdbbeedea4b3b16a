"""What a power cut may leave of a folder: a disk that keeps only what was synced, and any part of the rest.

Code runs on the real file system while its steps below the folder are recorded, each with the folder as it was after
it. The model of the disk is POSIX's, not that of one file system:

- What fsync(2) of a file or sync(2) has passed is there. Other content is what was synced before (nothing, for a new
  file), the new content, half of it, or as many zeros.
- Names made, renamed and removed are there once their folder was synced. Others may be there or not, each for itself
  and in any order: only steps with the same name keep theirs, a rename is whole, a file needs its folder.

Not modelled: a disk that lies about a sync or damages what it had, and the writes of other processes, which are seen
as steps of the process that waits for them.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

FEW = 7
"""So many unsynced steps are combined in every way; of more, prefixes, each alone, each missing, and samples."""
SAMPLES = 24
STEPS = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "symlink", "link")

Node = tuple[Any, ...]
"""`("folder",)`, `("link", target)`, `("file", identity, mode)`."""
Tree = dict[str, Node]
Step = dict[str, Node | None]
"""Names that change at once; None: removed."""
State = dict[str, tuple[Any, ...]]
"""As a Tree, with content in place of identity."""


class Disk:
    """One folder; `states` after `recording()` are all that a cut at any moment of it may leave, each once."""

    def __init__(self, folder: Path, seed: int = 20261121) -> None:
        self.folder = folder
        self.states: dict[str, State] = {}
        self._lots = random.Random(seed)
        self._numbers = itertools.count()
        self._identities: dict[int, int] = {}
        self._written: dict[int, list[bytes]] = {}
        self._seen: Tree = {}
        self._durable: Tree = {}
        self._unsynced: list[Step] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """What was there before is on the disk. Also what fails in between is recorded."""
        self._look()
        self._sync()
        with contextmanager(self._patched)():
            yield
        self._step()

    def restore(self, state: State) -> None:
        """The machine has power again: the folder is as in this state."""
        self._look()
        now = {n: (k, self._written[r[0]][-1], r[1]) if k == "file" else (k, *r) for n, (k, *r) in self._seen.items()}
        for name in sorted(now, reverse=True):
            if state.get(name) != now[name] and not (name in state and now[name] == ("folder",)):
                path = self.folder / name
                path.rmdir() if now[name] == ("folder",) else path.unlink()
        for name, (kind, *rest) in sorted(state.items()):
            if state[name] == now.get(name):
                continue
            path = self.folder / name
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(rest[0])
            else:
                path.write_bytes(rest[0])
                path.chmod(rest[1])

    # Recording

    def _patched(self) -> Iterator[None]:
        def after(real: Callable[..., Any], then: Callable[..., None]) -> Callable[..., Any]:
            def call(*args: Any, **more: Any) -> Any:
                done = real(*args, **more)
                then(*args)
                return done

            return call

        calls: dict[str, Any] = {name: after(getattr(os, name), lambda *_: self._step()) for name in STEPS}
        calls["open"] = after(os.open, lambda _, flags, *__: self._step() if flags & os.O_CREAT else None)
        # Waiting for the real disk would add nothing but time.
        calls |= {"fsync": self._fsync, "sync": self._sync_all}
        with mock.patch.multiple(os, **calls):
            yield

    def _step(self) -> None:
        self._look()
        self._add_states()

    def _fsync(self, handle: int) -> None:
        self._step()
        path = Path(f"/proc/self/fd/{handle}").resolve()
        if path.is_relative_to(self.folder):
            name = str(path.relative_to(self.folder))
            if path.is_dir():
                mine = [step for step in self._unsynced if all(str(Path(n).parent) == name for n in step)]
                self._unsynced = [step for step in self._unsynced if step not in mine]
                for step in mine:
                    _apply(self._durable, step)
            else:
                identity = self._seen[name][1]
                self._written[identity] = self._written[identity][-1:]
        self._add_states()

    def _sync_all(self) -> None:
        self._look()
        self._sync()
        self._add_states()

    def _sync(self) -> None:
        self._unsynced = []
        self._durable = dict(self._seen)
        self._written = {identity: contents[-1:] for identity, contents in self._written.items()}

    def _look(self) -> None:
        """What has changed since the last time becomes steps."""
        before, now = self._seen, Tree()
        inodes: dict[int, int] = {}
        for path in sorted(self.folder.rglob("*")):
            name, about = str(path.relative_to(self.folder)), path.lstat()
            if path.is_symlink():
                now[name] = ("link", os.readlink(path))
            elif path.is_dir():
                now[name] = ("folder",)
            else:
                known = self._identities.get(about.st_ino)
                identity = next(self._numbers) if known is None else known
                inodes[about.st_ino] = identity
                contents = self._written.setdefault(identity, [b""])
                if (content := path.read_bytes()) != contents[-1]:
                    contents.append(content)
                now[name] = ("file", identity, about.st_mode & 0o777)
        self._identities, self._seen = inodes, now
        gone = [name for name in sorted(before, reverse=True) if name not in now]
        for name, node in now.items():
            if before.get(name) == node:
                continue
            # The same file under a name that has gone: it was renamed.
            moved = [old for old in gone if before[old] == node and node[0] != "folder"]
            self._unsynced.append({name: node, **dict.fromkeys(moved)})
            gone = [old for old in gone if old not in moved]
        self._unsynced += [{name: None} for name in gone]

    # What a cut now may leave

    def _add_states(self) -> None:
        for kept in self._subsets():
            tree = dict(self._durable)
            for number in kept:
                _apply(tree, self._unsynced[number])
            tree = {name: node for name, node in tree.items() if all(str(up) in tree for up in _parents(name))}
            for state in self._contents(tree):
                self.states.setdefault(_fingerprint(state), state)

    def _subsets(self) -> Iterator[tuple[int, ...]]:
        count = len(self._unsynced)
        everything = range(count)
        if count <= FEW:
            wanted = [set(some) for n in range(count + 1) for some in itertools.combinations(everything, n)]
        else:
            wanted = [set(range(n)) for n in range(count + 1)]
            wanted += [{one} for one in everything] + [set(everything) - {one} for one in everything]
            wanted += [{n for n in everything if self._lots.random() < 0.5} for _ in range(SAMPLES)]
        for some in wanted:
            yield tuple(n for n in sorted(some) if all(m in some for m in everything[:n] if self._needs(n, m)))

    def _needs(self, later: int, earlier: int) -> bool:
        names = {up for name in self._unsynced[later] for up in (name, *map(str, _parents(name)))}
        return not names.isdisjoint(self._unsynced[earlier])

    def _contents(self, tree: Tree) -> Iterator[State]:
        choices = []
        for name, node in tree.items():
            if node[0] != "file":
                choices.append([(name, node)])
                continue
            written = self._written[node[1]]
            contents = [*written] if len(written) == 1 else [*written, written[-1][: len(written[-1]) // 2]]
            contents += [b"\0" * len(written[-1])] * (len(written) > 1)
            choices.append([(name, ("file", content, node[2])) for content in contents])
        if sum(len(some) > 1 for some in choices) <= 2:
            yield from (dict(state) for state in itertools.product(*choices))
        else:
            for number in range(max(map(len, choices))):
                yield dict(some[min(number, len(some) - 1)] for some in choices)


def _apply(tree: Tree, step: Step) -> None:
    for name, node in step.items():
        if node is None:
            for below in [other for other in tree if other == name or other.startswith(f"{name}/")]:
                del tree[below]
        else:
            tree[name] = node


def _parents(name: str) -> list[Path]:
    return [up for up in Path(name).parents if up != Path(".")]


def _fingerprint(state: State) -> str:
    """Equal for states that nothing tells apart: what is in a slot that is not whole is never looked at."""
    unwhole = [f"opt/slots/{slot}/" for slot in "ab" if f"opt/slots/{slot}/slot.json" not in state]
    below = [f"{folder}{part}" for folder in unwhole for part in ("venv", "release")]
    return repr([(name, node) for name, node in sorted(state.items()) if not name.startswith(tuple(below) or "\0")])
