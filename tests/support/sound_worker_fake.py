"""Stands for edge_node.media.sound_worker in tests, and behaves as its first argument says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from edge_node.media.sound_worker import FAILED, HEADER, LATE, XRUN

RATE = 44_100
BLOCK = RATE // 100


def tell(facts: dict[str, object]) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


def tone(start: int) -> bytes:
    angle = 2 * np.pi * 1000 * np.arange(start, start + BLOCK) / RATE
    return (16_000 * np.sin(angle)).astype("<i2").tobytes()


def main(behaviour: str, direction: str) -> None:
    match behaviour:
        case "mute":
            time.sleep(60)
        case "nonsense":
            os.write(1, b"Segmentation fault\n")
        case "missing":
            tell({"missing": 'there is "other"', "direction": "input"})
        case "refuses":
            tell({"failed": "Device unavailable"})
        case "loop" | "loop-44100" | "late" | "xruns":
            loop(behaviour, direction)
        case "refuses-once":
            marker = Path(direction)
            if sys.argv[3] == "duplex" and not marker.exists():
                marker.touch()
                tell({"failed": "Device unavailable"})
            else:
                loop(behaviour, sys.argv[3])
        case "holds":
            holds(Path(direction))
        case "no-microphone" if direction != "output":
            tell({"missing": 'there is "other"', "direction": "input"})
        case "no-microphone":
            time.sleep(60)
        case "apart" if direction == "duplex":
            tell({"failed": "Illegal combination of I/O devices"})
        case _:
            tell({"rate": RATE, "input_ms": 60.0, "output_ms": 60.0})
            deliver(behaviour, direction)


def loop(behaviour: str, direction: str) -> None:
    """A duplex card, at 48 kHz unless the name says otherwise, that hears what it played one block ago.

    `late`: it plays silence in every tenth callback. `xruns`: each of its callbacks lost sound.
    """
    rate = 44_100 if behaviour == "loop-44100" else 48_000
    tell({"rate": rate, "input_ms": -1.0, "output_ms": float("inf")})
    size = rate // 100 * 2
    heard = bytes(size)
    number = played = 0
    while True:
        number += 1
        late = behaviour == "late" and number % 10 == 0
        block = bytes(size) if late or direction == "input" else sys.stdin.buffer.read(size)
        if len(block) < size:
            return
        played += not late
        os.write(
            1,
            HEADER.pack(LATE * late + XRUN * (behaviour == "xruns"), played & 0xFFFF)
            + (b"" if direction == "output" else heard),
        )
        heard = block
        time.sleep(0.001)  # ten times as fast as a card


def holds(go_on: Path) -> None:
    """A card that plays nothing until a file is there; then it tells how loud each block is that waited for it."""
    tell({"rate": 48_000, "input_ms": 0.0, "output_ms": 0.0})
    while not go_on.exists():
        os.write(1, HEADER.pack(0, 0))
        time.sleep(0.01)
    os.set_blocking(0, False)
    peaks = []
    with suppress(BlockingIOError):
        while block := os.read(0, 960):
            peaks.append(int(np.max(np.frombuffer(block, "<i2"))))
    os.write(1, HEADER.pack(FAILED, 0))
    tell({"failed": f"peaks {peaks}"})


def deliver(behaviour: str, direction: str) -> None:
    played = b""
    for n in range(50):
        status = XRUN if n == 3 else 0
        if direction == "input":
            os.write(1, HEADER.pack(status, 0) + tone(n * BLOCK))
        else:
            played += sys.stdin.buffer.read(2 * BLOCK)
            os.write(1, HEADER.pack(status, n + 1) + (tone(n * BLOCK) if direction == "duplex" else b""))
    match behaviour:
        case "stalls":
            time.sleep(60)
        case "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "fails":
            os.write(1, HEADER.pack(FAILED, 0))
            tell({"failed": "Input/output error"})
        case "plays":  # tells what it was given: the strongest frequency in it
            sound = np.frombuffer(played, "<i2")[RATE // 10 :]
            strongest = int(np.argmax(np.abs(np.fft.rfft(sound))) * RATE / len(sound))
            os.write(1, HEADER.pack(FAILED, 0))
            tell({"failed": f"heard {strongest} Hz, {len(sound)} frames"})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
