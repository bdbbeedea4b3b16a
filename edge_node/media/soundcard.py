"""One stream of a sound card, kept at arm's length in a process of its own (see sound_worker)."""

from __future__ import annotations

import json
import logging
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Literal

from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import sound_worker
from edge_node.media.sound_worker import BYTES_PER_FRAME, HEADER
from edge_node.ports import SAMPLE_RATE

log = logging.getLogger(__name__)

Direction = Literal["input", "output", "duplex"]
WORKER = (sys.executable, "-m", "edge_node.media.sound_worker")
LATENCY_S = 0.02
"""Asked of PortAudio explicitly: two blocks, to which it adds one; a card that loses sound then gets more."""
OPEN_S = 15.0
"""A slow board that is busy starting needs more than 5 s to start Python and to probe all ALSA devices."""
STALL_S = 1.5
"""A device that is silent this long is lost; it should speak every 10 ms."""
REAP_S = 0.5
MAX_LINE = 4096
MAX_DEVICE_MS = 2000.0
"""No device has buffers for longer: what it says beyond that is not believed."""
KEYS: dict[Direction, str] = {
    "input": "audio.microphone",
    "output": "audio.speaker",
    "duplex": "audio.microphone and audio.speaker",
}
NOUNS: dict[Direction, str] = {"input": "microphone", "output": "speaker", "duplex": "sound card"}


@dataclass(frozen=True, slots=True)
class Opened:
    """What the device agreed to: frames per second, and the delays of its own buffers on the way in and out."""

    rate: int
    input_ms: float = 0.0
    output_ms: float = 0.0

    @property
    def block_frames(self) -> int:
        return self.rate // sound_worker.BLOCKS_PER_S


@dataclass(frozen=True, slots=True)
class Record:
    """What one callback of the device did: `count` blocks are played by now, modulo 65536."""

    count: int
    xrun: bool
    late: bool
    """Silence was played, as no block had come in time."""
    captured: bytes


class SoundDevice:
    """Blocking use from one thread; kill() from any other ends whatever that thread waits for."""

    def __init__(
        self,
        direction: Direction,
        *names: str,
        worker: Sequence[str] = WORKER,
        latency_s: float = LATENCY_S,
    ) -> None:
        """Raises DeviceLost when there is no process to be had."""
        self._direction = direction
        self._names = names
        try:
            self._start([*worker, direction, str(SAMPLE_RATE), str(latency_s), *names])
        except OSError as err:
            raise self._lost(f"its process cannot be started: {err.strerror}") from err
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        self._size = 0

    def _start(self, command: Sequence[str]) -> None:
        theirs, ours = os.pipe()
        self._stdin = os.fdopen(ours, "wb", buffering=0)
        with ExitStack() as undo:
            undo.callback(self._stdin.close)
            try:
                # Opened anew, not duplicated: whether reads wait is a matter of the process there, not of this one.
                self._waiting = os.open(f"/proc/self/fd/{theirs}", os.O_RDONLY | os.O_NONBLOCK)
                undo.callback(os.close, self._waiting)
                self._process = subprocess.Popen(
                    command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
                )
            finally:
                os.close(theirs)
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def open(self) -> Opened:
        """Waits for the device. Raises DeviceMissing or DeviceLost."""
        told = self._told(OPEN_S)
        if "missing" in told:
            direction: Direction = told["direction"]
            name = self._names[0 if direction == "input" else -1]
            raise DeviceMissing(
                f'no {NOUNS[direction]} "{name}", {told["missing"]}: '
                f'plug it in, or set {KEYS[direction]} to one of these or to "none"'
            )
        if "failed" in told:
            raise self._lost(told["failed"])
        opened = Opened(int(told["rate"]), _believed_ms(told["input_ms"]), _believed_ms(told["output_ms"]))
        if self._direction != "output":
            self._size = opened.block_frames * BYTES_PER_FRAME
        log.info("%s %s is open: %d Hz, %s", NOUNS[self._direction], self._shown, opened.rate, _delays(opened))
        return opened

    def read(self) -> Record:
        """Waits for what the next callback did. Raises DeviceLost."""
        deadline = time.monotonic() + STALL_S
        flags, count = HEADER.unpack(self._exactly(HEADER.size, deadline))
        if flags & sound_worker.FAILED:
            raise self._lost(self._told(STALL_S)["failed"])
        captured = self._exactly(self._size, deadline) if self._size else b""
        return Record(count, bool(flags & sound_worker.XRUN), bool(flags & sound_worker.LATE), captured)

    def write(self, block: bytes) -> None:
        """Hands over a block to play. Raises DeviceLost."""
        try:
            self._stdin.write(block)  # never waits: the pipe holds many more blocks than may be under way
        except OSError as err:
            raise self._lost(f"its process ended ({self._ended()})") from err

    def withdraw(self, size: int) -> list[bytes]:
        """Takes back the blocks of `size` bytes that the card's process has not fetched yet; never waits.

        Both read the same pipe: each gets whole blocks, as they are written and read in one piece (pipe(7)).
        """
        taken: list[bytes] = []
        with suppress(BlockingIOError):
            while block := os.read(self._waiting, size):
                taken.append(block)
        return taken

    def kill(self) -> None:
        """Ends the process at once, whatever PortAudio is stuck in; from any thread."""
        self._process.kill()

    def close(self) -> None:
        """Releases everything."""
        self.kill()
        self._stdin.close()
        self._stdout.close()
        os.close(self._waiting)
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:  # in the kernel's hands (a driver that hangs): subprocess reaps it later
            log.warning("the process of %s %s does not end", NOUNS[self._direction], self._shown)

    @property
    def _shown(self) -> str:
        return " + ".join(f'"{name}"' for name in self._names)

    def _told(self, limit_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < MAX_LINE:
            line += self._exactly(1, deadline)
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError as err:
            raise self._lost("its process spoke nonsense") from err
        return told

    def _exactly(self, size: int, deadline: float) -> bytes:
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        data = b""
        while len(data) < size:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000.0):
                raise self._lost("it stopped answering")
            piece = os.read(self._stdout.fileno(), size - len(data))
            if not piece:
                raise self._lost(f"its process ended ({self._ended()})")
            data += piece
        return data

    def _ended(self) -> str:
        try:
            return f"status {self._process.wait(REAP_S)}"
        except subprocess.TimeoutExpired:
            return "still ending"

    def _lost(self, why: str) -> DeviceLost:
        return DeviceLost(
            f"{NOUNS[self._direction]} {self._shown} is lost ({why}): check the device and the sound service; "
            f"it is opened again as soon as it answers"
        )


def _believed_ms(told: float) -> float:
    return min(max(told, 0.0), MAX_DEVICE_MS) if math.isfinite(told) else 0.0


def _delays(opened: Opened) -> str:
    return f"{opened.input_ms:.0f} ms in, {opened.output_ms:.0f} ms out"
