"""`python -m tests.bench.audio.meter`: chirps into one device, listens to another, prints the delay of each chirp."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

RATE = 48_000
BLOCK = 480
PERIOD = RATE
"""One chirp per second: delays up to 1 s are told apart."""
CHIRP_S = 0.06
LATENCY_S = 0.06
LIKE = 12.0
"""A chirp was heard when it correlates so many times better than the middle of all places."""

HELD_UP_S = 0.04
"""Blocks that waited so much longer than they should, on either side, say more about the meter than about the path."""

Sound = npt.NDArray[np.float64]


def chirp() -> Sound:
    """300 to 3300 Hz with soft ends: what every speech codec passes."""
    t = np.arange(int(CHIRP_S * RATE)) / RATE
    sweep = np.sin(2 * np.pi * (300 * t + 3000 / (2 * CHIRP_S) * t * t))
    return 0.5 * sweep * np.hanning(len(t))


def delays_ms(recorded: Sound, periods: int) -> list[float]:
    """How late each chirp of a train was heard; those that were not heard are left out."""
    wanted = chirp()
    size = 1 << (PERIOD + len(wanted)).bit_length()
    spectrum = np.conj(np.fft.rfft(wanted, size))
    found = []
    for number in range(periods):
        part = recorded[number * PERIOD : (number + 1) * PERIOD + len(wanted)]
        if len(part) < PERIOD:
            break
        likeness = np.abs(np.fft.irfft(np.fft.rfft(part, size) * spectrum, size))[: PERIOD - len(wanted)]
        best = int(np.argmax(likeness))
        if likeness[best] > LIKE * float(np.median(likeness)) and likeness[best] > 1.0:
            found.append(best * 1000 / RATE)
    return found


def measure(output: str, source: str, seconds: float) -> dict[str, Any]:
    """One duplex stream, so that what was played and what was heard have one clock."""
    import sounddevice as sd

    periods = int(seconds * RATE) // PERIOD
    train = np.zeros(periods * PERIOD + RATE)
    for number in range(periods):
        train[number * PERIOD : number * PERIOD + len(chirp())] = chirp()
    whole = len(train) // BLOCK * BLOCK
    heard = np.zeros(whole)
    waits = np.zeros((2, whole // BLOCK))
    """Of each block, in seconds: until the meter got what was heard, until what it gave is played."""
    state = {"at": 0, "xruns": 0}

    def callback(indata: Any, outdata: Any, frames: int, times: Any, status: Any) -> None:
        at = state["at"]
        state["xruns"] += bool(status)
        if at + frames > whole:
            outdata[:] = 0
            raise sd.CallbackStop
        outdata[:, 0] = train[at : at + frames]
        heard[at : at + frames] = indata[:, 0]
        waits[0, at // BLOCK] = times.currentTime - times.inputBufferAdcTime
        waits[1, at // BLOCK] = times.outputBufferDacTime - times.currentTime - LATENCY_S
        state["at"] = at + frames

    stream = sd.Stream(
        device=(source, output), samplerate=RATE, blocksize=BLOCK, channels=1, latency=LATENCY_S, callback=callback
    )
    with stream:
        while stream.active:
            sd.sleep(50)
    held_up = np.repeat((np.abs(waits) > HELD_UP_S).any(axis=0), BLOCK)
    heard[: len(held_up)][held_up] = 0.0
    return {"event": "delays", "ms": delays_ms(heard, periods), "chirps": periods, "xruns": state["xruns"]}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default="feedmic")
    parser.add_argument("--input", required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    print(json.dumps(measure(args.output, args.input, args.seconds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
