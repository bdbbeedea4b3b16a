"""What can be read from an Opus packet without decoding it (RFC 6716 section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

# Frames of 48 kHz samples by the packet's configuration number: SILK, hybrid, CELT (table 2).
_FRAMES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
MAX_FRAMES = 5760


@dataclass(frozen=True, slots=True)
class OpusPacket:
    """One coded packet that lasts `frames` samples at 48 kHz."""

    data: bytes
    frames: int


def parse_opus(data: bytes) -> OpusPacket | None:
    """The packet with its length; None for what is no Opus packet."""
    if not data:
        return None
    code = data[0] & 0x03
    if code == 3:
        if len(data) < 2:
            return None
        count = data[1] & 0x3F
    else:
        count = 1 if code == 0 else 2
    frames = count * _FRAMES[data[0] >> 3]
    return OpusPacket(data, frames) if 0 < frames <= MAX_FRAMES else None
