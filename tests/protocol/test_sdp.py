from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.protocol import sdp
from tests.support.property import patient

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"


def text(*lines: str) -> str:
    return "\r\n".join(lines) + "\r\n"


SESSION = ("v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1")
TRANSPORT = ("a=ice-ufrag:uf", "a=ice-pwd:pw", "a=fingerprint:sha-256 AA", "a=setup:actpass")
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 0",
    "a=mid:0",
    *TRANSPORT,
    "a=sendrecv",
    "a=msid:stream track-a",
    f"a=extmap:4 {MID}",
    "a=rtpmap:111 opus/48000/2",
    "a=fmtp:111 minptime=10;useinbandfec=1",
    "a=rtpmap:0 PCMU/8000",
    "a=candidate:1 1 udp 9 10.0.0.1 5000 typ host",
    "a=candidate:2 1 udp 9 abc.local 5001 typ host",
    "a=end-of-candidates",
)
VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 102 103",
    "a=mid:1",
    "a=ice-ufrag:other",
    "a=ice-pwd:other",
    "a=recvonly",
    f"a=extmap:4/sendonly {MID} extra",
    "a=rtpmap:102 H264/90000",
    "a=rtcp-fb:102 nack",
    "a=fmtp:102 profile-level-id=42E01F;packetization-mode=1;level-asymmetry-allowed=1",
    "a=rtpmap:103 rtx/90000",
    "a=fmtp:103 apt=102",
    "a=candidate:3 1 udp 9 10.0.0.1 6000 typ host",
)
REMOTE = text(*SESSION, *AUDIO, *VIDEO)


def test_reading_sections() -> None:
    audio, video = sdp.read(REMOTE)
    assert audio == sdp.Section("0", "audio", "sendrecv", False, "stream", "track-a")
    assert video == sdp.Section("1", "video", "recvonly", False, None, None)
    assert (audio.sends, audio.receives, video.sends, video.receives) == (True, True, False, True)
    assert sdp.ufrag(REMOTE) == "uf" and sdp.ufrag("v=0") is None
    assert sdp.ufrag(text("a=ice-ufrag:" + "x" * 257)) is None
    assert sdp.primary_mid(REMOTE) == "0"


@pytest.mark.parametrize(
    ("lines", "section"),
    [
        (["m=audio 0 X 0"], sdp.Section("0", "audio", "sendrecv", True, None, None)),
        (["m=audio 0 X 0", "a=bundle-only"], sdp.Section("0", "audio", "sendrecv", False, None, None)),
        (["m=video 9 X 0", "a=msid:- t"], sdp.Section("0", "video", "sendrecv", False, None, "t")),
        (["m=video 9 X 0", "a=msid:s"], sdp.Section("0", "video", "sendrecv", False, "s", None)),
        (["m=video 9 X 0", "a=ssrc:1 msid:s t"], sdp.Section("0", "video", "sendrecv", False, "s", "t")),
        (["m=video 9 X 0", "a=ssrc:1 cname:c"], sdp.Section("0", "video", "sendrecv", False, None, None)),
        (["m=video 9 X 0", "a=msid:s " + "t" * 257], sdp.Section("0", "video", "sendrecv", False, "s", None)),
        (["m=x"], sdp.Section("0", "x", "sendrecv", True, None, None)),
    ],
)
def test_odd_sections(lines: list[str], section: sdp.Section) -> None:
    assert sdp.read(text(*lines)) == [section]


def test_primary_without_a_bundle() -> None:
    assert sdp.primary_mid(text("m=audio 9 X 0", "a=mid:x")) == "x"
    assert sdp.primary_mid(text("m=audio 9 X 0")) == "0"
    assert sdp.primary_mid("") is None


def test_a_description_for_one_transport() -> None:
    session, (audio, video) = sdp.split(sdp.for_one_transport(REMOTE))
    assert session == list(SESSION)
    for lines in (audio, video):
        assert [line for line in lines if line.startswith(("a=cand", "a=ice", "a=end"))] == [
            "a=ice-ufrag:uf",
            "a=ice-pwd:pw",
            "a=candidate:1 1 udp 9 10.0.0.1 5000 typ host",
        ]
    unbundled = text("v=0", *VIDEO)
    assert sdp.for_one_transport(unbundled) == unbundled


def test_more_candidates_to_come() -> None:
    lines = ["v=0", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=candidate:1 1 udp 1 10.0.0.1 5 typ host"]
    whole = "\r\n".join([*lines, "a=end-of-candidates", ""])
    part = sdp.more_to_come(whole)
    assert part == whole.replace("a=end-of-candidates\r\n", "") and sdp.more_to_come(part) == part
    assert sdp.names_all_candidates(whole) and not sdp.names_all_candidates(part)


def test_names_that_hide_addresses() -> None:
    assert sdp.is_mdns("1 1 udp 9 ABC.LOCAL 5 typ host")
    assert not sdp.is_mdns("1 1 udp 9 10.0.0.1 5 typ host") and not sdp.is_mdns("x")


def test_stand_ins_for_rejected_sections() -> None:
    rejected = text(*SESSION, *AUDIO, "m=video 0 UDP/TLS/RTP/SAVPF 96", "a=mid:1", "a=inactive")
    _, (_, video) = sdp.split(sdp.stand_in(rejected))
    assert video == [
        "m=video 9 UDP/TLS/RTP/SAVPF 97",
        "a=mid:1",
        "a=inactive",
        "a=rtcp-mux",
        "a=rtpmap:97 VP8/90000",
        *TRANSPORT,
    ]
    _, (_, own) = sdp.split(sdp.stand_in(rejected, own=REMOTE))
    assert own[0] == "m=video 9 UDP/TLS/RTP/SAVPF 102 103" and "a=fmtp:103 apt=102" in own
    _, (_, other) = sdp.split(sdp.stand_in(rejected, own=text(*SESSION, *AUDIO)))
    assert other[0] == "m=video 9 UDP/TLS/RTP/SAVPF 97"
    _, (audio, _) = sdp.split(sdp.stand_in(REMOTE, ["0"]))
    assert audio[0] == "m=audio 9 UDP/TLS/RTP/SAVPF 0" and "a=ice-ufrag:other" in audio


def test_stand_ins_for_all_sections_have_the_transport_of_the_first() -> None:
    _, sections = sdp.split(sdp.stand_in(REMOTE, ["0", "1"]))
    assert [lines[0] for lines in sections] == ["m=audio 9 UDP/TLS/RTP/SAVPF 0", "m=video 9 UDP/TLS/RTP/SAVPF 97"]
    assert all(set(TRANSPORT) < set(lines) and "a=inactive" in lines for lines in sections)


def test_an_answer_that_refuses_all_sections_of_the_offer() -> None:
    audio, video = "m=audio 0 UDP/TLS/RTP/SAVPF 0", "m=video 0 UDP/TLS/RTP/SAVPF 0"
    assert sdp.refuses(text(audio, "a=mid:0", video), REMOTE)
    assert not sdp.refuses(text(audio, *VIDEO), REMOTE)
    assert not sdp.refuses(text(audio, video, "a=bundle-only"), REMOTE)
    assert not sdp.refuses(text(video, audio), REMOTE)
    assert not sdp.refuses(text(audio), REMOTE)
    assert not sdp.refuses("", "")


def test_no_stand_ins() -> None:
    assert sdp.stand_in(REMOTE) == REMOTE
    nothing_healthy = text("m=video 0 X 96")
    assert sdp.stand_in(nothing_healthy) == nothing_healthy
    application = text(*SESSION, *AUDIO, "m=application 0 X y")
    assert sdp.stand_in(application) == application


def test_rejecting() -> None:
    session, (audio, video) = sdp.split(sdp.reject(REMOTE, {"1"}))
    assert "a=group:BUNDLE 0" in session
    assert (audio[0], video[0]) == (AUDIO[0], "m=video 0 UDP/TLS/RTP/SAVPF 102 103")
    assert sdp.reject(REMOTE, set()) == REMOTE


OWN = text(
    "v=0",
    "m=audio 9 UDP/TLS/RTP/SAVPF 96 0",
    "a=mid:0",
    f"a=extmap:1 {MID}",
    f"a=extmap:2 {LEVEL}",
    "a=rtpmap:96 opus/48000/2",
    "a=rtpmap:0 PCMU/8000",
    "m=video 9 UDP/TLS/RTP/SAVPF 97 98 99 100",
    "a=mid:1",
    f"a=extmap:1 {MID}",
    f"a=extmap:3 {ABS}",
    "a=rtpmap:97 VP8/90000",
    "a=rtcp-fb:97 nack",
    "a=rtpmap:98 rtx/90000",
    "a=fmtp:98 apt=97",
    "a=rtpmap:99 H264/90000",
    "a=fmtp:99 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    "a=rtpmap:100 rtx/90000",
    "a=fmtp:100 apt=99",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "a=mid:2",
)


def test_a_first_offer_gets_ids_that_browsers_can_live_with() -> None:
    pinned = sdp.pin(OWN)
    assert f"a=extmap:9 {MID}" in pinned and f"a=extmap:2 {ABS}" in pinned and f"a=extmap:12 {LEVEL}" in pinned
    assert "m=video 9 UDP/TLS/RTP/SAVPF 97 98 99 100" in pinned
    assert sdp.pin(pinned, [pinned]) == pinned


def test_a_later_offer_keeps_the_numbers_of_the_session() -> None:
    _, (audio, video, data) = sdp.split(sdp.pin(OWN, [REMOTE]))
    assert audio[0] == "m=audio 9 UDP/TLS/RTP/SAVPF 111 0" and "a=rtpmap:111 opus/48000/2" in audio
    assert f"a=extmap:4 {MID}" in audio and f"a=extmap:4 {MID}" in video
    assert video[0] == "m=video 9 UDP/TLS/RTP/SAVPF 97 98 102 103"
    assert "a=fmtp:103 apt=102" in video and "a=rtpmap:102 H264/90000" in video and "a=rtcp-fb:97 nack" in video
    assert data[0].endswith("webrtc-datachannel")


def test_a_number_that_is_taken_is_given_to_nobody_else() -> None:
    earlier = text("m=video 9 X 97", "a=rtpmap:97 AV1/90000", f"a=extmap:9 {ABS}")
    _, (_, video, _) = sdp.split(sdp.pin(OWN, [earlier]))
    numbers = video[0].split(" ")[3:]
    assert "97" not in numbers and len(set(numbers)) == 4
    assert f"a=extmap:9 {ABS}" in video and f"a=extmap:9 {MID}" not in video


def test_without_a_free_extension_id_the_extension_is_left_out() -> None:
    full = text("m=audio 9 X 0", *(f"a=extmap:{i} urn:x{i}" for i in range(1, 15)))
    pinned = sdp.pin(OWN, [full])
    assert MID not in pinned and "a=rtpmap:96 opus/48000/2" in pinned


def test_an_rtx_without_its_base_is_not_remembered() -> None:
    earlier = text("m=video 9 X 50", "a=rtpmap:50 rtx/90000", "a=fmtp:50 apt=49", "a=fmtp:51 x=1")
    assert "a=fmtp:98 apt=97" in sdp.pin(OWN, [earlier])


LINES = st.lists(
    st.sampled_from(
        [*SESSION, *AUDIO, *VIDEO, "m=", "m=video", "a=mid:", "a=group:BUNDLE", "a=msid:", "a=candidate:", ""]
    )
    | st.text(max_size=20),
    max_size=40,
)


@patient
@given(LINES)
def test_reading_any_text_is_total(lines: list[str]) -> None:
    any_text = "\n".join(lines)
    sdp.read(any_text)
    sdp.ufrag(any_text)
    sdp.primary_mid(any_text)
    clean = sdp.for_one_transport(any_text)
    assert "a=end-of-candidates" not in sdp.split(clean)[0] or "a=end-of-candidates" in lines
    sdp.stand_in(clean, ["0"], any_text)
    sdp.refuses(any_text, OWN)
    sdp.pin(OWN, [any_text])


@pytest.mark.parametrize("name", ["extmap", "rtpmap", "fmtp", "rtcp-fb"])
def test_a_number_that_int_refuses_is_passed_over(name: str) -> None:
    line = f"a={name}:{'9' * 5000} apt={'9' * 5000}"
    assert sdp.pin(OWN, [REMOTE + line + "\r\n"]) == sdp.pin(OWN, [REMOTE])


def test_the_level_of_the_stream_stands_where_3_1_did() -> None:
    offer = "v=0\r\na=fmtp:99 packetization-mode=1;profile-level-id=42001f\r\na=fmtp:101 profile-level-id=42E01F\r\n"
    assert sdp.with_level(offer, 40).count("profile-level-id=42") == 2
    assert "42E028\r\n" in sdp.with_level(offer, 40) and "420028\r\n" in sdp.with_level(offer, 40)
    assert sdp.with_level(offer, 31) == sdp.with_level(offer, 99) == offer
    main = "a=fmtp:1 profile-level-id=4d001f\r\n"
    assert sdp.with_level(main, 42) == main


def test_another_level_keeps_its_payload_type() -> None:
    def offer(level: str, number: int) -> str:
        section = f"m=video 9 UDP/TLS/RTP/SAVPF {number}\r\na=mid:0\r\na=rtpmap:{number} H264/90000\r\n"
        return f"v=0\r\n{section}a=fmtp:{number} profile-level-id=42e0{level};packetization-mode=1\r\n"

    assert "SAVPF 120\r\n" in sdp.pin(offer("1f", 99), [offer("28", 120)])
