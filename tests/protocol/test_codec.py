from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.protocol.codec import decode_client, decode_server, dumps, encode
from edge_node.protocol.frames import (
    MISSING,
    Ack,
    DirectFrame,
    ErrorFrame,
    GoingAwayFrame,
    Malformed,
    MessageFrame,
    Ping,
    Pong,
    PresenceFrame,
    PresencePeer,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from tests.support.property import patient

CLIENT_FRAMES = [
    Subscribe("c", "r", True),
    Subscribe("c"),
    Unsubscribe("c", "r"),
    Publish("c", None, "r"),
    Publish("c", {"a": [1, "ü"]}),
    Send("peer", "x", "r"),
    Ping(),
    Ping("r"),
]
SERVER_FRAMES = [
    Welcome("p", None, 1700000000, 65536),
    Welcome("p", 1800000000, 1700000000, 65536, {"iceServers": []}),
    Ack("r"),
    ErrorFrame("backend_error", "r", "text"),
    ErrorFrame("brand_new_code"),
    MessageFrame("c", "p", {"a": 1}, {"role": "x"}),
    DirectFrame("p", None),
    PresenceFrame("c", (PresencePeer("a", {"n": 1}),), (PresencePeer("b"),)),
    GoingAwayFrame(3000),
    Pong(),
    Pong("r"),
]


@pytest.mark.parametrize("frame", CLIENT_FRAMES, ids=str)
def test_client_frames_round_trip(frame: Any) -> None:
    assert decode_client(encode(frame)) == frame


@pytest.mark.parametrize("frame", SERVER_FRAMES, ids=str)
def test_server_frames_round_trip(frame: Any) -> None:
    assert decode_server(encode(frame)) == frame


def test_text_stays_utf_8_and_compact() -> None:
    assert encode(Publish("c", "ü")) == '{"type":"publish","channel":"c","data":"ü"}'


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_numbers_that_json_has_not(value: Any) -> None:
    with pytest.raises(ValueError):
        dumps(value)
    with pytest.raises(TypeError):
        dumps(object())


def test_data_that_is_missing_is_not_null() -> None:
    frame = decode_client('{"type":"publish","channel":"c","requestId":"r"}')
    assert frame == Publish("c", MISSING, "r") and repr(MISSING) == "MISSING"


BAD_FOR_CLIENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "malformed_message"),
    ({"type": 1}, "malformed_message"),
    ({"type": "dance"}, "unknown_type"),
    ({"type": "subscribe"}, "malformed_message"),
    ({"type": "subscribe", "channel": ""}, "invalid_channel"),
    ({"type": "subscribe", "channel": "c", "includeSenderMetadata": 1}, "malformed_message"),
    ({"type": "subscribe", "channel": "c", "requestId": ""}, "malformed_message"),
    ({"type": "subscribe", "channel": "c", "requestId": "r" * 129}, "malformed_message"),
    ({"type": "send", "to": "", "data": 1}, "invalid_peer_id"),
    ({"type": "send", "data": 1}, "malformed_message"),
]


@pytest.mark.parametrize(("body", "code"), BAD_FOR_CLIENTS, ids=str)
def test_bad_client_frames(body: dict[str, Any], code: str) -> None:
    frame = decode_client(json.dumps(body))
    assert isinstance(frame, Malformed) and frame.code == code


def test_a_bad_frame_keeps_its_request_id() -> None:
    frame = decode_client('{"type":"dance","requestId":"r"}')
    assert isinstance(frame, Malformed) and frame.request_id == "r"


@pytest.mark.parametrize(
    "body",
    [
        {"type": "welcome", "peerId": "", "serverTime": 1, "maxMessageSize": 1},
        {"type": "welcome", "peerId": "p", "serverTime": "1", "maxMessageSize": 1},
        {"type": "welcome", "peerId": "p", "serverTime": 1, "maxMessageSize": 0},
        {"type": "welcome", "peerId": "p", "serverTime": 1, "maxMessageSize": True},
        {"type": "welcome", "peerId": "p", "serverTime": 1.5, "maxMessageSize": 9},
        {"type": "welcome", "peerId": "p", "serverTime": 1, "maxMessageSize": 9, "metadata": []},
        {"type": "ack"},
        {"type": "error"},
        {"type": "message", "channel": "c", "from": "p"},
        {"type": "presence", "channel": "c", "joined": []},
        {"type": "presence", "channel": "c", "joined": [1], "left": []},
        {"type": "presence", "channel": "c", "joined": [{}], "left": []},
        {"type": "subscribe", "channel": "c"},
    ],
    ids=str,
)
def test_bad_server_frames(body: dict[str, Any]) -> None:
    assert isinstance(decode_server(json.dumps(body)), Malformed)


@pytest.mark.parametrize(
    ("ms", "clamped"), [(5, 5), (10**9, 300_000), (-1, 1000), ("x", 1000), (None, 1000), (1.5, 1000)]
)
def test_going_away_is_clamped(ms: Any, clamped: int) -> None:
    assert decode_server(json.dumps({"type": "going_away", "retryAfterMs": ms})) == GoingAwayFrame(clamped)


def test_an_error_message_that_is_no_text_is_left_out() -> None:
    assert decode_server('{"type":"error","code":"x","message":5}') == ErrorFrame("x")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", '{"a":NaN}', "[" * 100_000, '{"type":"ack","requestId":1e999}']
)
def test_texts_that_are_no_frames(text: str) -> None:
    assert isinstance(decode_server(text), Malformed)
    assert isinstance(decode_client(text), Malformed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["type", "channel", "requestId", "data", "to", "from", "peerId", "joined", "left", "code", "retryAfterMs"]
)
TYPES = st.sampled_from(
    ["welcome", "ack", "error", "message", "direct", "presence", "going_away", "pong", "subscribe", "publish", "send"]
)


@patient
@given(st.dictionaries(KEYS, JSON), TYPES)
def test_decoding_is_total(body: dict[str, Any], kind: str) -> None:
    text = json.dumps({**body, "type": kind})
    decode_server(text)
    decode_client(text)


@patient
@given(st.text())
def test_decoding_any_text_is_total(text: str) -> None:
    assert decode_server(text) is not None and decode_client(text) is not None


def test_raw_characters_stay_raw_and_a_lone_surrogate_becomes_an_escape() -> None:
    assert encode(Publish("c", "ü")) == '{"type":"publish","channel":"c","data":"ü"}'
    text = encode(Publish("c", "ü\ud800"))
    assert text.isascii() and decode_client(text) == Publish("c", "ü\ud800")


def test_a_byte_order_mark_is_no_part_of_json() -> None:
    assert isinstance(decode_client('\ufeff{"type":"ping"}'), Malformed)
