"""Keys and tokens: who may come in, and as whom."""

from __future__ import annotations

import hmac
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jwt

from edge_node.errors import SettingsError
from edge_node.hub.config import HubConfig
from edge_node.hub.key_file import StoredKey
from edge_node.protocol.frames import Json
from edge_node.protocol.grants import EVERYTHING, Grant, Refusal, Scope, grant_from_claims
from edge_node.protocol.names import WsCloseCode

MAX_TOKEN_CHARS = 32_768
_ALGORITHM = "HS256"
# Times, subject and the rest are checked by grants.grant_from_claims, which knows the close code of each failure.
_SIGNATURE_ONLY: Any = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")} | {
    "verify_signature": True
}


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    scope: Scope = EVERYTHING
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pair:
    id: str
    secret: str
    scope: Scope = EVERYTHING


def same(one: str, other: str) -> bool:
    """Compares secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


class KeyRing:
    """All keys of a hub: those of its settings for good, those of its key file as long as they stand there.

    The console's own pair is made anew with each ring and never leaves it. Raises SettingsError when nobody could
    come in.
    """

    def __init__(
        self,
        config: HubConfig,
        stored: Sequence[StoredKey] = (),
        new_peer_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._config = config
        self._new_peer_id = new_peer_id
        self.dev_key = _dev_key(config, stored)
        self._console = _Pair(f"console_{secrets.token_hex(4)}", secrets.token_urlsafe(48))
        self._device = _Pair(f"device_{secrets.token_hex(4)}", secrets.token_urlsafe(48))
        self._devices: frozenset[str] = frozenset()
        self._keys: dict[str, _Key] = {}
        self._pairs: dict[str, _Pair] = {}
        self.adopt(stored)

    def __len__(self) -> int:
        return len(self._keys) + len(self._pairs)

    def adopt(self, stored: Sequence[StoredKey]) -> frozenset[str]:
        """Takes these as the key file's; gives the ids that are valid no more, or have another secret now."""
        config = self._config
        keys = [_Key(key.id, key.scope, key.allowed_origins) for key in stored if key.secret is None]
        keys += [_Key(key.id.get_secret_value(), key.scope, key.allowed_origins) for key in config.key]
        keys += [_Key(self.dev_key)] if self.dev_key is not None else []
        pairs = [_Pair(key.id, key.secret.get_secret_value(), key.scope) for key in stored if key.secret is not None]
        pairs += [_Pair(s.id, s.secret.get_secret_value(), s.scope) for s in config.secret]
        before, before_pairs = self._keys, self._pairs
        self._keys, self._pairs = {key.id: key for key in keys}, {pair.id: pair for pair in pairs}
        secret_of = {pair.id: pair.secret for pair in pairs}
        gone = {kid for kid, pair in before_pairs.items() if secret_of.get(kid) != pair.secret}
        return frozenset(gone | (before.keys() - self._keys.keys()))

    def adopt_devices(self, key_ids: frozenset[str]) -> None:
        """These devices may come in; a token of any other is worth nothing from now on."""
        self._devices = key_ids

    def admit(self, query: Mapping[str, str], origin: str | None, now_wall: float) -> Grant | Refusal:
        """The grant of a connection from its query string (`key` or `token`) and Origin header."""
        key, token = query.get("key"), query.get("token")
        if (key is None) == (token is None):
            return Refusal(WsCloseCode.INVALID_TOKEN, "give either key or token")
        found = self._by_key(key, origin) if key is not None else self.verify(token or "", now_wall)
        return found if isinstance(found, Refusal) else self._with_ice_servers(found, now_wall)

    def _by_key(self, given: str, origin: str | None) -> Grant | Refusal:
        key = next((key for key in self._keys.values() if same(key.id, given)), None)
        if key is None:
            return Refusal(WsCloseCode.INVALID_TOKEN, "this key is not known here")
        # Only browsers send an Origin; a program without one is let in.
        if key.origins and origin is not None and origin not in key.origins:
            return Refusal(WsCloseCode.INVALID_TOKEN, "this key is not for pages of this origin")
        return Grant(self._new_peer_id(), (key.scope,), key_id=key.id)

    def _with_ice_servers(self, grant: Grant, now_wall: float) -> Grant:
        """The hub's ICE servers in the welcome, unless the token brings its own."""
        metadata = dict(grant.metadata or {})
        if "iceServers" in metadata or not self._config.ice_server:
            return grant
        servers = self._config.ice_servers(grant.peer_id, now_wall)
        return replace(grant, metadata={"iceServers": servers} | metadata)

    def verify(self, token: str, now_wall: float) -> Grant | Refusal:
        """The grant of a token: form, algorithm, key, signature, then its claims. Never raises."""
        signed = self._signed(token)
        if signed is None:
            return Refusal(WsCloseCode.INVALID_TOKEN, "this token is not valid here")
        pair, claims = signed
        key_id = pair.id
        if pair is self._device and (key_id := str(claims.get("iss"))) not in self._devices:
            return Refusal(WsCloseCode.INVALID_TOKEN, "this device is not enrolled any more")
        found = grant_from_claims(claims, now_wall, pair.scope)
        return found if isinstance(found, Refusal) else replace(found, key_id=key_id)

    def _signed(self, token: str) -> tuple[_Pair, Mapping[str, Any]] | None:
        """Who signed a token and what it claims, unchecked; None when nobody here did."""
        if len(token) > MAX_TOKEN_CHARS:
            return None
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            if header.get("alg") != _ALGORITHM or not isinstance(kid, str):
                return None
            own = {self._console.id: self._console, self._device.id: self._device}
            pair = own.get(kid) or self._pairs.get(kid)
            if pair is None:
                return None
            return pair, jwt.decode(token, pair.secret, algorithms=[_ALGORITHM], options=_SIGNATURE_ONLY)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None

    def mint(self, kid: str, claims: Mapping[str, Json]) -> str:
        """A token signed by a secret pair. Raises KeyError for an unknown id."""
        return _sign(self._pairs[kid], claims)

    def mint_for_console(self, claims: Mapping[str, Json]) -> str:
        """A token signed by the pair that lives and dies with this ring."""
        return _sign(self._console, claims)

    def mint_for_device(self, claims: Mapping[str, Json]) -> str:
        """A token for an enrolled device, whose key id is the claim `iss`; as short-lived as this ring."""
        return _sign(self._device, claims)

    def resident(self, token: str) -> str | None:
        """The peer id in a token of this ring's console, expired or not; None for any other text."""
        signed = self._signed(token)
        return str(signed[1].get("sub")) if signed and signed[0] is self._console else None

    def scope_of_secret(self, credential: str) -> tuple[str, Scope] | None:
        """The id and scope of a `sk_id:sk_secret` credential of the control plane."""
        kid, _, secret = credential.partition(":")
        pair = self._pairs.get(kid)
        # An unknown id costs the same time as a wrong secret.
        good = same((pair or self._console).secret, secret)
        return (kid, pair.scope) if pair and good else None


def _sign(pair: _Pair, claims: Mapping[str, Json]) -> str:
    return jwt.encode(dict(claims), pair.secret, algorithm=_ALGORITHM, headers={"kid": pair.id})


def _dev_key(config: HubConfig, stored: Sequence[StoredKey]) -> str | None:
    """The development key: as given, or drawn when there would be no way in at all on this machine."""
    if config.dev_key is not None:
        return config.dev_key.get_secret_value()
    if config.key or config.secret or stored:
        return None
    if not config.is_local:
        raise SettingsError(
            f"nobody could connect to {config.host}: make a key with edge-node hub key new, or add a [[key]]"
        )
    return f"pk_dev_{secrets.token_urlsafe(18)}"
