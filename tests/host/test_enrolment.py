"""A device against a real hub: its key, its claim, its tokens, what it says when something is wrong."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from edge_node import durable
from edge_node.errors import RetryLater, SettingsError
from edge_node.host import enrolment
from edge_node.host.enrolment import DeviceTokens, Refused, claim_hash, device_key
from edge_node.host.tokens import token_provider
from edge_node.hub.enrol_file import add_claims, new_claim
from edge_node.settings import from_dict
from tests.support.clock import ManualClock
from tests.support.hub_client import client, running_hub
from tests.support.raw_server import answering


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hub" / "enrolment.json"


def claim_on_card(file: Path, state: Path, node: str = "gate-1", **more: Any) -> str:
    claim, code = new_claim(0, node, hours=1)
    add_claims(file, [claim.model_copy(update={"expires": 4_000_000_000})], 0)
    (state / "claim.json").write_text(json.dumps({"code": code, **more}))
    return code


def tokens(
    url: str, state: Path, clock: ManualClock | None = None, ca: Path | None = None
) -> Callable[[], Awaitable[str]]:
    settings = from_dict(
        {
            "node": {"id": "gate-1"},
            "channel": {"name": "home/gate", "url": url, "enrolled": True} | ({"ca_file": str(ca)} if ca else {}),
        }
    )
    provider = DeviceTokens.of(settings, state, clock or ManualClock())
    return lambda: asyncio.to_thread(provider)


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_a_device_enrols_once_then_gets_tokens(file: Path, state: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    urllib.request.install_opener(None)  # as in a new process
    async with running_hub(keys={"file": file.with_name("keys.json")}) as hub:
        code = claim_on_card(file, state)
        provider = tokens(hub.url, state)
        for _ in range(2):
            async with client(hub, f"token={await provider()}") as it:
                assert it.peer_id == "gate-1"
        assert content(state / "claim.json") == "", "the claim is spent"
        assert json.loads(content(state / "identity.json"))["claim_sha256"] == claim_hash(code)
        # A power cut before the claim was deleted: it is offered once more.
        (state / "claim.json").write_text(json.dumps({"code": code}))
        assert await tokens(hub.url, state)()
    assert urllib.request._opener is None, "one that stays has all the system's authorities in it"  # type: ignore[attr-defined]
    assert code not in caplog.text and "BEGIN" not in caplog.text
    assert modes(state) == {"identity.key": "0o600", "identity.json": "0o600"}


async def test_a_refusal_is_told_once_and_not_repeated_for_a_minute(
    file: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with running_hub(keys={"file": file.with_name("keys.json")}) as hub:
        claim_on_card(file, state, node="gate-2")
        provider = tokens(hub.url, state, clock)
        for _ in range(3):
            with pytest.raises(Refused, match="for gate-2"):
                await provider()
        assert caplog.text.count("the hub refuses this device") == 1
        claim_on_card(file, state)
        clock.advance(enrolment.REFUSED_WAIT_S)
        assert await provider()
        # Somebody puts the card of a used claim into an enrolled device: it stays what it is.
        claim_on_card(file, state, node="gate-2")
        assert await tokens(hub.url, state)()
        assert "the identity stays" in caplog.text and not content(state / "claim.json")


async def test_a_read_only_disk(
    file: Path, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put = durable.put

    def read_only(path: Path, *words: Any, **more: Any) -> None:
        if path.is_relative_to(file.parent):  # the hub's own disk is fine
            return put(path, *words, **more)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    ca = state.parent / "etc" / "ca.crt"
    ca.parent.mkdir()
    async with tls_hub(file) as hub:
        pem = (file.parent / "tls" / "ca.crt").read_text()
        right = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        claim_on_card(file, state, ca_sha256=right)
        device_key(state)
        before = modes(state)
        with monkeypatch.context() as patched:
            patched.setattr(durable, "put", read_only)
            with pytest.raises(RetryLater, match=r"ca\.crt cannot be written \(Read-only file system\)"):
                await tokens(hub.url, state, ca=ca)()
            assert not ca.exists(), "never half of one"
            ca.write_text(pem)
            provider = tokens(hub.url, state, ca=ca)
            for _ in range(2):
                with pytest.raises(RetryLater, match=r"identity\.json cannot be written \(Read-only file system\)"):
                    await provider()
            assert modes(state) == before, "the claim waits"
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", read_only)
            for _ in range(2):
                assert await provider(), "the device is enrolled: nothing keeps it from its tokens"
        assert caplog.text.count("the used claim stays in") == 1 and content(state / "claim.json")


async def test_without_a_claim_or_a_network(state: Path) -> None:
    with pytest.raises(RetryLater, match="not enrolled"):
        await tokens("ws://127.0.0.1:9", state)()
    (state / "claim.json").write_text('{"code": "claim-x.y"}')
    with pytest.raises(RetryLater, match="cannot be reached"):
        await tokens("ws://127.0.0.1:9", state)()
    assert content(state / "claim.json"), "it waits for the network"
    (state / "identity.key").write_text("nonsense")
    with pytest.raises(RetryLater, match="spoilt"):
        await tokens("ws://127.0.0.1:9", state)()
    with pytest.raises(RetryLater, match="cannot be read or written"):
        device_key(state / "none")


async def test_the_hubs_own_authority_is_known_by_its_fingerprint(file: Path, state: Path) -> None:
    ca = state / "hub-ca.crt"
    async with tls_hub(file) as hub:
        pem = (file.parent / "tls" / "ca.crt").read_text()
        right = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        claim_on_card(file, state)
        with pytest.raises(RetryLater, match="not trusted"):
            await tokens(hub.url, state, ca=ca)()
        claim_on_card(file, state, ca_sha256="00" * 32)
        with pytest.raises(Refused, match="other than the card says"):
            await tokens(hub.url, state, ca=ca)()
        claim_on_card(file, state, ca_sha256=right)
        assert await tokens(hub.url, state, ca=ca)()
        assert content(ca) == pem


async def test_a_new_card_brings_the_authority_of_a_hub_that_was_made_anew(
    file: Path, state: Path, tmp_path: Path
) -> None:
    ca, before = state / "hub-ca.crt", tmp_path / "before"
    async with tls_hub(before / "enrolment.json"):
        old = (before / "tls" / "ca.crt").read_text()
    ca.write_text(old)
    async with tls_hub(file) as hub:
        pem = (file.parent / "tls" / "ca.crt").read_text()
        claim_on_card(file, state, ca_sha256=hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper())
        assert await tokens(hub.url, state, ca=ca)()
        assert content(ca) == pem
        ca.write_text(f"one of several\n{old}{pem}")
        claim_on_card(file, state, ca_sha256=hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest())
        assert await tokens(hub.url, state, ca=ca)()
        assert "one of several" in content(ca), "what is trusted already is left alone"


def tls_hub(file: Path) -> Any:
    return running_hub(keys={"file": file.with_name("keys.json")}, state_dir=file.parent, tls={"self_made": True})


async def test_something_else_than_a_hub(state: Path) -> None:
    async with running_hub() as hub:  # enrols nobody
        (state / "claim.json").write_text('{"code": "claim-x.y"}')
        with pytest.raises(Refused, match="refuses"):
            await tokens(hub.url, state)()


@pytest.mark.parametrize(
    "reply",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 60_000, b"HTTP/1.0 400 x\r\n\r\n" + b"[" * 60_000],
)
async def test_what_is_no_web_server_at_all(state: Path, reply: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (state / "identity.json").write_text("{}")
    async with answering(reply) as port:
        with pytest.raises(RetryLater, match=r"channel\.url"):
            await tokens(f"ws://127.0.0.1:{port}", state)()
    assert "channel.url" in caplog.text


async def test_an_authority_that_is_none(state: Path, tmp_path: Path) -> None:
    (state / "identity.json").write_text("{}")
    (state / "ca.crt").write_text("lost its power")
    for path in (state / "ca.crt", tmp_path):
        with pytest.raises(RetryLater, match=f"the authority in {path} cannot be read .*: check channel.ca_file"):
            await tokens("wss://127.0.0.1:9", state, ca=path)()


def test_answers_and_failures_in_words() -> None:
    assert "HTTP status 404" in str(enrolment._refusal(404, b"<html>"))
    assert "the hub fails" in str(enrolment._refusal(503, b'{"error": "x", "message": "y"}'))
    early = ssl.SSLCertVerificationError(1, "x")
    early.verify_code = 9
    assert "clock is behind" in enrolment._why(urllib.error.URLError(early))
    early.verify_code = 10
    assert "clock is ahead" in enrolment._why(urllib.error.URLError(early))


def test_only_the_daemon_uses_the_identity() -> None:
    with pytest.raises(SettingsError, match="daemon"):
        token_provider(from_dict({"channel": {"name": "a", "enrolled": True}}).channel)
    with pytest.raises(SettingsError, match="keep one credential"):
        from_dict({"channel": {"name": "a", "enrolled": True, "api_key": "pk"}})
