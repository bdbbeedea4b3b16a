"""One direction of one sound device, kept at arm's length in a process of its own (see sound_worker)."""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import sound_worker
from edge_node.ports import SAMPLE_RATE

log = logging.getLogger(__name__)

Direction = Literal["input", "output"]
WORKER = (sys.executable, "-m", "edge_node.media.sound_worker")
LATENCY_S = 0.06
"""Asked of PortAudio explicitly: at 20-30 ms ALSA's pulse plugin has xruns and spins (facts/audio.md, section 1)."""
OPEN_S = 5.0
"""A slow board needs seconds to start Python and to probe all ALSA devices."""
STALL_S = 1.5
"""A device that is silent this long is lost; it should speak every 10 ms."""
REAP_S = 0.5
MAX_LINE = 4096
KEYS: dict[Direction, str] = {"input": "audio.microphone", "output": "audio.speaker"}
NOUNS: dict[Direction, str] = {"input": "microphone", "output": "speaker"}


@dataclass(frozen=True, slots=True)
class Opened:
    """What the device agreed to: frames per second, and the delay of its own buffers."""

    rate: int
    latency_ms: float

    @property
    def block_frames(self) -> int:
        return self.rate // sound_worker.BLOCKS_PER_S


class SoundDevice:
    """Blocking use from one thread; kill() from any other ends whatever that thread waits for."""

    def __init__(self, direction: Direction, name: str, worker: Sequence[str] = WORKER) -> None:
        self._direction = direction
        self._name = name
        self._process = subprocess.Popen(
            [*worker, direction, name, str(SAMPLE_RATE), str(LATENCY_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def open(self) -> Opened:
        """Waits for the device. Raises DeviceMissing or DeviceLost."""
        try:
            told = json.loads(self._line(OPEN_S))
        except ValueError as err:
            raise self._lost("its process spoke nonsense") from err
        if "missing" in told:
            raise DeviceMissing(
                f'no {NOUNS[self._direction]} "{self._name}", {told["missing"]}: '
                f'plug it in, or set {KEYS[self._direction]} to one of these or to "none"'
            )
        if "failed" in told:
            raise self._lost(told["failed"])
        opened = Opened(int(told["rate"]), float(told["latency_ms"]))
        log.info("%s %s is open: %d Hz, %.0f ms", NOUNS[self._direction], self._name, opened.rate, opened.latency_ms)
        return opened

    def read(self, size: int) -> tuple[bytes, bool]:
        """The next `size` bytes recorded, and whether some were missed before them. Raises DeviceLost."""
        deadline = time.monotonic() + STALL_S
        xrun = self._status(deadline)
        return self._exactly(size, deadline), xrun

    def wanted(self) -> bool:
        """Waits until the device wants a block; whether it had to play silence before. Raises DeviceLost."""
        return self._status(time.monotonic() + STALL_S)

    def write(self, block: bytes) -> None:
        """Answers wanted(). Raises DeviceLost."""
        try:
            self._stdin.write(block)  # never waits: the pipe holds many blocks and the device asks for one at a time
        except OSError as err:
            raise self._lost(f"its process ended ({self._ended()})") from err

    def kill(self) -> None:
        """Ends the process at once, whatever PortAudio is stuck in; from any thread."""
        self._process.kill()

    def close(self) -> None:
        """Releases everything."""
        self.kill()
        self._stdin.close()
        self._stdout.close()
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:  # in the kernel's hands (a driver that hangs): subprocess reaps it later
            log.warning("the process of %s %s does not end", NOUNS[self._direction], self._name)

    def _status(self, deadline: float) -> bool:
        status = self._exactly(1, deadline)[0]
        if status == sound_worker.FAILED:
            raise self._lost(json.loads(self._line(STALL_S))["failed"])
        return status == sound_worker.XRUN

    def _line(self, limit_s: float) -> bytes:
        deadline = time.monotonic() + limit_s
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < MAX_LINE:
            line += self._exactly(1, deadline)
        return bytes(line)

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
            f'{NOUNS[self._direction]} "{self._name}" is lost ({why}): check the device and the sound service; '
            f"it is opened again as soon as it answers"
        )
