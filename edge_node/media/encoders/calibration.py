"""How fast this machine encodes in software: measured once, remembered."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av

from edge_node import durable

log = logging.getLogger(__name__)

FILE = "encoder-speed.json"
SHARE = 0.6
"""Of the measured speed: a board that encodes all the time gets warmer than one that does for a second."""
PROGRAM = (sys.executable, "-P", "-m", "edge_node.media.encoders.speed")
DEADLINE_S = 120.0
"""An emulated machine takes a quarter of that to load the libraries."""


def measured_apart() -> float:
    """speed.measure() in a process of its own: the 4 MB that x264 and its pictures touch end with it.

    Raises OSError, ValueError, subprocess.SubprocessError.
    """
    done = subprocess.run(
        PROGRAM, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=DEADLINE_S, check=True, text=True
    )
    return float(done.stdout)


class Calibration:
    """The software encoder's speed in macroblocks a second at preset ultrafast, with SHARE of it kept in hand.

    Kept in `state_dir`; measured anew when the processor, PyAV (whose wheels hold x264) or FFmpeg is another one.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        machine: Callable[[], str] | None = None,
        measure: Callable[[], float] = measured_apart,
    ) -> None:
        self._path = state_dir / FILE
        self._machine = machine or machine_name
        self._measure = measure

    def __call__(self) -> int | None:
        """What is remembered, else what is measured; blocks for some seconds. None when it cannot be measured."""
        try:
            machine = f"{self._machine()}, {_encoder_name()}"
            remembered = self._remembered(machine)
            if remembered is not None:
                return remembered
            measured = int(self._measure() * SHARE)
        except (OSError, ValueError, MemoryError, ZeroDivisionError, subprocess.SubprocessError) as err:
            log.warning("the software encoder's speed could not be measured, the board's profile counts: %s", err)
            return None
        log.info("the software encoder does %d macroblocks a second here", measured)
        self._remember(machine, measured)
        return measured

    def _remembered(self, machine: str) -> int | None:
        try:
            kept = json.loads(self._path.read_text())
            speed, measured_on = kept["mb_per_s"], kept["machine"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return speed if measured_on == machine and type(speed) is int and speed > 0 else None

    def _remember(self, machine: str, mb_per_s: int) -> None:
        try:
            durable.put(self._path, json.dumps({"machine": machine, "mb_per_s": mb_per_s}).encode() + b"\n")
        except OSError as err:
            log.warning("the software encoder's speed is not remembered: %s", err)


def machine_name(root: Path = Path("/")) -> str:
    """The processor as the kernel names it, with the number of its cores."""
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "CPU part", "Model")
    found = {line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() in wanted}
    return f"{platform.machine()}, {os.cpu_count()} cores, {', '.join(sorted(found)) or 'unknown'}"


def _encoder_name() -> str:
    library = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return f"PyAV {av.__version__}, libavcodec {library}"
