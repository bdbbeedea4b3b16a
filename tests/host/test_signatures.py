"""Signatures of other people's devices."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_node.host.signatures import is_signed

OWNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = OWNER.public_key().public_bytes_raw().hex()


def test_the_owner_signed() -> None:
    signature = OWNER.sign(b"open").hex()
    assert is_signed(PUBLIC, b"open", signature)
    assert not is_signed(PUBLIC, b"shut", signature)
    assert not is_signed("00" * 32, b"open", signature)


def test_nonsense_is_no_signature() -> None:
    for public, signature in ((PUBLIC, "xyz"), (PUBLIC, ""), (PUBLIC, "00" * 64), ("", "00" * 64), ("00", "ü")):
        assert not is_signed(public, b"open", signature)
