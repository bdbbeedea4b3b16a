from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.protocol import payloads as p
from tests.support.property import patient


def test_descriptions_and_marks_round_trip() -> None:
    assert p.read(p.description("offer", "v=0")) == p.Description("offer", "v=0")
    assert p.read(p.end_of_candidates()) == p.EndOfCandidates()
    meta = p.TrackMeta("t", {"role": "x"}, "s", "audio")
    assert p.read(p.track_meta(meta)) == meta
    assert p.read(p.track_meta(p.TrackMeta("t", {}))) == p.TrackMeta("t", {})
    cleared = p.track_meta(p.TrackMeta("t", None, "s", "audio"))
    assert cleared == {"__meteredTrackMeta": {"trackId": "t"}} and p.read(cleared) == p.TrackMeta("t")


def test_a_hello_is_the_clear_of_a_track_nobody_has() -> None:
    assert p.hello(p.Hello("me")) == {"__meteredTrackMeta": {"trackId": "edge-node/epoch", "epoch": "me"}}
    for said in (p.Hello("me"), p.Hello("me", "you")):
        assert p.read(p.hello(said)) == said
    garbled = p.read({"__meteredTrackMeta": {"trackId": "edge-node/epoch", "epoch": "me", "of": "x" * 257}})
    assert garbled == p.Hello("me")
    for epoch in (5, "", "x" * 257, None):
        assert p.read({"__meteredTrackMeta": {"trackId": "edge-node/epoch", "epoch": epoch}}) == p.TrackMeta(
            "edge-node/epoch"
        )


def test_own_candidates_are_read_as_browsers_write_them() -> None:
    line = "1 1 udp 1 10.0.0.1 5 typ srflx raddr 0.0.0.0 rport 9"
    sent = p.candidate(f"candidate:{line}", "0", "frag")
    assert p.read(sent) == p.Candidate(line, "0", None)
    assert p.read(p.candidate(f"candidate:{line}", None, None)) == p.Candidate(line, None, 0)


@pytest.mark.parametrize(
    ("candidate", "read"),
    [
        ({"candidate": "candidate:1 1 udp 1 10.0.0.1 5 typ host"}, p.Candidate("1 1 udp 1 10.0.0.1 5 typ host")),
        ({"candidate": "a=candidate:x", "sdpMid": "0", "sdpMLineIndex": 2}, p.Candidate("x", "0", 2)),
        ({"candidate": "x", "sdpMid": 5, "sdpMLineIndex": True}, p.Candidate("x")),
        ({"candidate": "x", "sdpMid": "m" * 257}, p.Candidate("x")),
        ({"candidate": ""}, p.EndOfCandidates()),
        (None, p.EndOfCandidates()),
        ({}, p.Unusable("an ICE candidate without text, or too long")),
        ({"candidate": "x" * 1001}, p.Unusable("an ICE candidate without text, or too long")),
        ("text", None),
    ],
    ids=str,
)
def test_candidates(candidate: Any, read: Any) -> None:
    assert p.read({"type": "rtc-ice", "candidate": candidate}) == read


@pytest.mark.parametrize(
    "data",
    [
        None,
        5,
        "rtc-ice",
        [],
        {},
        {"type": "rtc-ice"},
        {"type": "rtc-description"},
        {"type": "rtc-description", "description": {"type": "rollback", "sdp": ""}},
        {"type": "rtc-description", "description": {"type": "offer"}},
        {"__meteredTrackMeta": 5},
        {"__meteredTrackMeta": {}},
        {"__meteredTrackMeta": {"trackId": ""}},
        {"__meteredTrackMeta": {"trackId": "t", "metadata": []}},
        {"__meteredTrackMeta": {"trackId": "t", "streamId": ""}},
        {"__meteredTrackMeta": {"trackId": "t", "kind": "k" * 257}},
    ],
    ids=str,
)
def test_what_is_no_signal_is_the_users(data: Any) -> None:
    assert p.read(data) is None


def test_ice_servers_drop_only_the_bad_ones() -> None:
    raw = [
        {"urls": "stun:a"},
        {"urls": ["turn:b", "turns:b"], "username": "u", "credential": "c"},
        {"urls": "http://c"},
        {"urls": []},
        {"urls": ["turn:d", 5]},
        {"urls": "turn:" + "e" * 512},
        {"urls": "turn:f", "credential": "x" * 1025},
        {"urls": "turn:g", "username": 5},
        {"urls": ["TURN:h.example:3478?transport=tcp", "turns:[::1]:5349"]},
        {"urls": "turn:keeper:s3cret@host"},
        {"urls": "turn:host/path"},
        {"urls": "stun:"},
        "text",
    ]
    servers, problems = p.ice_servers({"iceServers": raw})
    assert servers == [
        p.IceServerConfig("stun:a"),
        p.IceServerConfig(["turn:b", "turns:b"], "u", "c"),
        p.IceServerConfig("turn:g"),
        p.IceServerConfig(["TURN:h.example:3478?transport=tcp", "turns:[::1]:5349"]),
    ]
    assert len(problems) == 9 and "s3cret" not in str(problems)
    assert "secret" not in repr(p.IceServerConfig("turn:a", "u", "secret"))


def test_ice_servers_that_are_not_there() -> None:
    assert p.ice_servers(None) == p.ice_servers({}) == p.ice_servers({"iceServers": 5}) == (None, [])
    many, problems = p.ice_servers({"iceServers": [{"urls": "stun:a"}] * 20})
    assert many is not None and len(many) == 16 and problems == ["4 ICE servers too many"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@patient
@given(JSON, st.sampled_from(["type", "candidate", "description", "__meteredTrackMeta"]), JSON)
def test_reading_is_total(data: Any, key: str, value: Any) -> None:
    p.read(data)
    for kind in ("rtc-ice", "rtc-description", "other"):
        p.read({"type": kind, key: value})
    p.ice_servers({"iceServers": value})
