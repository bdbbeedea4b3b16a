"""Answers to Basic and Digest challenges (RFC 7617, RFC 7616)."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_node.protocol.rtsp_address import Credentials

_PART = re.compile(
    r'(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]*))|(?P<scheme>[A-Za-z][\w-]*)'
)
_ESCAPED = re.compile(r"\\(.)")
_STRENGTH = {"digest sha-256": 3, "digest md5": 2, "basic": 1}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a server offers; scheme and keys in lower case."""

    scheme: str
    parameters: Mapping[str, str]

    @property
    def algorithm(self) -> str:
        """The digest algorithm in lower case, without `-sess`."""
        return self.parameters.get("algorithm", "MD5").lower().removesuffix("-sess")

    @property
    def strength(self) -> int:
        """Zero for what we cannot answer."""
        if self.scheme != "digest":
            return _STRENGTH.get(self.scheme, 0)
        answerable = self.qop is not None and "nonce" in self.parameters
        return _STRENGTH.get(f"digest {self.algorithm}", 0) if answerable else 0

    @property
    def qop(self) -> str | None:
        """The quality of protection to answer with: `auth`, else `auth-int`; None when it is neither."""
        offered = [word.strip().lower() for word in self.parameters.get("qop", "auth").split(",")]
        return next((qop for qop in ("auth", "auth-int") if qop in offered), None)


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """Every challenge of the WWW-Authenticate headers; several may share one header (RFC 7235 section 4.1)."""
    found: list[Challenge] = []
    for value in values:
        parameters: dict[str, str] = {}
        for part in _PART.finditer(value):
            if scheme := part["scheme"]:
                parameters = {}
                found.append(Challenge(scheme.lower(), parameters))
            elif part["quoted"] is not None:
                parameters[part["key"].lower()] = _ESCAPED.sub(r"\1", part["quoted"])
            else:
                parameters[part["key"].lower()] = part["bare"]
    return found


class Authenticator:
    """Keeps the strongest challenge seen; `cnonce` draws a fresh client nonce (RFC 7616 section 3.4)."""

    def __init__(self, credentials: Credentials, cnonce: Callable[[], str]) -> None:
        self._credentials = credentials
        self._cnonce = cnonce
        self._challenge: Challenge | None = None
        self._uses = 0

    def accept(self, values: Sequence[str]) -> bool:
        """Takes the strongest challenge of these WWW-Authenticate values; False when none can be answered."""
        best = max(parse_challenges(values), key=lambda c: c.strength, default=None)
        if best is None or not best.strength:
            return False
        self._challenge = best
        self._uses = 0
        return True

    def authorization(self, method: str, url: str) -> str | None:
        """The Authorization value of one request; None before a challenge was accepted."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            pair = f"{self._credentials.user}:{self._credentials.password}"
            return f"Basic {b64encode(pair.encode()).decode()}"
        self._uses += 1
        return self._digest(self._challenge, method, url)

    def _digest(self, challenge: Challenge, method: str, url: str) -> str:
        given = challenge.parameters
        realm, nonce = given.get("realm", ""), given["nonce"]
        user, cnonce, count = self._credentials.user, self._cnonce(), f"{self._uses:08x}"

        def digest(*words: str) -> str:
            data = ":".join(words).encode()
            if challenge.algorithm == "sha-256":
                return hashlib.sha256(data).hexdigest()
            return hashlib.md5(data, usedforsecurity=False).hexdigest()

        secret = digest(user, realm, self._credentials.password)
        if given.get("algorithm", "").lower().endswith("-sess"):
            secret = digest(secret, nonce, cnonce)
        # Our requests have no body (RFC 7616 section 3.4.3).
        what = digest(method, url, digest("")) if challenge.qop == "auth-int" else digest(method, url)
        fields = [("username", user), ("realm", realm), ("nonce", nonce), ("uri", url)]
        bare = [f"algorithm={given['algorithm']}"] if "algorithm" in given else []
        if "qop" in given:
            response = digest(secret, nonce, count, cnonce, challenge.qop or "", what)
            bare += [f"qop={challenge.qop}", f"nc={count}"]
        else:  # RFC 2069, still what many cameras speak
            response = digest(secret, nonce, what)
        if bare:
            fields.append(("cnonce", cnonce))
        if "opaque" in given:
            fields.append(("opaque", given["opaque"]))
        fields.append(("response", response))
        return "Digest " + ", ".join([*(f"{key}={_quote(value)}" for key, value in fields), *bare])


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
