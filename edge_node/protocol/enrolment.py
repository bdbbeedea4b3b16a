"""What a device signs when it enrols or asks for a token."""

from __future__ import annotations

ENROL_PATH = "/v1/enrol"
TOKEN_PATH = "/v1/token"


def enrol_message(claim: str, node: str, key: str) -> bytes:
    """Proves that whoever holds the claim also holds the private half of `key` (raw public key in hex)."""
    return _framed("edge-node enrol v1", claim, node, key)


def token_message(node: str, nonce: str) -> bytes:
    """Proves that the node is here now: the nonce is the hub's, and is taken once."""
    return _framed("edge-node token v1", node, nonce)


def _framed(*parts: str) -> bytes:
    """No two lists of parts give the same bytes, whatever is in them."""
    raw = [part.encode("utf-8", "replace") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in raw)
