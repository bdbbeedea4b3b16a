"""Ed25519 signatures (RFC 8032) of other people's devices."""

from __future__ import annotations


def is_signed(public: str, message: bytes, signature: str) -> bool:
    """Whether the owner of this key made this signature, both in hex; text that is neither makes it False."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True
