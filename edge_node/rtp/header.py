"""RTP headers with the extensions that were negotiated, from a template (RFC 3550, RFC 8285)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

FIXED_BYTES = 12
MARKER = 0x80
_ONE_BYTE, _TWO_BYTE = 0xBEDE, 0x1000


@dataclass(frozen=True, slots=True)
class ExtensionIds:
    """The numbers agreed on; None: not agreed on."""

    abs_send_time: int | None = None
    mid: int | None = None
    audio_level: int | None = None


def abs_send_time(wall: float) -> bytes:
    """The 24-bit send time of a packet that leaves now (seconds since 1970): 6.18 fixed point, the low bits of NTP's.

    The NTP epoch lies a multiple of 64 s before 1970, so nothing need be added.
    """
    return (int(wall * 262_144) & 0xFFFFFF).to_bytes(3, "big")


def ntp(wall: float) -> int:
    """64 bits of NTP time (RFC 3550 section 4)."""
    return int((wall + 2_208_988_800) * (1 << 32))


class Template:
    """Headers of one stream; all of the same length for one `has_level`.

    `first_byte` is the header's; `block(send_time, level)` gives the extension behind the fixed part.
    """

    def __init__(self, ids: ExtensionIds, mid: str | None, *, has_level: bool = False) -> None:
        name = b"" if mid is None or ids.mid is None else mid.encode()
        numbers = (ids.abs_send_time, ids.mid if name else None, ids.audio_level if has_level else None)
        wide = any(number is not None and number > 14 for number in numbers) or len(name) > 16
        timed = self._element(numbers[0], bytes(3), wide)
        named = self._element(numbers[1], name, wide)
        level = self._element(numbers[2], bytes(1), wide)
        body = timed + named + level
        padding = bytes(-len(body) % 4)
        self.first_byte = 0x90 if body else 0x80
        self.length = FIXED_BYTES + (4 + len(body) + len(padding) if body else 0)
        profile = struct.pack("!HH", _TWO_BYTE if wide else _ONE_BYTE, (len(body) + len(padding)) // 4)
        self._before = profile + timed[: len(timed) - 3] if body else b""
        self._between = named + level[: len(level) - 1]
        self._after = padding
        self._timed, self._leveled = bool(timed), bool(level)
        self.packer = struct.Struct(f"!BBHII{self.length - FIXED_BYTES}s")

    @staticmethod
    def _element(number: int | None, value: bytes, wide: bool) -> bytes:
        if number is None:
            return b""
        return bytes((number, len(value))) + value if wide else bytes((number << 4 | len(value) - 1,)) + value

    def block(self, send_time: bytes, level_dbov: int | None = None) -> bytes:
        """The extension of a packet that leaves at this abs_send_time(); a level of None is said to be silence."""
        level = b""
        if self._leveled:
            level = bytes((127 if level_dbov is None else min(127, max(0, -level_dbov)),))
        return self._before + (send_time if self._timed else b"") + self._between + level + self._after
