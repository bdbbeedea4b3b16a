"""The process that owns one direction of one sound device.

`python -m edge_node.media.sound_worker input mic 48000 0.06`: direction, device, frames per second, latency in seconds.

It is a process of its own because PortAudio hangs for good in Pa_StartStream when the sound daemon dies at that moment,
blocks for good in a read or write when the daemon freezes, and takes the whole process down with some ALSA plugins
(all three seen by experiment): only a process can be ended then. It imports no numpy, so that it stays small.

First a line of JSON on stdout: `{"device", "rate", "latency_ms"}`, or `{"missing"}` / `{"failed"}` with a reason.
Then, 100 times a second, a status byte. `input`: it is followed by a block of 16-bit mono samples. `output`: it asks
for one, which is read from stdin. Status FAILED is followed by a line of JSON with the reason.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

OK = 0
XRUN = 1
FAILED = 2
BYTES_PER_FRAME = 2
BLOCKS_PER_S = 100
PR_SET_PDEATHSIG = 1
INVALID_RATE = -9997  # paInvalidSampleRate, portaudio.h


class Missing(Exception):
    """There is no such device."""


def main(arguments: list[str]) -> int:
    direction, device, rate, latency_s = arguments
    # The parent ends us by SIGKILL; should it be killed itself, nobody else would end us while PortAudio hangs.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        stream = open_stream(direction, device, int(rate), float(latency_s))
    except Missing as err:
        tell({"missing": str(err)})
        return 1
    except Exception as err:
        tell({"failed": reason(err)})
        return 1
    tell({"device": device, "rate": int(stream.samplerate), "latency_ms": stream.latency * 1000.0})
    try:
        (capture if direction == "input" else play)(stream)
    except BrokenPipeError:
        return 0
    except Exception as err:
        os.write(1, bytes([FAILED]))
        tell({"failed": reason(err)})
        return 1
    return 0


def open_stream(direction: str, device: str, rate: int, latency_s: float) -> Any:
    """A started stream of 16-bit mono. Raises Missing, or whatever PortAudio says."""
    try:
        import sounddevice as sd
    except OSError as err:
        raise Missing("for PortAudio is not installed (apt-get install libportaudio2)") from err

    kind = sd.RawInputStream if direction == "input" else sd.RawOutputStream
    chosen = find(sd, direction, device)
    format_ = {"device": chosen, "channels": 1, "dtype": "int16", "latency": latency_s}
    try:
        stream = kind(samplerate=rate, blocksize=rate // BLOCKS_PER_S, **format_)
    except sd.PortAudioError as err:
        if INVALID_RATE not in err.args:
            raise
        own_rate = int(sd.query_devices(chosen, direction)["default_samplerate"])
        stream = kind(samplerate=own_rate, blocksize=own_rate // BLOCKS_PER_S, **format_)
    stream.start()
    return stream


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
    raise Missing(f'"{device}" fits {len(partly)} of: {names}' if partly else f"there is {names}")


def capture(stream: Any) -> None:
    frames = int(stream.samplerate) // BLOCKS_PER_S
    while True:
        data, overflowed = stream.read(frames)
        os.write(1, bytes([XRUN if overflowed else OK]) + bytes(data))


def play(stream: Any) -> None:
    size = int(stream.samplerate) // BLOCKS_PER_S * BYTES_PER_FRAME
    underflowed = False
    while True:
        os.write(1, bytes([XRUN if underflowed else OK]))
        data = sys.stdin.buffer.read(size)
        if len(data) < size:
            return
        underflowed = stream.write(data)


def reason(err: Exception) -> str:
    return str(err) or type(err).__name__


def tell(facts: dict[str, Any]) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    # Nothing is left to tidy up that the system does not, and PortAudio's own tidying at exit may hang.
    os._exit(main(sys.argv[1:]))
