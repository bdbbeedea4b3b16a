"""Session descriptions as cameras write them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.rtsp.sdp import (
    MAX_MEDIA,
    AudioTrack,
    NoVideo,
    VideoTrack,
    choose_audio,
    choose_video,
    parse_sdp,
    resolve_control,
)

H264 = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
CAMERA = (
    "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=Media\r\nt=0 0\r\na=control:rtsp://10.0.0.2/live/\r\n"
    "m=audio 0 RTP/AVP 0 97\r\na=rtpmap:97 MPEG4-GENERIC/16000\r\na=control:trackID=2\r\n"
    + H264
    + "a=fmtp:96 profile-level-id=420029; packetization-mode=1; sprop-parameter-sets=Z0IAKeKQFgJNgScF,aM48gA==\r\n"
    "a=control:trackID=1\r\na=recvonly\r\n"
    "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n"
)


def choose(text: str) -> VideoTrack | NoVideo:
    return choose_video(parse_sdp(text))


def test_finds_the_track_and_names_the_rest() -> None:
    track = choose(CAMERA)
    assert isinstance(track, VideoTrack)
    assert (track.payload_type, track.control) == (96, "trackID=1")
    assert [one[0] & 0x1F for one in track.parameter_sets] == [7, 8]
    assert track.others == ("audio PCMU", "audio MPEG4-GENERIC", "application vnd.onvif.metadata")
    assert parse_sdp(CAMERA).control == "rtsp://10.0.0.2/live/"


H265 = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n"


def test_what_has_to_be_decoded_comes_after_h264() -> None:
    assert choose(H265) == VideoTrack(96, "", (), (), "H265")
    assert choose("m=video 0 RTP/AVP 26\r\n") == VideoTrack(26, "", (), (), "JPEG")
    sets = choose(H265 + "a=fmtp:96 sprop-vps=QAE=; sprop-sps=QgE=;sprop-pps=RAE=\r\n")
    assert isinstance(sets, VideoTrack) and [s[0] for s in sets.parameter_sets] == [0x40, 0x42, 0x44]


AAC = "m=audio 0 RTP/AVP 97\na=rtpmap:97 MPEG4-GENERIC/16000/2\n"


@pytest.mark.parametrize(
    ("text", "track"),
    [
        ("m=audio 0 RTP/AVP 0\n", AudioTrack(0, "", "PCMU", 8000, 1)),
        ("m=audio 0 RTP/AVP 8\na=control:a\n", AudioTrack(8, "a", "PCMA", 8000, 1)),
        ("m=audio 0 RTP/AVP 55 96\na=rtpmap:96 opus/48000/2\n", AudioTrack(96, "", "OPUS", 48_000, 2)),
        (
            AAC + "a=fmtp:97 mode=AAC-hbr;config=1408;SizeLength=13;indexlength=3\n",
            AudioTrack(97, "", "MPEG4-GENERIC", 16_000, 2, b"\x14\x08"),
        ),
        (AAC + "a=fmtp:97 mode=AAC-lbr;config=1408;sizelength=6\n", None),
        (AAC + "a=fmtp:97 mode=AAC-hbr;config=xyz;sizelength=13\n", None),
        ("m=audio 0 RTP/AVP 96\na=rtpmap:96 opus/x/2\n", None),
        ("m=audio 0 RTP/AVP 96\na=rtpmap:96 G726-32/8000\n", None),
        ("m=video 0 RTP/AVP 0\n", None),
    ],
)
def test_the_sound_that_can_become_opus(text: str, track: AudioTrack | None) -> None:
    assert choose_audio(parse_sdp(text)) == track


def test_lone_line_feeds_and_lower_case_do() -> None:
    track = choose("v=0\nm=VIDEO 0 RTP/AVP 99\na=rtpmap:99 h264/90000\n")
    assert track == VideoTrack(99, "", (), ())


def test_h264_as_the_second_choice_of_a_section() -> None:
    track = choose("m=video 0 RTP/AVP 26 96\r\na=rtpmap:96 H264/90000\r\n")
    assert track == VideoTrack(96, "", (), ("video JPEG",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no stream"),
        ("<html>", "names no stream"),
        ("m=video\r\n", "names no stream"),
        ("m=video 0 RTP/AVP x 999 200\r\n", "names no stream"),
        ("m=video 0 RTP/AVP 31\r\nm=audio 0 RTP/AVP 55\r\n", r"nor JPEG \(video H261, audio type 55\)"),
        (H265 + "a=fmtp:96 sprop-max-don-diff=2\r\n", "interleaved"),
        ("m=audio 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", "neither H.264"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/48000\r\n", "90 kHz"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264\r\n", "90 kHz"),
        (H264 + "a=fmtp:96 packetization-mode=2\r\n", "interleaved"),
    ],
)
def test_says_why_there_is_nothing_to_show(text: str, says: str) -> None:
    chosen = choose(text)
    assert isinstance(chosen, NoVideo)
    assert re.search(says, chosen.reason), chosen.reason


def test_codec_names_are_printable() -> None:
    chosen = choose("m=video 0 RTP/AVP 96\r\na=rtpmap:96 \x1b[2J/90000\r\n")
    assert isinstance(chosen, NoVideo)
    assert chosen.reason.isprintable()


@pytest.mark.parametrize(
    ("sprop", "count"), [("Z0IAKeKQ,aM48gA==", 2), ("Z0IAKeKQ,aM48gA", 2), ("!!,aM48gA==", 1), (",", 0), ("ü", 0)]
)
def test_parameter_sets_survive_slips(sprop: str, count: int) -> None:
    track = choose(H264 + f"a=fmtp:96 sprop-parameter-sets={sprop}\r\n")
    assert isinstance(track, VideoTrack)
    assert len(track.parameter_sets) == count


def test_sections_are_bounded() -> None:
    assert len(parse_sdp("m=video 0 RTP/AVP 96\r\n" * 1000).media) == MAX_MEDIA


@pytest.mark.parametrize(
    ("base", "control", "url"),
    [
        ("rtsp://c/s/", "trackID=1", "rtsp://c/s/trackID=1"),
        ("rtsp://c/s", "trackID=1", "rtsp://c/s/trackID=1"),
        ("rtsp://c/s?x=1", "trackID=1", "rtsp://c/s?x=1/trackID=1"),
        ("rtsp://c/s", "/trackID=1", "rtsp://c/s/trackID=1"),
        ("rtsp://c/s", "", "rtsp://c/s"),
        ("rtsp://c/s/", "*", "rtsp://c/s/"),
        ("rtsp://c/s", "RTSP://c/other", "RTSP://c/other"),
    ],
)
def test_control_urls(base: str, control: str, url: str) -> None:
    assert resolve_control(base, control) == url


@given(st.text(alphabet=st.sampled_from("vam=:/; 0123456789H264videortpmapfmtp\r\n,"), max_size=300), st.text())
def test_any_text_gives_an_answer(likely: str, anything: str) -> None:
    for text in (likely, anything, H264 + likely, H264 + "a=fmtp:96 " + anything):
        choose(text)
