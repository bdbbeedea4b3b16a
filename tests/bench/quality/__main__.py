"""`python -m tests.bench.quality`: the picture our encoder makes, and what it costs, beside aiortc's own H.264."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from aiortc.codecs.h264 import H264Encoder
from av.video.frame import PictureType

from edge_node.media.encoders.codec import TIME_BASE
from edge_node.media.encoders.libx264 import open_libx264
from edge_node.media.h264 import START
from tests.bench.quality.scenes import SCENES, Luma, scene
from tests.bench.runner import Report, median, present, words

FPS, KBPS = 30, 2000
Encode = Callable[[av.VideoFrame], bytes]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is encoded: `rounds` alternations of `pictures` of this size."""

    width_px: int = 1280
    height_px: int = 720
    pictures: int = 180
    rounds: int = 5


QUICK = Sizes(320, 192, 45, 1)


@dataclass(frozen=True, slots=True)
class Found:
    """Of one film: PSNR of the luma in dB without its first second, CPU per picture, the bit rate."""

    psnr_db: float
    cpu_ms: float
    kbps: float


def ours(preset: str) -> Callable[[Sizes], Encode]:
    """Our settings: constant rate, a small VBV, one thread."""

    def begin(sizes: Sizes) -> Encode:
        codec = open_libx264(sizes.width_px, sizes.height_px, FPS, KBPS, preset)

        def encode(frame: av.VideoFrame) -> bytes:
            frame.pict_type = PictureType.NONE
            return b"".join(bytes(packet) for packet in codec.encode(frame))

        return encode

    return begin


def aiortc(sizes: Sizes) -> Encode:
    """aiortc's encoder as its sender uses it, without the packetising."""
    encoder = H264Encoder()
    encoder.target_bitrate = KBPS * 1000
    units = cast("Any", encoder)._encode_frame

    def encode(frame: av.VideoFrame) -> bytes:
        return b"".join(START + bytes(nal) for nal in units(frame, False))

    return encode


ENCODERS: dict[str, Callable[[Sizes], Encode]] = {
    "aiortc": aiortc, "superfast": ours("superfast"), "ultrafast": ours("ultrafast"),
}  # fmt: skip


def film(encode: Encode, pictures: Sequence[Luma]) -> Found:
    """Encodes, then decodes and compares."""
    height, width = pictures[0].shape
    frames = []
    for index, luma in enumerate(pictures):
        planes = np.concatenate([luma, np.full((height // 2, width), 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
        frame.pts, frame.time_base = index * 3000, TIME_BASE
        frames.append(frame)
    begun = time.process_time()
    coded = [encode(frame) for frame in frames]
    cpu_s = time.process_time() - begun
    pairs = zip(decoded(coded), pictures, strict=True)
    errors = [np.mean((seen.astype(np.float32) - luma) ** 2) for seen, luma in pairs]
    psnr = [10 * np.log10(255**2 / max(float(error), 1e-3)) for error in errors[FPS:]]
    bits = sum(len(unit) for unit in coded) * 8
    return Found(float(np.mean(psnr)), cpu_s * 1000 / len(coded), bits / 1000 / (len(coded) / FPS))


def decoded(coded: Sequence[bytes]) -> list[Luma]:
    """The luma planes, shape (height, width)."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = []
    for index, unit in enumerate(coded):
        packet: Any = av.Packet(unit)
        packet.pts, packet.time_base = index, Fraction(1, FPS)
        frames += decoder.decode(packet)
    frames += decoder.decode(None)
    return [frame.to_ndarray()[: frame.height, : frame.width].astype(np.uint8) for frame in frames]


def run(sizes: Sizes) -> Report:
    """All scenes, all encoders in turn."""
    report = Report("quality")
    for name, sway in SCENES.items():
        pictures = list(scene(sizes.pictures, sizes.width_px, sizes.height_px, sway))
        found: dict[str, list[Found]] = {encoder: [] for encoder in ENCODERS}
        for _ in range(sizes.rounds):
            for encoder, begin in ENCODERS.items():
                found[encoder].append(film(begin(sizes), pictures))
        reference = median([one.cpu_ms for one in found["aiortc"]])
        for encoder, films in found.items():
            cpu_ms = median([one.cpu_ms for one in films])
            less = films[0].psnr_db - found["aiortc"][0].psnr_db
            report.add(f"{name} {encoder} PSNR", round(films[0].psnr_db, 2), "dB", f"{less:+.2f} dB beside aiortc")
            report.add(f"{name} {encoder} CPU", round(cpu_ms, 2), "ms/picture", f"{cpu_ms / reference:.2f} of aiortc")
            report.add(f"{name} {encoder} rate", round(films[0].kbps), "kbit/s", f"asked for {KBPS}")
    return report


def main(argv: Sequence[str] | None = None) -> int:
    args = words("quality", "PSNR and CPU of our H.264 settings beside aiortc's own encoder, in turn.").parse_args(argv)
    present(run(QUICK if args.quick else Sizes()), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
