"""Claims become identities, identities become tokens, revocation ends both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_node.errors import SettingsError, UsageError
from edge_node.hub import enrol, enrol_file, reload
from edge_node.hub.enrol import NONCE_S, Nonces
from edge_node.hub.enrol_file import add_claims, new_claim, read_register, revoke_claims, revoke_device
from edge_node.hub.server import Hub
from edge_node.protocol.enrolment import enrol_message, token_message
from tests.support.hub_client import client, refused_with, running_hub
from tests.support.waiting import eventually


class Pi:
    """A device by hand."""

    def __init__(self, hub: Hub, web: ClientSession, node: str) -> None:
        self.hub, self.web, self.node = hub, web, node
        self.private = Ed25519PrivateKey.generate()
        self.key = self.private.public_key().public_bytes_raw().hex()

    async def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        async with self.web.post(self.hub.http_url + path, json=body) as answer:
            return answer.status, await answer.json()

    async def enrol(self, claim: str, other: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        proof = self.private.sign(enrol_message(claim, self.node, self.key)).hex()
        return await self.post(
            "/v1/enrol", **{"claim": claim, "node": self.node, "key": self.key, "proof": proof} | (other or {})
        )

    async def nonce(self) -> str:
        _, answer = await self.post("/v1/token", node=self.node)
        return str(answer["nonce"])

    async def answer(self, nonce: str) -> tuple[int, dict[str, Any]]:
        signature = self.private.sign(token_message(self.node, nonce)).hex()
        return await self.post("/v1/token", node=self.node, nonce=nonce, signature=signature)

    async def token(self) -> str:
        status, answer = await self.answer(await self.nonce())
        assert status == 200, answer
        return str(answer["token"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hub" / "enrolment.json"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reload, "EVERY_S", 0.05)
    yield


def claim_for(file: Path, node: str, hours: float = 1, **scope: Any) -> str:
    claim, code = new_claim(1_800_000_000, node, hours=hours, **scope)
    claim = claim.model_copy(update={"expires": 4_000_000_000 if hours > 0 else 1})
    add_claims(file, [claim], 0)
    return code


def hub_at(file: Path, **values: Any) -> Any:
    return running_hub(keys={"file": file.with_name("keys.json")}, **values)


def put(file: Path, text: str, mode: int = 0o600) -> None:
    file.write_text(text)
    file.chmod(mode)


def assert_kept_without(file: Path, code: str) -> None:
    assert code.partition(".")[2] not in file.read_text(), "only a hash is kept"
    assert file.stat().st_mode & 0o777 == 0o600


async def test_from_a_claim_to_the_channel(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with hub_at(file) as hub, ClientSession() as web:
        code = claim_for(file, "gate-1", channels=["home/*"], permissions=["publish", "subscribe", "presence"])
        pi = Pi(hub, web, "gate-1")
        status, answer = await pi.enrol(code)
        assert status == 200 and answer["channels"] == ["home/*"] and answer["node"] == "gate-1"
        async with client(hub, f"token={await pi.token()}") as it:
            assert it.peer_id == "gate-1", "the peer id that the hub stamps is the node's"
            joined = await it.ask(type="subscribe", channel="home/front-door")
            assert joined["type"] != "error"
            assert (await it.ask(type="subscribe", channel="office"))["type"] == "error"
            revoke_device(file, "gate-1", 5)
            assert await it.close_code() == 4001, "revocation closes what is open"
        assert (await pi.answer(await pi.nonce()))[1]["error"] == "not_enrolled"
        assert (await pi.enrol(code))[1]["error"] == "revoked"
        assert "no longer enrolled: device:gate-1" in caplog.text
    assert code not in caplog.text
    assert_kept_without(file, code)


async def test_a_claim_is_used_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with hub_at(file) as hub, ClientSession() as web:
        code = claim_for(file, "gate-1")
        first, second = Pi(hub, web, "gate-1"), Pi(hub, web, "gate-1")
        assert (await first.enrol(code))[0] == 200
        assert (await first.enrol(code))[0] == 200, "its answer may have been lost in a power cut"
        status, answer = await second.enrol(code)
        assert (status, answer["error"]) == (409, "claim_used") and "another device" in answer["message"]
        assert "used already" in caplog.text
        assert await first.token(), "nobody is thrown out by that"


async def test_a_new_claim_takes_the_place_of_the_old_key(file: Path) -> None:
    async with hub_at(file) as hub, ClientSession() as web:
        old, new = Pi(hub, web, "gate-1"), Pi(hub, web, "gate-1")
        await old.enrol(claim_for(file, "gate-1"))
        token = await old.token()
        async with client(hub, f"token={token}") as it:
            assert it.peer_id == "gate-1"
            assert (await new.enrol(claim_for(file, "gate-1")))[0] == 200
            assert await it.close_code() == 4001
        assert await refused_with(hub, f"token={token}") == 4001, "the old token is worth nothing"
        assert await new.token()


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"claim": "claim-000000000000.x"}, 400, "bad_proof"),
        ({"node": "gate-2"}, 400, "bad_proof"),
        ({"key": "00"}, 400, "bad_proof"),
        ({"proof": "zz"}, 400, "bad_proof"),
        ({"claim": 5}, 400, "invalid_request"),
        ({"claim": ""}, 400, "invalid_request"),
        ({"claim": "x" * 300}, 400, "invalid_request"),
    ],
)
async def test_a_request_that_does_not_hold_together(
    file: Path, change: dict[str, Any], status: int, error: str
) -> None:
    async with hub_at(file) as hub, ClientSession() as web:
        found, answer = await Pi(hub, web, "gate-1").enrol(claim_for(file, "gate-1"), change)
        assert (found, answer["error"]) == (status, error)


async def test_wrong_claims_are_told_apart_and_slowed_down(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with hub_at(file) as hub, ClientSession() as web:
        pi = Pi(hub, web, "gate-1")
        right = claim_for(file, "gate-1")
        said = [
            (await pi.enrol(code))[1]["error"]
            for code in (right + "x", "claim-none.x", claim_for(file, "gate-2"), claim_for(file, "gate-1", hours=-1))
        ]
        assert said == ["unknown_claim", "unknown_claim", "other_node", "claim_expired"]
        for _ in range(enrol.WRONG_PER_MINUTE - len(said)):
            assert (await pi.enrol("claim-none.x"))[0] == 403
        assert (await pi.enrol(right))[0] == 429


async def test_a_nonce_is_taken_once_and_by_its_node(file: Path) -> None:
    async with hub_at(file) as hub, ClientSession() as web:
        pi, other = Pi(hub, web, "gate-1"), Pi(hub, web, "gate-2")
        await pi.enrol(claim_for(file, "gate-1"))
        await other.enrol(claim_for(file, "gate-2"))
        nonce = await pi.nonce()
        assert (await other.answer(nonce))[1]["error"] == "stale_nonce"
        assert (await pi.answer(nonce))[0] == 200
        assert (await pi.answer(nonce))[1]["error"] == "stale_nonce"
        assert (await pi.answer(nonce.upper()))[1]["error"] == "stale_nonce"
        assert (await pi.answer("zz"))[1]["error"] == "stale_nonce"
        assert (await Pi(hub, web, "gate-1").answer(await pi.nonce()))[1]["error"] == "not_enrolled"
        assert (await Pi(hub, web, "nobody").answer(await pi.nonce()))[1]["error"] == "not_enrolled"


def test_nonces_get_old_and_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = Nonces()
    old, fresh = nonces.make("a", 0), nonces.make("a", NONCE_S)
    assert not nonces.take(old, "a", NONCE_S) and nonces.take(fresh, "a", NONCE_S)
    monkeypatch.setattr(enrol, "MAX_USED_NONCES", 1)
    assert not nonces.take(nonces.make("a", NONCE_S + 1), "a", NONCE_S + 1)
    assert nonces.take(nonces.make("a", 3 * NONCE_S), "a", 3 * NONCE_S)


async def test_a_hub_without_a_place_for_devices_enrols_nobody() -> None:
    async with running_hub() as hub, ClientSession() as web:
        assert (await Pi(hub, web, "a").post("/v1/enrol", claim="x"))[0] == 405


async def test_a_spoilt_register_keeps_those_known(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with hub_at(file) as hub, ClientSession() as web:
        pi = Pi(hub, web, "gate-1")
        await pi.enrol(claim_for(file, "gate-1"))
        code = claim_for(file, "gate-2")
        put(file, "{")
        await eventually(lambda: "known so far stay" in caplog.text)
        assert await pi.token()
        assert (await Pi(hub, web, "gate-2").enrol(code))[0] == 503
    put(file, "{}", 0o644)
    async with hub_at(file):
        assert "chmod 600" in caplog.text


def test_the_register_says_what_is_wrong(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_register(file).claims == {}
    code = claim_for(file, "gate-1")
    assert code.startswith("claim-") and len(read_register(file).claims) == 1
    with pytest.raises(UsageError, match="resident-"):
        new_claim(0, "resident-anna", hours=1)
    with pytest.raises(UsageError):
        new_claim(0, "no good", hours=1)
    with pytest.raises(UsageError, match="no enrolled device"):
        revoke_device(file, "gate-1", 0)
    assert [claim.node for claim in revoke_claims(file, "gate-1")] == ["gate-1"]
    with pytest.raises(UsageError, match="no unused claim"):
        revoke_claims(file, "gate-1")
    claim_for(file, "gate-1", hours=-1)
    claim, _ = new_claim(10 * enrol_file.FORGET_AFTER_S, "gate-2", hours=1)
    add_claims(file, [claim], 10 * enrol_file.FORGET_AFTER_S)
    assert [it.node for it in read_register(file).claims.values()] == ["gate-2"], "old ones are forgotten"
    monkeypatch.setattr(enrol_file, "MAX_CLAIMS", 1)
    with pytest.raises(UsageError, match="may have 1"):
        add_claims(file, [claim], 0)
    for text in ("[]", '{"version": 2}', json.dumps({"claims": [{"id": "x"}]}), "nonsense"):
        file.write_text(text)
        with pytest.raises(SettingsError):
            read_register(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_register(file.parent)
