"""Small films and sounds that tests play."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 44_100


def make_film(
    path: Path, duration_s: float = 1.0, *, video: bool = True, audio: bool = True, hz: float = 440.0
) -> Path:
    """Grey pictures that grow lighter at 30 a second, and a tone; the container by the name."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        if video:
            pictures: Any = container.add_stream("libx264", rate=30)
            pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
            streams.append(pictures)
        if audio:
            codec = "pcm_s16le" if path.suffix == ".wav" else "aac"
            sound: Any = container.add_stream(codec, rate=RATE, layout="mono")
            streams.append(sound)
            packets = sound.encode(tone(duration_s, hz, "s16" if codec == "pcm_s16le" else "fltp"))
            container.mux(packets)
        for number in range(round(30 * duration_s) if video else 0):
            frame = av.VideoFrame(160, 120, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([40 + number * 4 % 180]) * plane.buffer_size)
            container.mux(pictures.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def tone(duration_s: float, hz: float, sample_format: str) -> av.AudioFrame:
    """A sine at half of full scale, mono at RATE."""
    sine = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * RATE)) / RATE)
    samples: Any = (sine * 32767).astype(np.int16) if sample_format == "s16" else sine.astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples[None, :], format=sample_format, layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    return frame
