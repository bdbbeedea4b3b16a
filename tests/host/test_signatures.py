"""Signatures of other people's devices, and this one's."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_node.host.enrolment import KEY_FILE, device_key
from edge_node.host.signatures import DeviceSigner, is_signed

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


def test_this_device_signs_with_its_own_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sign = DeviceSigner(tmp_path)
    assert not (tmp_path / KEY_FILE).exists(), "a key is made when somebody asks for a signature"
    signed = sign(b"open")
    assert signed is not None and signed == sign(b"open")
    assert signed[0] == device_key(tmp_path).public
    assert is_signed(signed[0], b"open", signed[1])
    assert caplog.text.count(f"signs as {signed[0]}") == 1


def test_a_key_that_cannot_be_had(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"spoilt")
    assert DeviceSigner(tmp_path)(b"open") is None
    assert "nothing is signed" in caplog.text and "spoilt: remove it" in caplog.text
