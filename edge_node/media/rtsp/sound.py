"""Coded sound out of RTP packets (RFC 3551, RFC 3640, RFC 7587)."""

from __future__ import annotations

from edge_node.media.rtsp.pictures import payload_of
from edge_node.media.rtsp.sdp import AudioTrack

MAX_LATE = 100  # as in RFC 3550 section A.1
_AU_HEADER_BITS = 16  # sizelength 13 and indexlength 3: choose_audio() takes no others


class SoundPackets:
    """One RTP stream of one session. Late packets and repeats are dropped; what is lost is missing."""

    def __init__(self, track: AudioTrack) -> None:
        self._track = track
        self._next: int | None = None
        self.lost_packets = 0
        self.bad_packets = 0

    def feed(self, packet: bytes | memoryview) -> list[bytes]:
        """The coded frames of one packet, oldest first; none of a bad one. Never raises."""
        payload = payload_of(packet, self._track.payload_type)
        if payload is None or not len(payload):
            self.bad_packets += 1
            return []
        if not self._in_order(packet[2] << 8 | packet[3]):
            return []
        if self._track.codec != "MPEG4-GENERIC":
            return [bytes(payload)]
        frames = _access_units(bytes(payload))
        self.bad_packets += not frames
        return frames

    def _in_order(self, sequence: int) -> bool:
        missing = 0 if self._next is None else (sequence - self._next) & 0xFFFF
        if missing >= 0x1_0000 - MAX_LATE:
            return False
        self.lost_packets += missing if missing < 0x8000 else 0  # else the camera began anew
        self._next = (sequence + 1) & 0xFFFF
        return True


def _access_units(payload: bytes) -> list[bytes]:
    """The AAC frames of a packet (RFC 3640 section 3.3.6); empty when it is cut, or holds a piece of one only."""
    count, odd = divmod(int.from_bytes(payload[:2], "big"), _AU_HEADER_BITS)
    at = 2 + 2 * count
    if odd or not count or at > len(payload):
        return []
    frames = []
    for index in range(count):
        size = int.from_bytes(payload[2 + 2 * index : 4 + 2 * index], "big") >> 3
        if not size or at + size > len(payload):
            return []
        frames.append(payload[at : at + size])
        at += size
    return frames
