"""A WAV file that is whole at every second, even if the process is killed."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from edge_node.dsp.pcm import Pcm
from edge_node.ports import SAMPLE_RATE

HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
BYTES_PER_FRAME = 2
PCM_FORMAT = 1
MAX_S = 3600.0


class WavWriter:
    """Mono 16-bit PCM; the header tells the true length at least once per second of sound.

    Overflow rule: after max_s seconds of sound the rest is not written, so that no card fills up; `full` says so.
    """

    def __init__(self, path: Path, rate: int = SAMPLE_RATE, max_s: float = MAX_S) -> None:
        """Raises OSError when the file cannot be made."""
        self._file: BinaryIO = path.open("wb")
        self._rate = rate
        self._max_frames = int(max_s * rate)
        self._frames = 0
        self._frames_told = 0
        self._file.write(self._header())

    @property
    def full(self) -> bool:
        return self._frames >= self._max_frames

    def write(self, pcm: Pcm) -> None:
        """Appends samples. Raises OSError when the disk is full."""
        pcm = pcm[: self._max_frames - self._frames]
        self._file.write(pcm.astype("<i2").tobytes())
        self._frames += len(pcm)
        if self._frames - self._frames_told >= self._rate:
            self._tell()

    def close(self) -> None:
        """Writes what is left. Raises OSError when the disk is full."""
        try:
            self._tell()
            self._file.close()
        except OSError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Closes without writing what is still held: there is no room for it."""
        with suppress(OSError):
            self._file.close()

    def _header(self) -> bytes:
        size = self._frames * BYTES_PER_FRAME
        return HEADER.pack(
            b"RIFF", HEADER.size - 8 + size, b"WAVE", b"fmt ", 16, PCM_FORMAT, 1,
            self._rate, self._rate * BYTES_PER_FRAME, BYTES_PER_FRAME, 8 * BYTES_PER_FRAME, b"data", size,
        )  # fmt: skip

    def _tell(self) -> None:
        # The samples first: a header that promises more than there is would make a broken file.
        self._file.flush()
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()
        self._file.seek(0, 2)
        self._frames_told = self._frames
