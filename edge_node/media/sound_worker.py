"""The process that owns one stream of a sound card.

`python -m edge_node.media.sound_worker duplex 48000 0.06 mic speaker`: direction (input, output, duplex), frames per
second, latency in seconds, the device or, for duplex, both.

It is a process of its own because PortAudio hangs for good in Pa_StartStream when the sound daemon dies at that moment,
blocks for good in a read or write when the daemon freezes, and takes the whole process down with some ALSA plugins
(all three seen by experiment): only a process can be ended then. It imports no numpy, so that it stays small.

First a line of JSON on stdout: `{"rate", "input_ms", "output_ms"}`, or `{"missing", "direction"}` / `{"failed"}` with a
reason. Then, 100 times a second, a record: HEADER (flags, count of the blocks played so far) and, with an input, a
block of 16-bit mono samples. Blocks to play are read from stdin. In a duplex stream a record's block was captured in
the very callback that played block number `count`, or silence when LATE is set. FAILED is followed by a line of JSON.

The callback makes two non-blocking system calls and little else: both pipes are bounded by the kernel, a block that
finds its pipe full is lost and reported as XRUN by the next record, a missing one is played as silence, LATE. A block
that a driver cuts short is filled up with silence, an XRUN, too.

A process that was held up for 0.4 s hears 0.4 s late from then on, without any xrun (seen with ALSA's pulse plugin):
when recorded sound goes on waiting, the stream is started anew, which takes milliseconds, and reported as XRUN, too.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Sequence
from typing import Any

from edge_node.dsp.backlog import Backlog

HEADER = struct.Struct("<BxH")
XRUN = 1
FAILED = 2
LATE = 4
BYTES_PER_FRAME = 2
BLOCKS_PER_S = 100
MAX_RATE = 192_000
"""A record must fit into PIPE_BUF, 4096 bytes on Linux: writes up to that size are whole or not at all (pipe(7))."""
PR_SET_PDEATHSIG = 1
BACKLOG_S = 0.01
"""What may wait beyond the latency asked for: with 60 ms, 36 to 46 ms wait in a healthy stream (ALSA's plugin)."""
INVALID_RATE = -9997  # paInvalidSampleRate, portaudio.h


class Missing(Exception):
    """There is no such device."""

    def __init__(self, direction: str, text: str) -> None:
        super().__init__(text)
        self.direction = direction


def main(arguments: Sequence[str]) -> int:
    direction, rate, latency_s, *devices = arguments
    # The parent ends us by SIGKILL; should it be killed itself, nobody else would end us while PortAudio hangs.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    callback = Callback(direction, float(latency_s))
    try:
        stream = open_stream(direction, devices, int(rate), float(latency_s), callback)
    except Missing as err:
        tell({"missing": str(err), "direction": err.direction})
        return 1
    except Exception as err:
        tell({"failed": str(err) or type(err).__name__})
        return 1
    latency = stream.latency if direction == "duplex" else (stream.latency, stream.latency)
    tell({"rate": int(stream.samplerate), "input_ms": latency[0] * 1000.0, "output_ms": latency[1] * 1000.0})
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    gc.freeze()
    gc.disable()
    try:
        run(stream, callback)
        why = "the device stopped"
    except Exception as err:
        why = str(err) or type(err).__name__
    os.set_blocking(1, True)
    os.write(1, HEADER.pack(FAILED, 0))
    tell({"failed": why})
    return 1


def run(stream: Any, callback: Callback) -> None:
    """Until the device stops, or the parent is gone."""
    stream.start()
    callback.ended.wait()
    while callback.lags:
        stream.abort()
        callback.lags = False
        callback.ended.clear()
        stream.start()
        callback.ended.wait()


def open_stream(direction: str, devices: Sequence[str], rate: int, latency_s: float, callback: Callback) -> Any:
    """A stream of 16-bit mono, not started yet. Raises Missing, or whatever PortAudio says."""
    try:
        import sounddevice as sd
    except OSError as err:
        raise Missing(direction, "for PortAudio is not installed (apt-get install libportaudio2)") from err

    directions = ("input", "output") if direction == "duplex" else (direction,)
    chosen = [find(sd, each, device) for each, device in zip(directions, devices, strict=True)]
    kind = {"input": sd.RawInputStream, "output": sd.RawOutputStream, "duplex": sd.RawStream}[direction]

    def made(at: int) -> Any:
        return kind(
            samplerate=at,
            blocksize=at // BLOCKS_PER_S,
            device=chosen if direction == "duplex" else chosen[0],
            channels=1,
            dtype="int16",
            latency=latency_s,
            callback=callback.bound(at // BLOCKS_PER_S * BYTES_PER_FRAME, sd.CallbackStop),
            finished_callback=callback.ended.set,
        )

    try:
        return made(rate)
    except sd.PortAudioError as err:
        pairs = zip(chosen, directions, strict=True)
        own = {int(sd.query_devices(at, each)["default_samplerate"]) for at, each in pairs}
        if INVALID_RATE not in err.args or len(own) > 1 or max(own) > MAX_RATE:
            raise
        return made(own.pop())


def find(sd: Any, direction: str, device: str) -> int:
    """The index of a device, by its whole name or a part of it. Raises Missing, naming those that exist."""
    able = [(d["index"], d["name"]) for d in sd.query_devices() if d[f"max_{direction}_channels"] > 0]
    exact = [index for index, name in able if name == device]
    if exact:
        return int(exact[0])
    if device == "default" and able:
        return int(sd.query_devices(None, direction)["index"])
    partly = [index for index, name in able if device.lower() in name.lower()]
    if len(partly) == 1:
        return int(partly[0])
    names = ", ".join(f'"{name}"' for _, name in able) or "no such device at all"
    raise Missing(direction, f'"{device}" fits {len(partly)} of: {names}' if partly else f"there is {names}")


class Callback:
    """What PortAudio calls for each block."""

    def __init__(self, direction: str, latency_s: float) -> None:
        self._direction = direction
        self._backlog = Backlog(latency_s + BACKLOG_S)
        self._played = 0
        self._lost = False
        self.lags = False
        """What was recorded waits: the stream has to be started anew."""
        self.ended = threading.Event()
        """The stream has stopped, or lags."""

    def bound(self, size: int, stop: type[Exception]) -> Any:
        """The function for blocks of `size` bytes; it raises `stop` when the parent is gone."""
        self._silence = bytes(size)
        self._stop = stop
        return {"duplex": self._duplex, "output": self._output, "input": self._input}[self._direction]

    def _duplex(self, captured: Any, out: Any, _frames: int, time: Any, status: Any) -> None:
        self._watch(time)
        self._send(self._play(out), status, captured)

    def _output(self, out: Any, _frames: int, _time: Any, status: Any) -> None:
        self._send(self._play(out), status, b"")

    def _input(self, captured: Any, _frames: int, time: Any, status: Any) -> None:
        self._watch(time)
        self._send(0, status, captured)

    def _watch(self, time: Any) -> None:
        if self._backlog.feed(time.currentTime - time.inputBufferAdcTime):
            self.lags = self._lost = True
            self.ended.set()

    def _play(self, out: Any) -> int:
        size = len(self._silence)
        try:
            block = os.read(0, size)
        except BlockingIOError:
            out[:] = bytes(len(out))
            return LATE
        if len(block) < size:
            out[:] = bytes(len(out))
            raise self._stop
        out[:] = block[: len(out)].ljust(len(out), b"\0")
        self._played = (self._played + 1) & 0xFFFF
        return 0

    def _send(self, flags: int, status: Any, captured: Any) -> None:
        sound, size = bytes(captured), 0 if self._direction == "output" else len(self._silence)
        if self._lost or len(sound) != size or status.input_overflow or status.output_underflow:
            flags |= XRUN
        try:
            os.write(1, HEADER.pack(flags, self._played) + sound[:size].ljust(size, b"\0"))
            self._lost = False
        except BlockingIOError:
            self._lost = True
        except BrokenPipeError:
            raise self._stop from None


def tell(facts: dict[str, Any]) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    # Nothing is left to tidy up that the system does not, and PortAudio's own tidying at exit may hang.
    os._exit(main(sys.argv[1:]))
