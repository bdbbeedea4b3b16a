from __future__ import annotations

import logging
import math
import subprocess
import sys
from typing import Any

import pytest

import edge_node
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.logger import Logger, NoopLogger, StdlibLogger, scrub
from edge_node.realtime.options import (
    Credential,
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


@pytest.mark.parametrize(
    "wrong",
    [{"initial_delay": 0}, {"multiplier": 0.5}, {"max_delay": 0.1}, {"jitter_ratio": 1.5}, {"max_attempts": -1}],
    ids=str,
)
def test_wrong_schedules(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ReconnectOptions(**wrong)


def test_schedules() -> None:
    assert backoff_of(False) is None
    default = backoff_of(True)
    assert default is not None and (default.initial_s, default.max_s, default.max_attempts) == (0.5, 30.0, 100)
    patient = backoff_of(ReconnectOptions(max_delay=2), for_ever=True)
    assert patient is not None and (patient.max_s, patient.max_attempts) == (2, math.inf)


@pytest.mark.parametrize(
    ("key", "provider"),
    [(None, None), ("pk", lambda: "t"), ("", None), (5, None)],
    ids=["none", "both", "empty", "int"],
)
def test_one_credential(key: Any, provider: Any) -> None:
    with pytest.raises(ValueError):
        Credential(key, provider)


async def test_the_address_is_quoted() -> None:
    credential = Credential("pk/ä", None)
    assert connect_url("wss://h", credential, await credential.value()) == "wss://h/v1?key=pk%2F%C3%A4"
    assert "pk" not in repr(credential) and "secret" not in repr(SignallingClientOptions(api_key="secret"))


async def test_options_in_both_forms() -> None:
    for client in (
        SignallingClient(SignallingClientOptions(api_key="pk_x", url="ws://localhost")),
        SignallingClient(api_key="pk_x", url="ws://localhost"),
    ):
        assert client.state == "idle"
        await client.close()
    with pytest.raises(ValueError):
        SignallingClient()


def test_texts_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    assert (
        scrub("wss://h/v1?key=pk_x&token=abc a=ice-pwd:xyz")
        == "wss://h/v1?key=<hidden>&token=<hidden> a=ice-pwd:<hidden>"
    )
    logger = StdlibLogger()
    assert isinstance(logger, Logger) and isinstance(NoopLogger(), Logger)
    with caplog.at_level(logging.DEBUG):
        for level in ("debug", "info", "warning", "error"):
            getattr(logger, level)("said ?token=abc", {"url": "?key=pk_x"})
            getattr(NoopLogger(), level)("nothing")
    assert [r.getMessage() for r in caplog.records] == ["said ?token=<hidden> url=?key=<hidden>"] * 4
    with caplog.at_level(logging.ERROR):
        logger.debug("unheard")
    assert len(caplog.records) == 4


def test_streams() -> None:
    tone = Tone()
    stream = MediaStream([tone])
    stream.add_track(tone)
    assert stream.get_tracks() == stream.get_audio_tracks() == [tone] and stream.get_video_tracks() == []
    assert len(stream.id) == 32 and "audio" in repr(stream)
    stream.remove_track(tone)
    stream.remove_track(tone)
    assert stream.get_tracks() == []


def test_every_public_name_is_there_and_unknown_ones_are_not() -> None:
    for name in edge_node.__all__:
        assert getattr(edge_node, name) is not None
    assert dir(edge_node) == sorted(edge_node.__all__)
    with pytest.raises(AttributeError):
        _ = edge_node.no_such_name


@pytest.mark.parametrize("name", ["SignallingClient", "ReconnectOptions", "Joined", "MediaStream", "WsCloseCode"])
def test_messages_need_no_media_stack(name: str) -> None:
    code = (
        f"import sys; from edge_node import {name}; "
        "sys.exit(', '.join({'av', 'aiortc', 'numpy', 'aiohttp'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
