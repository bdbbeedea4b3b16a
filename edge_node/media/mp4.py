"""Coded pictures with their sound as an MP4 file, nothing encoded again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from edge_node.media import h264
from edge_node.media.clip_ring import Piece
from edge_node.ports import SAMPLE_RATE, VIDEO_CLOCK

if TYPE_CHECKING:
    from av.container.output import OutputContainer

LAST_PICTURE_S = 1 / 30


def mp4(pieces: Sequence[Piece]) -> bytes:
    """The file. Blocks for some milliseconds.

    `pieces`: H.264 in Annex B, a keyframe with SPS and PPS first, and Opus. Raises ValueError for anything else.
    """
    sps = h264.parameter_sets(pieces[0].data).get(h264.NAL_SPS) if pieces else None
    sequence = h264.parse_sps(sps) if sps is not None else None
    if sequence is None:
        raise ValueError("a clip begins with an H.264 keyframe that carries its parameter sets")
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        picture = container.add_mux_stream("h264", width=sequence.width_px, height=sequence.height_px)
        picture.time_base = Fraction(1, VIDEO_CLOCK)
        streams: dict[bool, Any] = {False: picture}
        if any(piece.sound for piece in pieces):
            streams[True] = _opus_stream(container)
        last = {False: -1, True: -1}
        for piece, ends_s in _with_ends(pieces):
            rate = SAMPLE_RATE if piece.sound else VIDEO_CLOCK
            packet: av.Packet[Any] = av.Packet(piece.data)
            packet.stream = streams[piece.sound]
            packet.time_base = Fraction(1, rate)
            packet.is_keyframe = piece.keyframe
            at = last[piece.sound] = max(last[piece.sound] + 1, round((piece.at_s - pieces[0].at_s) * rate))
            packet.pts = packet.dts = at
            packet.duration = max(1, round((ends_s - pieces[0].at_s) * rate) - at)
            container.mux(packet)
    return target.getvalue()


def _with_ends(pieces: Sequence[Piece]) -> list[tuple[Piece, float]]:
    """Each piece with the moment at which the next one of its kind begins."""
    found: list[tuple[Piece, float]] = []
    following = {False: pieces[-1].at_s + LAST_PICTURE_S, True: pieces[-1].at_s + 0.02}
    for piece in reversed(pieces):
        found.append((piece, following[piece.sound]))
        following[piece.sound] = piece.at_s
    return found[::-1]


def _opus_stream(container: OutputContainer) -> Any:
    """A mono Opus stream whose header (RFC 7845 section 5.1) comes from a file of one packet of silence."""
    ogg = io.BytesIO()
    with av.open(ogg, "w", format="ogg") as header:
        stream = header.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 48_000
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = SAMPLE_RATE, 0
        header.mux(stream.encode(silence))
        header.mux(stream.encode(None))
    ogg.seek(0)
    with av.open(ogg) as template:
        made = container.add_stream_from_template(template.streams.audio[0])
    made.time_base = Fraction(1, SAMPLE_RATE)
    return made
