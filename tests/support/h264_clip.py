"""H.264 clips made at run time: a moving picture that carries its own number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COUNTER_BITS = 24


@dataclass(frozen=True, slots=True)
class Clip:
    """Coded pictures in decoding order, each as its NAL units without start codes; the first is a keyframe."""

    units: tuple[tuple[bytes, ...], ...]
    fps: float

    def is_keyframe(self, index: int) -> bool:
        return any(nal[0] & 0x1F == 5 for nal in self.units[index])

    def parameter_sets(self) -> tuple[bytes, bytes]:
        """The first SPS and the first PPS."""
        nals = [nal for unit in self.units for nal in unit]
        return next(n for n in nals if n[0] & 0x1F == 7), next(n for n in nals if n[0] & 0x1F == 8)


def split_nals(data: bytes) -> list[bytes]:
    """The NAL units of an Annex B stream."""
    return [nal for part in data.split(b"\0\0\1") if (nal := part.rstrip(b"\0"))]


def split_units(nals: list[bytes]) -> list[list[bytes]]:
    """NAL units by picture: one begins at a first slice, together with what stands in front of it."""
    units: list[list[bytes]] = []
    head: list[bytes] = []
    for nal in nals:
        if nal[0] & 0x1F not in (1, 5):
            head.append(nal)
        elif nal[1] & 0x80:  # first_mb_in_slice is 0
            units.append([*head, nal])
            head = []
        else:
            units[-1] += [*head, nal]
            head = []
    return units


def clip_of(annexb: bytes, fps: float) -> Clip:
    """A clip from an Annex B stream that begins with a keyframe."""
    return Clip(tuple(tuple(unit) for unit in split_units(split_nals(annexb))), fps)


def load_clip(path: Path, fps: float = 30.0) -> Clip:
    """An Annex B file (`.h264`, `.264`; played at fps), or any container with an H.264 track."""
    if path.suffix in (".h264", ".264"):
        return clip_of(path.read_bytes(), fps)
    import av
    from av.bitstream import BitStreamFilterContext

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.name != "h264":
            raise ValueError(f"{path} holds {stream.codec_context.name}, not H.264")
        annexb = BitStreamFilterContext("h264_mp4toannexb", stream)
        data = b"".join(bytes(out) for packet in container.demux(stream) for out in annexb.filter(packet))
        return clip_of(data, float(stream.average_rate or fps))


def counter_block_px(width: int) -> int:
    """Side of one block of the counter bar."""
    return max(2, width // COUNTER_BITS // 2 * 2)


def draw_counter(luma: npt.NDArray[np.uint8], number: int) -> None:
    """Draws the number as black and white blocks, highest bit first, along the upper edge."""
    side = counter_block_px(luma.shape[1])
    for bit in range(COUNTER_BITS):
        white = number >> (COUNTER_BITS - 1 - bit) & 1
        luma[:side, bit * side : (bit + 1) * side] = 235 if white else 16


def read_counter(luma: npt.NDArray[np.uint8]) -> int:
    """The number that draw_counter drew, out of a decoded picture's luma plane."""
    side = counter_block_px(luma.shape[1])
    number = 0
    for bit in range(COUNTER_BITS):
        block = luma[side // 4 : side * 3 // 4 + 1, bit * side + side // 4 : bit * side + side * 3 // 4 + 1]
        number = number << 1 | int(block.mean() > 125)
    return number


def make_clip(
    width: int = 1280,
    height: int = 720,
    fps: int = 30,
    *,
    seconds: float = 4.0,
    gop_s: float = 2.0,
    kbps: int = 2000,
    b_frames: int = 0,
    slices: int = 1,
) -> bytes:
    """Annex B, constrained baseline without B-frames unless asked for: a texture pans, a box runs, a counter counts."""
    from fractions import Fraction

    import av
    import numpy as np

    profile = "main" if b_frames else "baseline"
    options = {"preset": "superfast", "profile": profile, "bf": str(b_frames), "sc_threshold": "0"}
    options["x264-params"] = f"slices={slices}:sliced-threads=0"
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.framerate, codec.time_base = Fraction(fps), Fraction(1, fps)
    codec.bit_rate, codec.gop_size, codec.thread_count = kbps * 1000, max(1, round(gop_s * fps)), 1
    codec.options = options if b_frames else options | {"tune": "zerolatency"}

    random = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width]
    texture = (90 + 60 * np.sin(x / 37) * np.cos(y / 23)).astype(np.int16) + random.integers(-8, 8, (height, width))
    noise = random.integers(-3, 4, (height, width), dtype=np.int16)
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    data = bytearray()
    for number in range(max(1, round(seconds * fps))):
        moved = np.roll(texture, 3 * number, axis=1) + np.roll(noise, 7 * number, axis=0)
        planes[:height] = np.clip(moved, 16, 235)
        left = number * 5 % max(1, width - width // 8)
        planes[height // 2 : height // 2 + height // 8, left : left + width // 8] = 220
        draw_counter(planes[:height], number)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        data += b"".join(bytes(packet) for packet in codec.encode(frame))
    data += b"".join(bytes(packet) for packet in codec.encode(None))
    return bytes(data)
