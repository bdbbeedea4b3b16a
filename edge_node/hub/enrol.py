"""How a device with a claim code becomes a node with a key of its own."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_node.errors import SettingsError
from edge_node.hub.enrol_file import MAX_DEVICES, Claim, Device, Register, changing, claim_id, hashed, read_register
from edge_node.hub.files import is_exposed, stamp
from edge_node.hub.keys import KeyRing, same
from edge_node.hub.limiter import AddressLimiter
from edge_node.hub.replies import BadRequest, address, body_object
from edge_node.ports import Clock
from edge_node.protocol.enrolment import enrol_message, token_message

log = logging.getLogger(__name__)

TOKEN_S = 3600
NONCE_S = 60.0
WRONG_PER_MINUTE = 20
ASKS_PER_MINUTE = 600
MAX_USED_NONCES = 8192
_HEX_KEY = re.compile(r"[0-9a-f]{64}")
_NOBODY = Ed25519PublicKey.from_public_bytes(bytes(range(32)))


class Nonces:
    """Challenges that need no memory until they are answered; each is good for one answer within NONCE_S.

    Overflow rule: beyond MAX_USED_NONCES answered ones within NONCE_S no further answer is taken.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._used: dict[str, float] = {}

    def make(self, node: str, now: float) -> str:
        head = struct.pack("!d", now) + secrets.token_bytes(16)
        return (head + self._mac(head, node)).hex()

    def take(self, nonce: str, node: str, now: float) -> bool:
        """True for one that was made for this node, is fresh and was not taken before."""
        try:
            raw = bytes.fromhex(nonce)
        except ValueError:
            return False
        if len(raw) != 56 or not hmac.compare_digest(raw[24:], self._mac(raw[:24], node)):
            return False
        made_at = struct.unpack("!d", raw[:8])[0]
        self._used = {text: at for text, at in self._used.items() if at + NONCE_S > now}
        # Hex digits may be written large, too: what counts is the bytes.
        known = raw.hex()
        if made_at + NONCE_S <= now or known in self._used or len(self._used) >= MAX_USED_NONCES:
            return False
        self._used[known] = made_at
        return True

    def _mac(self, head: bytes, node: str) -> bytes:
        return hmac.digest(self._key, head + node.encode("utf-8", "replace"), "sha256")


class Enrolment:
    """`POST /v1/enrol`: a claim for an identity; `POST /v1/token`: a signed challenge for a short-lived token."""

    def __init__(
        self, file: Path | None, keys: KeyRing, clock: Clock, revoke: Callable[[frozenset[str]], None]
    ) -> None:
        self._file = file
        self._keys = keys
        self._clock = clock
        self._revoke = revoke
        self._nonces = Nonces()
        self._wrong = AddressLimiter(WRONG_PER_MINUTE)
        self._asks = AddressLimiter(ASKS_PER_MINUTE)
        self._stamp = stamp(file) if file else None
        self._devices: dict[str, Device] = {}
        if file is not None:
            self._adopt(read_register(file))
            if is_exposed(file):
                log.warning("others can read %s: chmod 600 %s", file, file)

    def routes(self) -> list[web.RouteDef]:
        """None without a file to remember devices in."""
        if self._file is None:
            return []
        return [web.post("/v1/enrol", self.enrol), web.post("/v1/token", self.token)]

    def look(self, at_once: bool = False) -> None:
        """Takes over what edge-node hub claim and edge-node hub device changed."""
        if self._file is None or (self._stamp == (found := stamp(self._file)) and not at_once):
            return
        self._stamp = found
        try:
            self._adopt(read_register(self._file))
        except SettingsError as err:
            log.warning("the devices known so far stay: %s", err)

    def _adopt(self, register: Register) -> None:
        before = {device.key_id for device in self._devices.values()}
        self._devices = {node: it for node, it in register.devices.items() if it.revoked is None}
        valid = frozenset(device.key_id for device in self._devices.values())
        self._keys.adopt_devices(valid)
        gone = frozenset(before - valid)
        if gone:
            log.warning("no longer enrolled: %s", ", ".join(sorted(gone)))
            self._revoke(gone)

    # POST /v1/enrol

    async def enrol(self, request: web.Request) -> web.Response:
        """`{claim, node, key, proof}`; the same claim with the same key again is answered as the first time."""
        who = self._who(request)
        body = await body_object(request)
        claim, node, key, proof = (_text(body, name) for name in ("claim", "node", "key", "proof"))
        if not _HEX_KEY.fullmatch(key) or not _signed(key, proof, enrol_message(claim, node, key)):
            self._wrong.hit(who, self._clock.monotonic())
            raise BadRequest(400, "bad_proof", "the proof is not this key's signature: the device's state is spoilt")
        try:
            device = await asyncio.to_thread(self._use, claim, node, key)
        except BadRequest as bad:
            self._wrong.hit(who, self._clock.monotonic())
            log.warning("%s may not enrol as %.64r with claim %.12r: %s", who, node, claim_id(claim), bad)
            raise
        except SettingsError as err:
            log.error("nobody can enrol: %s", err)
            raise BadRequest(503, "internal_error", "the hub cannot write its register: its log says why") from None
        self.look(at_once=True)
        log.info("%s is enrolled with claim %s from %s", device.node, device.claim, who)
        return web.json_response(
            {"node": node, "channels": list(device.channels), "permissions": list(device.permissions)}
        )

    def _use(self, code: str, node: str, key: str) -> Device:
        """In a thread of its own: it waits for the disk."""
        now = int(self._clock.wall())
        assert self._file is not None
        with changing(self._file) as register:
            claim = register.claims.get(claim_id(code))
            if claim is None or not same(claim.hash, hashed(code)):
                raise BadRequest(403, "unknown_claim", "this claim is not known here: make a new one for this node")
            known = register.devices.get(claim.node)
            if claim.node != node:
                raise BadRequest(403, "other_node", f"this claim is for {claim.node}: the cards were mixed up")
            if claim.used is not None:
                return _same_again(claim, known, key)
            if claim.expires <= now:
                raise BadRequest(403, "claim_expired", "this claim has expired: make a new one for this node")
            if known is None and len(register.devices) >= MAX_DEVICES:
                raise BadRequest(403, "register_full", f"the hub has {MAX_DEVICES} devices, which is the most")
            device = Device(
                node=node, key=key, enrolled=now, claim=claim.id, channels=claim.channels, permissions=claim.permissions
            )
            register.devices[node] = device
            register.claims[claim.id] = claim.model_copy(update={"used": now, "used_by": key})
            return device

    # POST /v1/token

    async def token(self, request: web.Request) -> web.Response:
        """`{node}` is answered with a nonce; `{node, nonce, signature}` with a token. No clock but the hub's counts."""
        who, now = self._who(request), self._clock.monotonic()
        body = await body_object(request)
        node = _text(body, "node")
        if "signature" not in body:
            return web.json_response({"nonce": self._nonces.make(node, now), "expires_in_s": NONCE_S})
        nonce, signature = _text(body, "nonce"), _text(body, "signature")
        device = self._devices.get(node)
        # An unknown node costs the same time as a wrong signature.
        good = _signed(device.key if device else None, signature, token_message(node, nonce))
        if device is None or not good or not self._nonces.take(nonce, node, now):
            self._wrong.hit(who, now)
            code = "not_enrolled" if device is None or not good else "stale_nonce"
            said = "this node is not enrolled here" if code == "not_enrolled" else "this nonce is used up: ask again"
            log.warning("%s gets no token as %.64r: %s", who, node, code)
            raise BadRequest(403, code, said)
        wall = int(self._clock.wall())
        claims: dict[str, Any] = {
            "sub": device.node,
            "iss": device.key_id,
            "iat": wall,
            "exp": wall + TOKEN_S,
            "channels": list(device.channels),
            "permissions": list(device.permissions),
        }
        token = self._keys.mint_for_device(claims)
        answer = {"token": token, "expiresAt": wall + TOKEN_S, "expires_in_s": TOKEN_S}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    def _who(self, request: web.Request) -> str:
        """The address. Raises BadRequest when it asked too often."""
        who, now = address(request), self._clock.monotonic()
        if self._wrong.full(who, now) or not self._asks.take(who, now):
            raise BadRequest(429, "rate_limited", "too many requests from this address: wait a minute")
        return who


def _same_again(claim: Claim, known: Device | None, key: str) -> Device:
    """The answer got lost, perhaps in a power cut: the same device may ask again. Raises BadRequest for another."""
    if claim.used_by != key or known is None or known.key != key:
        raise BadRequest(409, "claim_used", "this claim was used already, by another device: make a new one")
    if known.revoked is not None:
        raise BadRequest(403, "revoked", "this device was revoked: make a new claim to let it in again")
    return known


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise BadRequest(400, "invalid_request", f"{name} is a text of at most 256 characters")
    return value


def _signed(key: str | None, signature: str, message: bytes) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) if key else _NOBODY
        public.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return key is not None
