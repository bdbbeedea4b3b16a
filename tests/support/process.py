"""Programs under test as child processes that talk in JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
Event = dict[str, Any]


class Child:
    """One child process; every JSON line it prints is kept in `events`, everything else in `text`."""

    def __init__(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Condition()
        self.events: list[Event] = []
        self.text: list[str] = []

    @classmethod
    def edge_node(cls, *words: str, env: Mapping[str, str] | None = None) -> Child:
        return cls(sys.executable, "-m", "edge_node", *words, env=env)

    @classmethod
    def module(cls, name: str, *words: str, env: Mapping[str, str] | None = None) -> Child:
        return cls(sys.executable, "-m", name, *words, env=env)

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "the child was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> Child:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            env=self._env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=1 << 20,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read(self._process.stdout)),
            asyncio.create_task(self._read(self._process.stderr)),
        ]
        return self

    async def __aenter__(self) -> Child:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(f"--- {' '.join(self._command[-4:])}\n" + "\n".join(self.text[-60:]))
        await self.stop()

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := (await stream.readline()).decode(errors="replace").rstrip("\n"):
            async with self._news:
                try:
                    value = json.loads(line)
                except ValueError:
                    value = None
                if isinstance(value, dict):
                    self.events.append(value)
                else:
                    self.text.append(line)
                self._news.notify_all()

    async def event(self, wanted: Callable[[Event], bool], *, timeout_s: float = 30.0, since: int = 0) -> Event:
        """The first event from index `since` on that is wanted; fails with what was printed after timeout_s."""
        position = since
        try:
            async with asyncio.timeout(timeout_s), self._news:
                while True:
                    while position < len(self.events):
                        if wanted(self.events[position]):
                            return self.events[position]
                        position += 1
                    await self._news.wait()
        except TimeoutError:
            tail = [*(json.dumps(e) for e in self.events[-20:]), *self.text[-30:]]
            raise AssertionError(
                f"nothing wanted came from {self._command} in {timeout_s} s:\n" + "\n".join(tail)
            ) from None

    async def line(self, part: str, *, timeout_s: float = 30.0) -> str:
        """The first text line that holds `part`."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                while True:
                    for line in self.text:
                        if part in line:
                            return line
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no line with {part!r} in {timeout_s} s:\n" + "\n".join(self.text[-30:])) from None

    def say(self, line: str) -> None:
        """A line on the child's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def end(self, timeout_s: float = 30.0) -> int:
        """Waits for the child to end by itself; its exit status."""
        async with asyncio.timeout(timeout_s):
            status = await self.process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)
        return status

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):  # it has just ended and was not waited for yet
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """As a crash would: no goodbye."""
        self.signal(signal.SIGKILL)

    async def stop(self, timeout_s: float = 30.0) -> int | None:
        """SIGTERM, then SIGKILL after timeout_s; the exit status."""
        if self._process is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()
        return self._process.returncode


async def run_once(
    *command: str, env: Mapping[str, str] | None = None, timeout_s: float = 60.0
) -> tuple[int, str, str]:
    """Runs a command to its end: status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def edge_node(*words: str) -> Sequence[str]:
    """The command line of `edge-node words…` in this interpreter."""
    return (sys.executable, "-m", "edge_node", *words)


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
