"""Ed25519 signatures (RFC 8032): other devices' judged, this one's made."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_node.errors import RetryLater
from edge_node.host.enrolment import DeviceKey, device_key

log = logging.getLogger(__name__)


def is_signed(public: str, message: bytes, signature: str) -> bool:
    """Whether the owner of this key made this signature, both in hex; text that is neither makes it False."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


class DeviceSigner:
    """Signs with this device's own key, which it reads, and names in the journal, at the first message."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._key: DeviceKey | None = None

    def __call__(self, message: bytes) -> tuple[str, str] | None:
        """The public key and the signature, both in hex; None when there is no key, which is logged."""
        if self._key is None:
            try:
                self._key = device_key(self._state)
            except RetryLater as err:
                log.warning("nothing is signed: %s", err)
                return None
            log.info("this device signs as %s: a door that asks for it needs a [[door.key]] with it", self._key.public)
        return self._key.public, self._key.sign(message)
