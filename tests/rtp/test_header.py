from __future__ import annotations

import pytest
from aiortc import clock
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from edge_node.rtp.header import ExtensionIds, Template, abs_send_time, ntp

URIS = {
    "abs_send_time": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "mid": "urn:ietf:params:rtp-hdrext:sdes:mid",
    "audio_level": "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
}


def parsed(ids: ExtensionIds, template: Template, send_time: bytes, level: int | None = None) -> RtpPacket:
    known = HeaderExtensionsMap()
    numbers = {name: getattr(ids, name) for name in URIS}
    extensions = [RTCRtpHeaderExtensionParameters(id=n, uri=URIS[name]) for name, n in numbers.items() if n is not None]
    known.configure(RTCRtpParameters(headerExtensions=extensions))
    packet = bytearray(template.length + 3)
    block = template.block(send_time, level)
    template.packer.pack_into(packet, 0, template.first_byte, 0x80 | 96, 65535, 1 << 31, 77, block)
    packet[template.length :] = b"abc"
    return RtpPacket.parse(bytes(packet), known)


@pytest.mark.parametrize(
    ("ids", "mid"),
    [
        (ExtensionIds(3, 4, 5), "0"),
        (ExtensionIds(3, 4), "video1"),
        (ExtensionIds(None, 4), "12"),
        (ExtensionIds(3), None),
        (ExtensionIds(), "0"),
        (ExtensionIds(20, 4, 30), "a-name-that-is-very-long"),
        (ExtensionIds(1, 2), "exactly-16-bytes"),
    ],
)
@pytest.mark.parametrize("has_level", [False, True])
def test_headers_say_what_aiortc_reads(ids: ExtensionIds, mid: str | None, has_level: bool) -> None:
    template = Template(ids, mid, has_level=has_level)
    packet = parsed(ids, template, b"\1\2\3", -42)
    assert (packet.marker, packet.payload_type, packet.sequence_number) == (1, 96, 65535)
    assert (packet.timestamp, packet.ssrc, packet.payload) == (1 << 31, 77, b"abc")
    assert packet.extensions.abs_send_time == (0x010203 if ids.abs_send_time else None)
    assert packet.extensions.mid == (mid if ids.mid else None)
    assert packet.extensions.audio_level == ((False, 42) if has_level and ids.audio_level else None)
    assert template.length % 4 == 0


def test_an_unknown_level_is_silence_and_levels_are_clamped() -> None:
    ids = ExtensionIds(audio_level=1)
    template = Template(ids, None, has_level=True)
    levels = [parsed(ids, template, bytes(3), level).extensions.audio_level for level in (None, 5, -300)]
    assert levels == [(False, 127), (False, 0), (False, 127)]


def test_times_are_those_of_ntp() -> None:
    wall = 1_700_000_123.654321
    ours = ntp(wall)
    assert ours >> 32 == 1_700_000_123 + 2_208_988_800
    theirs = clock.datetime_to_ntp(clock.datetime_from_ntp(ours))
    assert abs(ours - theirs) < 1 << 20
    assert abs(int.from_bytes(abs_send_time(wall), "big") - (ours >> 14 & 0xFFFFFF)) <= 1
