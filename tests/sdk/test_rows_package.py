"""Rows 1 to 13: what the package exports, its options, and what it never shows."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import logging
import math
import pickle
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from typing import Any

import metered_realtime as official
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import edge_node
from edge_node.aio.emitter import EventStream
from edge_node.protocol.secrets import scrub
from edge_node.realtime import wire
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.credential import Credential
from edge_node.realtime.logger import Logger, NoopLogger, StdlibLogger
from edge_node.realtime.options import (
    ReconnectOptions,
    SignallingClientOptions,
    backoff_of,
    origin,
)
from edge_node.realtime.peer import MeteredPeer
from tests.support.hub_client import running_hub
from tests.support.peers import token

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MESSAGES = "SignallingClient SignallingClientOptions ReconnectOptions SubscribeOptions Joined Message WsCloseCode"
OPTION_CLASSES = ["SignallingClientOptions", "ReconnectOptions", "SubscribeOptions"]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The package


def test_row_001_the_media_stack_comes_with_the_first_name_that_needs_it() -> None:
    code = f"""
import sys, edge_node
heavy = lambda: sorted({{"av", "aiortc", "numpy", "aiohttp", "pydantic"}} & set(sys.modules))
for name in "{MESSAGES} MeteredRealtimeError MediaStream".split():
    getattr(edge_node, name)
    assert not heavy(), (name, heavy())
edge_node.MeteredPeer
assert "aiortc" in heavy()
"""
    assert run_python(code) == ""


def test_row_002_dir_lists_the_names_and_others_are_attribute_errors() -> None:
    assert set(dir(edge_node)) >= set(official.__all__)
    for name in edge_node.__all__:
        assert getattr(edge_node, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = edge_node.no_such_name


def test_row_003_without_the_media_stack_the_error_names_the_extra() -> None:
    code = """
import sys
sys.modules["aiortc"] = None
import edge_node
edge_node.SignallingClient
try:
    edge_node.MeteredPeer
except ImportError as err:
    print(err)
"""
    assert run_python(code) == "edge_node.MeteredPeer needs aiortc: install it with pip install 'edge-node[webrtc]'"


def test_row_004_it_is_typed_and_counts_in_seconds() -> None:
    assert (ROOT / "edge_node" / "py.typed").is_file()
    assert SpecifierSet(PROJECT["requires-python"]).contains("{}.{}".format(*sys.version_info))
    hints = typing.get_type_hints(SignallingClientOptions) | typing.get_type_hints(ReconnectOptions)
    for name in ("token_provider_timeout", "inactivity_timeout", "initial_delay", "max_delay"):
        assert hints[name] is float


def test_row_005_what_the_extras_of_the_reference_bring_fits_what_we_need() -> None:
    ours = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["hub"]]
    theirs = [Requirement(text) for text in importlib.metadata.requires("metered-realtime") or []]
    for name in ("websockets", "aiortc", "av", "PyJWT"):
        wanted = [r.specifier for r in ours + theirs if r.name.lower() == name.lower()]
        assert len(wanted) >= 2, f"{name} is named by both"
        assert all(w.contains(importlib.metadata.version(name)) for w in wanted), f"one {name} serves both"


def accepts(ours: Any, theirs: Any) -> list[str]:
    """Why a call that `theirs` takes would not mean the same to `ours`."""
    mine, reference = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    problems = []
    for index, (name, parameter) in enumerate(reference.items()):
        if name.startswith("_") or parameter.kind is parameter.VAR_KEYWORD:
            continue
        same = mine.get(name)
        if same is None or same.default != parameter.default:
            problems.append(f"{name}: {same}")
        elif parameter.kind is not parameter.KEYWORD_ONLY and list(mine).index(name) != index:
            problems.append(f"{name} is at another place")
    return problems


def public(cls: type[Any]) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_")]


@pytest.mark.parametrize("name", ["SignallingClient", "MeteredPeer", "DataChannel", "RemotePeer", "MediaStream"])
def test_row_006_classes_take_the_calls_of_the_reference(name: str) -> None:
    ours, theirs = getattr(edge_node, name), getattr(official, name)
    assert set(public(theirs)) <= set(public(ours))
    if name != "RemotePeer":  # made by the SDK itself
        assert accepts(ours, theirs) == []
    for member in public(theirs):
        mine, reference = inspect.getattr_static(ours, member), inspect.getattr_static(theirs, member)
        assert isinstance(mine, property) == isinstance(reference, property), member
        if not isinstance(mine, property):
            assert accepts(mine, reference) == [], member
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(reference), member


def test_row_006_every_name_is_there_with_its_fields_and_values() -> None:
    assert set(official.__all__) <= set(edge_node.__all__)
    for name in official.__all__:
        ours, theirs = getattr(edge_node, name), getattr(official, name)
        if dataclasses.is_dataclass(theirs):
            fields = [(f.name, f.default) for f in dataclasses.fields(theirs)]
            mine = [(f.name, f.default) for f in dataclasses.fields(ours)][: len(fields)]
            assert [n for n, _ in mine] == [n for n, _ in fields], name
            assert all(d == want for (_, d), (_, want) in zip(mine, fields, strict=True)), name
    for state in ("SignallingClientState", "MeteredPeerState", "PeerConnectionState"):
        assert typing.get_args(getattr(edge_node, state)) == typing.get_args(getattr(official, state))
    assert set(typing.get_args(official.ErrorCode)) == {v for k, v in vars(edge_node.ErrorCode).items() if k.isupper()}
    assert {c.name: c.value for c in official.WsCloseCode}.items() <= {
        c.name: c.value for c in edge_node.WsCloseCode
    }.items()
    assert inspect.isclass(EventStream) and edge_node.StreamMetadata == official.StreamMetadata


# Options


@pytest.mark.parametrize("name", OPTION_CLASSES)
def test_row_007_options_are_keywords_with_the_defaults_of_the_reference(name: str) -> None:
    ours, theirs = getattr(edge_node, name), getattr(official, name)
    assert accepts(ours, theirs) == []
    with pytest.raises(TypeError):
        ours("positional")


@pytest.mark.parametrize("cls", [SignallingClient, MeteredPeer])
async def test_row_007_one_object_or_the_same_names_as_keywords(cls: Any) -> None:
    values: dict[str, Any] = {"api_key": "pk_x", "url": "ws://localhost", "inactivity_timeout": 5.0}
    for client in (
        cls(SignallingClientOptions(**values)),
        cls(options=SignallingClientOptions(**values)),
        cls(**values),
    ):
        assert client.state == "idle"
        await client.close()


@pytest.mark.parametrize("cls", [SignallingClient, MeteredPeer])
@pytest.mark.parametrize(
    ("key", "provider"),
    [(None, None), ("pk", lambda: "t"), ("", None), (5, None), (None, "token")],
    ids=["none", "both", "empty", "int", "text as provider"],
)
def test_row_008_exactly_one_credential(cls: Any, key: Any, provider: Any) -> None:
    with pytest.raises(ValueError):
        cls(api_key=key, token_provider=provider)


BAD_URLS = [
    "host",
    "wss://",
    "http://host",
    "wss://host/v1",
    "wss://host?key=x",
    "wss://host#x",
    "wss://host:99999",
    "wss://host:port",
    "ws://192.168.1.5",
    "ws://example.com",
]


@pytest.mark.parametrize("cls", [SignallingClient, MeteredPeer, official.SignallingClient])
@pytest.mark.parametrize("url", BAD_URLS)
def test_row_009_bad_addresses(cls: Any, url: str) -> None:
    with pytest.raises(ValueError):
        cls(api_key="pk_x", url=url)


@pytest.mark.parametrize(
    "url", [None, "wss://host/", "wss://h:8443", "ws://localhost:9292", "ws://[::1]:1", "ws://127.0.0.1"]
)
def test_row_009_good_addresses(url: str | None) -> None:
    assert origin(url) == (url or "wss://rms.metered.ca").rstrip("/")
    official.SignallingClient(api_key="pk_x", url=url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial_delay": 0},
        {"multiplier": 0.5},
        {"max_delay": 0.1},
        {"jitter_ratio": 1.5},
        {"jitter_ratio": -0.1},
        {"max_attempts": -1},
        {"max_attempts": math.nan},
    ],
    ids=str,
)
def test_row_010_schedules_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReconnectOptions(**wrong)
    assert ReconnectOptions(max_attempts=math.inf).policy().max_attempts == math.inf


def test_row_011_no_reconnect_or_the_default_one() -> None:
    assert backoff_of(False) is None
    assert backoff_of(True) == ReconnectOptions().policy()
    with pytest.raises(ValueError, match="connect_retry"):
        SignallingClient(api_key="pk_x", reconnect=False, connect_retry=True)


# Secrets


async def test_row_012_no_repr_shows_the_credential_and_it_is_not_pickled() -> None:
    secret = "pk_very_secret"
    options = SignallingClientOptions(api_key=secret, url="ws://localhost")
    client, peer, credential = SignallingClient(options), MeteredPeer(options), Credential(secret, None)
    server = edge_node.IceServerConfig("turn:a", "user", secret)
    for it in (client, peer, credential, options, server, vars(client)):
        assert secret not in repr(it) and secret not in str(it)
    assert secret not in repr(Credential(None, lambda: secret))
    for it in (credential, client):
        with pytest.raises(TypeError):
            pickle.dumps(it)
    await client.close()
    await peer.close()


SECRETS = [
    "wss://h/v1?key=pk_SECRET&x=1",
    "wss://h/v1?x=1&token=eyJSECRET",
    "api_key='pk_SECRET'",
    "v=0\r\na=ice-ufrag:SECRET\r\na=ice-pwd:SECRET\r\na=mid:0",
    r'{"sdp":"a=ice-ufrag:SECRET\r\na=ice-pwd:SECRET\r\n"}',
    '{"urls": "turn:a", "credential": "SECRET"}',
    r"{\"credential\":\"SECRET\"}",
    "{'urls': 'turn:a', 'credential': 'SECRET'}",
]


class Diary:
    """A program's own logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self.lines.append(f"{msg} {ctx}")

    info = warning = error = debug


@pytest.mark.parametrize("text", SECRETS)
def test_row_013_texts_are_masked_wherever_they_go(text: str, caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    assert isinstance(diary, Logger) and isinstance(NoopLogger(), Logger)
    client = SignallingClient(api_key="pk_x", url="ws://localhost", logger=diary)
    with caplog.at_level(logging.DEBUG):
        for logger in (StdlibLogger(), NoopLogger(), client._log):
            for level in ("debug", "info", "warning", "error"):
                getattr(logger, level)(f"said {text}", {"what": text, "error": ValueError(text), "count": 5})
                getattr(logger, level)("plain")
    lines = [r.getMessage() for r in caplog.records] + diary.lines
    assert len(lines) == 16 and not [line for line in lines if "SECRET" in line]
    assert all("said" in line and "5" in line for line in lines[::2])
    rest = scrub(text)
    assert "***" in rest and scrub(rest) == rest
    for kept in ("wss://h/v1?", "x=1", "a=mid:0", "turn:a"):
        assert (kept in rest) == (kept in text)


async def test_row_013_a_whole_conversation_is_logged_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    secret = token("me")
    with caplog.at_level(logging.DEBUG):
        async with running_hub() as hub:
            async with SignallingClient(token_provider=lambda: secret, url=hub.url) as client:
                await client.subscribe("c")
                await client.publish("c", {"description": {"sdp": "a=ice-pwd:SECRET\r\n"}})
            with pytest.raises(edge_node.SignallingConnectError) as refused:
                await SignallingClient(api_key="pk_SECRET", url=hub.url).connect()
            with pytest.raises(edge_node.SignallingConnectError) as unreachable:
                await SignallingClient(api_key="pk_SECRET", url="ws://localhost:9").connect()
    texts = [r.getMessage() for r in caplog.records] + [str(refused.value), str(unreachable.value)]
    assert any(r.name == wire.__name__ and "GET /v1?token=***" in r.getMessage() for r in caplog.records)
    assert not [text for text in texts if secret in text or "SECRET" in text]
