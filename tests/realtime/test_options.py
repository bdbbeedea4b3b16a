from __future__ import annotations

import math

import pytest

from edge_node.realtime.credential import Credential
from edge_node.realtime.options import (
    ReconnectOptions,
    SignallingClientOptions,
    backoff_of,
    connect_url,
    origin,
)
from edge_node.realtime.streams import MediaStream
from tests.support.peers import Tone


@pytest.mark.parametrize(
    ("url", "lan", "expected"),
    [
        (None, False, "wss://rms.metered.ca"),
        ("wss://host/", False, "wss://host"),
        ("wss://HOST:8443", False, "wss://host:8443"),
        ("ws://localhost:9292", False, "ws://localhost:9292"),
        ("ws://[::1]:1", False, "ws://[::1]:1"),
        ("ws://127.0.0.1", False, "ws://127.0.0.1"),
        ("ws://192.168.1.5:9292", True, "ws://192.168.1.5:9292"),
        ("ws://[fe80::1]", True, "ws://[fe80::1]"),
        ("ws://hub.local", True, "ws://hub.local"),
        ("ws://hub", True, "ws://hub"),
    ],
)
def test_origins(url: str | None, lan: bool, expected: str) -> None:
    assert origin(url, allow_insecure_lan=lan) == expected


@pytest.mark.parametrize(
    ("url", "lan"),
    [
        ("host", False),
        ("wss://", False),
        ("http://host", False),
        ("wss://host/v1", False),
        ("wss://host?key=x", False),
        ("wss://host#x", False),
        ("wss://user:pw@host", False),
        ("wss://host:99999", False),
        ("ws://192.168.1.5", False),
        ("ws://8.8.8.8", True),
        ("ws://example.com", True),
    ],
)
def test_no_origins(url: str, lan: bool) -> None:
    with pytest.raises(ValueError):
        origin(url, allow_insecure_lan=lan)


def test_schedules() -> None:
    assert backoff_of(False) is None
    default = backoff_of(True)
    assert default is not None and (default.initial_s, default.max_s, default.max_attempts) == (0.5, 30.0, 100)
    patient = backoff_of(ReconnectOptions(max_delay=2), for_ever=True)
    assert patient is not None and (patient.max_s, patient.max_attempts) == (2, math.inf)


async def test_the_address_is_quoted() -> None:
    credential = Credential("pk/ä", None)
    assert connect_url("wss://h", credential, await credential.value()) == "wss://h/v1?key=pk%2F%C3%A4"
    assert "pk" not in repr(credential) and "secret" not in repr(SignallingClientOptions(api_key="secret"))


def test_streams() -> None:
    tone = Tone()
    stream = MediaStream([tone])
    stream.add_track(tone)
    assert stream.get_tracks() == stream.get_audio_tracks() == [tone] and stream.get_video_tracks() == []
    assert len(stream.id) == 32 and "audio" in repr(stream)
    stream.remove_track(tone)
    stream.remove_track(tone)
    assert stream.get_tracks() == []
