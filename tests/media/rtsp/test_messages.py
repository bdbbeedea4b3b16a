"""RTSP messages: printed, parsed, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.rtsp.messages import (
    BUFFER_BYTES,
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    BadMessage,
    Interleaved,
    Item,
    Parser,
    Request,
    Response,
    allowed_methods,
    number,
    parse_range,
    parse_session,
    parse_transport,
    plain,
)


def feed(parser: Parser, data: bytes, step: int = BUFFER_BYTES) -> list[Item]:
    """Writes data in pieces of at most `step` bytes; payloads are copied, for they do not live long."""
    found: list[Item] = []
    while data:
        room = parser.writable()
        assert len(room)
        count = min(len(room), len(data), step)
        room[:count] = data[:count]
        data = data[count:]
        for item in parser.wrote(count):
            if isinstance(item, Interleaved):
                item = Interleaved(item.channel, memoryview(bytes(item.payload)))
            found.append(item)
    return found


def frame(channel: int, payload: bytes) -> bytes:
    return b"$" + bytes((channel,)) + len(payload).to_bytes(2, "big") + payload


ANSWER = Response(200, "OK", (("CSeq", "2"), ("Session", "abc;timeout=30")), b"v=0\r\n")
QUESTION = Request("OPTIONS", "rtsp://camera/stream", (("CSeq", "1"),))


def test_prints_a_request() -> None:
    assert QUESTION.encode() == b"OPTIONS rtsp://camera/stream RTSP/1.0\r\nCSeq: 1\r\n\r\n"


def test_prints_a_body_with_its_length() -> None:
    assert ANSWER.encode().endswith(b"Content-Length: 5\r\n\r\nv=0\r\n")


@pytest.mark.parametrize("evil", ["a\r\nb", "a\nb", "a\0b"])
def test_prints_no_line_breaks_inside_a_header(evil: str) -> None:
    with pytest.raises(BadMessage):
        Request("OPTIONS", evil).encode()
    with pytest.raises(BadMessage):
        Response(200, "OK", (("CSeq", evil),)).encode()


def test_headers_are_found_in_any_case() -> None:
    answer = Response(401, "", (("WWW-Authenticate", "Basic"), ("www-authenticate", "Digest")))
    assert answer.all("WWW-AUTHENTICATE") == ["Basic", "Digest"]
    assert answer.header("Www-Authenticate") == "Basic"
    assert answer.header("Session") is None
    assert QUESTION.header("cseq") == "1"
    assert QUESTION.header("Session") is None


@pytest.mark.parametrize("step", [1, 2, 3, 7, BUFFER_BYTES])
def test_messages_and_frames_in_any_pieces(step: int) -> None:
    data = ANSWER.encode() + frame(0, b"abc") + b"\r\n" + frame(1, b"") + QUESTION.encode() + frame(3, bytes(65_535))
    first, second, third, question, large = feed(Parser(), data, step)
    assert isinstance(first, Response)
    assert (first.status, first.reason, first.body) == (200, "OK", b"v=0\r\n")
    assert first.header("session") == "abc;timeout=30"
    assert second == Interleaved(0, memoryview(b"abc"))
    assert third == Interleaved(1, memoryview(b""))
    assert question == QUESTION
    assert large == Interleaved(3, memoryview(bytes(65_535)))


def test_lone_line_feeds_folded_lines_and_lines_without_a_colon() -> None:
    (answer,) = feed(Parser(), b"RTSP/1.0 200\nPublic: OPTIONS,\n\tPLAY\nnonsense\n\n")
    assert answer == Response(200, "", (("Public", "OPTIONS, PLAY"),))


def test_a_fold_with_nothing_before_it_is_nothing() -> None:
    (answer,) = feed(Parser(), b"RTSP/1.0 200 OK\r\n folded\r\n\r\n")
    assert answer == Response(200, "OK")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x01\x02", "neither a message nor a frame"),
        (b"hello\r\n\r\n", "neither a message nor a frame"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP instead of RTSP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "first line"),
        (b"RTSP/1.0 two hundred\r\n\r\n", "first line"),
        (b"A" * MAX_HEAD_BYTES, "head of more than"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: \xc2\xb2\r\n\r\n", "Content-Length"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), "Content-Length"),
    ],
)
def test_garbage_has_one_clear_end(data: bytes, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        feed(Parser(), data)


def test_the_largest_head_and_body_fit() -> None:
    filler = "x" * (MAX_HEAD_BYTES - 60)
    answer = Response(200, "OK", (("X", filler),), bytes(MAX_BODY_BYTES))
    (parsed,) = feed(Parser(), answer.encode(), step=9000)
    assert isinstance(parsed, Response)
    assert parsed.body == answer.body


@given(st.binary(max_size=600), st.integers(1, 50))
def test_garbage_never_crashes(data: bytes, step: int) -> None:
    try:
        feed(Parser(), data, step)
    except BadMessage:
        pass


@given(
    st.lists(
        st.one_of(
            st.builds(frame, st.integers(0, 255), st.binary(max_size=300)),
            st.sampled_from([ANSWER.encode(), QUESTION.encode()]),
        )
    ),
    st.integers(1, 400),
)
def test_pieces_change_nothing(parts: list[bytes], step: int) -> None:
    data = b"".join(parts)
    assert feed(Parser(), data, step) == feed(Parser(), data)


@given(st.text(max_size=40), st.text(max_size=40), st.binary(max_size=40))
def test_what_is_printed_is_read_back(name: str, value: str, body: bytes) -> None:
    try:
        data = Response(200, "OK", ((name, value),), body).encode()
    except BadMessage:
        return
    except UnicodeEncodeError:  # a lone surrogate cannot come from the network
        return
    try:
        (parsed,) = feed(Parser(), data)
    except BadMessage:  # the drawn name was a Content-Length
        return
    assert isinstance(parsed, Response)
    assert parsed.body == body


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12345678", ("12345678", 60.0)),
        ("12345678;timeout=30", ("12345678", 30.0)),
        ("a ; x=1 ; Timeout=5 ", ("a", 5.0)),
        ("a;timeout=0", ("a", 60.0)),
        ("a;timeout=soon", ("a", 60.0)),
        ("", ("", 60.0)),
    ],
)
def test_session(value: str, expected: tuple[str, float]) -> None:
    assert parse_session(value) == expected


def test_transport() -> None:
    given = parse_transport("RTP/AVP/TCP;unicast;Interleaved=2-3;ssrc=DEADBEEF,RTP/AVP;unicast")
    assert given == {"rtp/avp/tcp": "", "unicast": "", "interleaved": "2-3", "ssrc": "DEADBEEF"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2-3", (2, 3)), ("6970", (6970, 6971)), ("6970-x", (6970, 6971)), ("x", None), ("", None), (None, None)],
)
def test_range(text: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(text) == expected


def test_numbers_are_bounded() -> None:
    assert number(" 42 ") == 42
    assert number("1" * 10) is None
    assert number("²") is None
    assert number(None) is None


def test_methods() -> None:
    assert allowed_methods(["OPTIONS, Describe", "", "PLAY,"]) == {"OPTIONS", "DESCRIBE", "PLAY"}


def test_text_for_people_is_printable() -> None:
    assert plain("a\x1b[31m\nb") == "a?[31m?b"
    assert len(plain("x" * 500)) == 80
