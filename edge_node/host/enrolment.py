"""A device's own identity: its key, its claim, tokens for it from the hub."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import re
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_node import durable
from edge_node.errors import Remedy, RetryLater
from edge_node.ports import Clock
from edge_node.protocol.enrolment import ENROL_PATH, TOKEN_PATH, enrol_message, token_message
from edge_node.settings.schema import Settings

log = logging.getLogger(__name__)

STATE_DIR = Path("/var/lib/edge-node")
KEY_FILE = "identity.key"
CLAIM_FILE = "claim.json"
IDENTITY_FILE = "identity.json"
REQUEST_DEADLINE_S = 3.0
"""Three requests fit into the ten seconds that the signalling client gives a token provider."""
REFUSED_WAIT_S = 60.0
"""What the hub refused it will refuse again: asking more often only fills two logs."""
MAX_ANSWER_BYTES = 64 * 1024
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED, verify(1)


class Refused(RetryLater):
    """The hub understood and said no; `code` as in its answer."""

    remedy = Remedy.RECONFIGURE

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"the hub refuses this device: {reason}")
        self.code = code


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """An Ed25519 key; the private half never leaves the state directory."""

    private: Any
    public: str
    """Raw, in hex."""

    def sign(self, message: bytes) -> str:
        """The signature in hex."""
        signature: bytes = self.private.sign(message)
        return signature.hex()


def device_key(state: Path) -> DeviceKey:
    """The key in the state directory, made on first use (mode 0600). Raises RetryLater."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = state / KEY_FILE
    try:
        if not path.exists():
            fresh = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            durable.put(path, fresh)
            log.info("this device has a key of its own now: %s", path)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as err:
        raise RetryLater(f"{path} cannot be read or written ({err.strerror}): check the disk") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise RetryLater(f"{path} is spoilt: remove it, make a new claim for this device, provision it again")
    return DeviceKey(key, key.public_key().public_bytes_raw().hex())


class DeviceTokens:
    """Gives a token per call; enrols first when a claim waits in the state directory. Blocks: for a thread of its own.

    Raises RetryLater while there is no token. The caller's backoff paces what failed for want of a network; after a
    refusal nothing is asked for REFUSED_WAIT_S.
    """

    def __init__(self, state: Path, node: str, url: str, ca_file: Path | None, clock: Clock) -> None:
        parts = urlsplit(url)
        self._state = state
        self._node = node
        self._origin = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
        self._ca_file = ca_file
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: tuple[float, Refused] | None = None
        self._spent: str | None = None
        self._told = ""

    @classmethod
    def of(cls, settings: Settings, state: Path | None, clock: Clock) -> DeviceTokens:
        channel = settings.channel
        return cls(state or STATE_DIR, settings.node.id, channel.url, channel.ca_file, clock)

    def __call__(self) -> str:
        with self._lock:
            if self._refused is not None:
                until, refused = self._refused
                if self._clock.monotonic() < until:
                    raise refused
            try:
                token = self._token()
            except RetryLater as err:
                if str(err) != self._told:  # the first failure is loud, its repeats are not
                    log.warning("%s", err)
                self._told = str(err)
                if isinstance(err, Refused):
                    self._refused = (self._clock.monotonic() + REFUSED_WAIT_S, err)
                raise
            self._refused, self._told = None, ""
            return token

    def _token(self) -> str:
        key = device_key(self._state)
        claim = durable.read_json(self._state / CLAIM_FILE)
        if claim is not None and (code := str(claim.get("code", ""))) != self._spent:
            self._enrol(key, code, claim.get("ca_sha256"))
            self._spent = code
        elif not (self._state / IDENTITY_FILE).exists():
            raise RetryLater("this device is not enrolled: make a claim with edge-node hub claim new, provision it")
        nonce = str(self._post(TOKEN_PATH, {"node": self._node}).get("nonce", ""))
        signature = key.sign(token_message(self._node, nonce))
        answer = self._post(TOKEN_PATH, {"node": self._node, "nonce": nonce, "signature": signature})
        token = answer.get("token")
        if not isinstance(token, str) or not token:
            raise RetryLater(f"{self._origin} gave no token: is it an edge-node hub?")
        return token

    def _enrol(self, key: DeviceKey, code: str, fingerprint: Any) -> None:
        if fingerprint and self._ca_file is not None:
            wanted = str(fingerprint).replace(":", "").lower()
            if wanted not in _fingerprints(self._ca_file):  # none yet, or that of a hub before this one
                self._fetch_authority(wanted, self._ca_file)
        proof = key.sign(enrol_message(code, self._node, key.public))
        try:
            self._post(ENROL_PATH, {"claim": code, "node": self._node, "key": key.public, "proof": proof})
        except Refused as err:
            if err.code == "rate_limited" or not (self._state / IDENTITY_FILE).exists():
                raise
            # A card with a spent claim must not throw out a device that is enrolled.
            log.warning("the claim is dropped, the identity stays: %s", err)
        else:
            log.info("enrolled at %s as %s", self._origin, self._node)
            identity = {"node": self._node, "hub": self._origin, "claim_sha256": claim_hash(code)}
            _keep(self._state / IDENTITY_FILE, json.dumps(identity).encode())
        try:
            (self._state / CLAIM_FILE).unlink(missing_ok=True)
        except OSError as err:
            # It works once only: no reason to stay away from the hub.
            log.warning("the used claim stays in %s (%s): check the disk", self._state / CLAIM_FILE, err.strerror)

    def _fetch_authority(self, fingerprint: str, path: Path) -> None:
        """The hub's own authority, over a connection that proves nothing: what it is worth is its fingerprint."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        pem = self._send(urllib.request.Request(f"{self._origin}/ca.crt"), context)
        try:
            der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
        except (ValueError, UnicodeDecodeError):
            raise RetryLater(f"{self._origin}/ca.crt is no certificate: is this the hub?") from None
        if hashlib.sha256(der).hexdigest() != fingerprint:
            raise Refused("other_authority", "its authority is another than the card says: is this the right hub?")
        _keep(path, pem)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"{self._origin}{path}", json.dumps(body).encode(), headers)
        if self._origin.startswith("https"):
            context = ssl.create_default_context()
            try:
                context.load_verify_locations(self._ca_file) if self._ca_file else None
            except FileNotFoundError:
                pass  # it may be on the way, with a claim
            except OSError as err:
                reason = f"the authority in {self._ca_file} cannot be read ({err.strerror}): check channel.ca_file"
                raise RetryLater(reason) from None
        else:  # without any, urllib makes one for good, with all authorities of the system: 4 MB
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            value = json.loads(self._send(request, context))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise RetryLater(f"{self._origin}{path} does not answer as a hub does: check channel.url")
        return value

    def _send(self, request: urllib.request.Request, context: ssl.SSLContext) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_DEADLINE_S, context=context) as answer:
                found: bytes = answer.read(MAX_ANSWER_BYTES)
                return found
        except urllib.error.HTTPError as err:
            with err:
                raise _refusal(err.code, err.read(MAX_ANSWER_BYTES)) from None
        except http.client.HTTPException:
            raise RetryLater(f"{self._origin} does not answer as a hub does: check channel.url") from None
        except (OSError, ValueError) as err:
            raise RetryLater(f"the hub at {self._origin} cannot be reached: {_why(err)}") from None


def _fingerprints(path: Path) -> set[str]:
    """SHA-256 of each certificate in a file, in hex; none where there is no such file."""
    try:
        blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", path.read_text(), re.DOTALL)
        return {hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).hexdigest() for block in blocks}
    except (OSError, ValueError):
        return set()


def _keep(path: Path, content: bytes) -> None:
    try:
        durable.put(path, content)
    except OSError as err:
        raise RetryLater(f"{path} cannot be written ({err.strerror}): make room, check the disk") from None


def _refusal(status: int, raw: bytes) -> RetryLater:
    try:
        body = json.loads(raw)
        code, reason = str(body["error"]), str(body["message"])[:300]
    except (ValueError, TypeError, KeyError, RecursionError):
        return RetryLater(f"the hub answers with HTTP status {status}: does channel.url name an edge-node hub?")
    return Refused(code, reason) if 400 <= status < 500 else RetryLater(f"the hub fails: {reason}")


def _why(err: Exception) -> str:
    reason = getattr(err, "reason", err)
    if isinstance(reason, ssl.SSLCertVerificationError) and reason.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet, which means that this device's clock is behind: wait for time sync"
    if isinstance(reason, ssl.SSLCertVerificationError) and reason.verify_code == _EXPIRED:
        return "its certificate has expired, or this device's clock is ahead: check the date, then the hub"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message}): check channel.ca_file"
    return f"{reason}: check the network and channel.url"


def claim_hash(code: str) -> str:
    """What is kept of a used claim."""
    return hashlib.sha256(code.encode()).hexdigest()
