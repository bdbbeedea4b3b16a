"""The telemetry sample: every key of the contract, null for the unknown, total parsing."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.telemetry.sample import (
    DEFAULT_INTERVAL_S,
    MAX_PEERS,
    MAX_TEXT_CHARS,
    NoSample,
    Sample,
    build,
    parse,
    to_message,
)

CONTRACT = {
    "host": {
        "cpu_percent",
        "load_1m",
        "memory_used_percent",
        "disk_used_percent",
        "soc_temp_c",
        "throttled",
        "wifi_rssi_dbm",
        "clock_synced",
    },
    "channel": {"state", "peers", "reconnects"},
    "video": {
        "state",
        "source",
        "encoder",
        "width_px",
        "height_px",
        "fps",
        "kbps",
        "viewers",
        "keyframes",
        "dropped_frames",
        "limited_by",
        "warning",
    },
    "audio": {
        "state",
        "xruns",
        "playout_ms",
        "echo_cancel",
        "echo_return_loss_db",
        "mic_level_dbfs",
        "speaker_level_dbfs",
        "device_ms",
    },
    "call": {"state", "call"},
    "service": {"version", "rss_mb", "restarts", "degraded", "update"},
}
FULL: dict[str, Any] = {
    "host": {
        "cpu_percent": 12.5,
        "load_1m": 0.4,
        "memory_used_percent": 40,
        "disk_used_percent": 20.0,
        "soc_temp_c": 51.54,
        "throttled": ["under_voltage"],
        "wifi_rssi_dbm": -60,
        "clock_synced": True,
    },
    "channel": {"state": "joined", "peers": 2, "reconnects": 0},
    "video": {"state": "up", "source": "rtsp", "fps": 29.97, "kbps": 1800.0, "viewers": 2, "width_px": 1280},
    "audio": {"state": "up", "xruns": 0, "mic_level_dbfs": -30.5},
    "call": {"state": "active", "call": "c1"},
    "service": {"version": "0.1.0", "rss_mb": 80.1, "restarts": 1, "degraded": ["panel"]},
}


def sample(**parts: Any) -> Sample:
    return build(node="front-door", at=1_700_000_000.1234, seq=7, uptime_s=12.34, **parts)


def test_every_key_of_the_contract_is_there_and_null_when_unknown() -> None:
    message = to_message(sample())
    assert set(message) == {"type", "v", "node", "at", "seq", "uptime_s", "interval_s", "peers", *CONTRACT}
    assert (message["type"], message["v"], message["seq"]) == ("telemetry", 1, 7)
    assert message["at"] == 1_700_000_000.123
    for part, keys in CONTRACT.items():
        assert set(message[part]) == keys
        assert all(value is None for value in message[part].values())


def test_a_full_sample_survives_the_wire() -> None:
    peers = [{"id": "anna", "rtt_ms": 20.5, "loss_percent": 0.0, "jitter_ms": 3.0, "kbps": 900.0}]
    full = sample(peers=peers, interval_s=2.5, **FULL)
    message = to_message(full)
    assert json.loads(json.dumps(message)) == message
    assert parse(message) == full
    assert message["peers"] == peers
    assert message["host"]["throttled"] == ["under_voltage"]


def test_late_is_there_only_when_true() -> None:
    message = to_message(sample())
    assert "late" not in message
    late = parse({**message, "late": True})
    assert isinstance(late, Sample)
    assert late.late
    assert to_message(late)["late"] is True


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "12", True, 10**400, [1]])
def test_what_is_no_number_becomes_null(value: Any) -> None:
    assert sample(host={"cpu_percent": value}).host.cpu_percent is None
    assert sample(channel={"peers": value}).channel.peers is None


def test_values_are_brought_to_their_kind_and_bound() -> None:
    one = sample(
        host={"clock_synced": 1, "throttled": {"b", "a"}, "load_1m": 1 / 3},
        channel={"state": "x" * 1000, "peers": 2.0},
        service={"degraded": ["mic", 3, "x" * 1000] + ["y"] * 100, "version": 3},
    )
    assert one.host.clock_synced is None
    assert one.host.throttled == ("a", "b")
    assert one.host.load_1m == 0.333
    assert one.channel.peers == 2
    assert one.channel.state == "x" * MAX_TEXT_CHARS
    assert one.service.version is None
    assert one.service.degraded is not None
    assert one.service.degraded[:2] == ("mic", "x" * MAX_TEXT_CHARS)
    assert len(one.service.degraded) == 32


def test_peers_are_bounded_and_named() -> None:
    crowd: list[Any] = [{"id": f"p{n}"} for n in range(MAX_PEERS + 5)]
    assert len(sample(peers=crowd).peers) == MAX_PEERS
    assert [peer.id for peer in sample(peers=[{"rtt_ms": 1}, 3, {"id": "a"}]).peers] == ["a"]


def test_names_that_the_schema_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="no part 'hots'"):
        sample(hots={})
    with pytest.raises(ValueError, match="'host' of a telemetry sample has no field 'cpu'"):
        sample(host={"cpu": 1})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "call.ring"}, "no telemetry message"),
        ({"v": 2}, "version 2 is unknown"),
        ({"node": None}, "is missing"),
        ({"at": "now"}, "is missing"),
        ({"seq": None}, "is missing"),
    ],
)
def test_what_is_no_sample(change: dict[str, Any], reason: str) -> None:
    found = parse({**to_message(sample()), **change})
    assert isinstance(found, NoSample)
    assert reason in found.reason


def test_unknown_fields_and_broken_parts_are_ignored() -> None:
    message = {**to_message(sample()), "host": 3, "peers": "none", "new": 1, "uptime_s": None, "interval_s": -1}
    found = parse({**message, "video": {"fps": 30, "hdr": True}})
    assert isinstance(found, Sample)
    assert found.video.fps == 30.0
    assert found.peers == ()
    assert found.interval_s == DEFAULT_INTERVAL_S
    assert found.uptime_s == 0.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["node", "at", "seq", "uptime_s", "interval_s", "peers", "late", *CONTRACT])


@given(JSON | st.dictionaries(KEYS, JSON, max_size=8).map(lambda m: {"type": "telemetry", "v": 1, **m}))
def test_parsing_never_raises_and_what_it_gives_is_json(message: Any) -> None:
    found = parse(message)
    if isinstance(found, Sample):
        text = json.dumps(to_message(found), allow_nan=False)
        assert parse(json.loads(text)) == found
