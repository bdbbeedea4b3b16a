"""A certificate refused for a wrong clock says so: a board without a clock chip starts in the past."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_node.ports import WireClosed
from edge_node.realtime.wire import NOT_YET_VALID, certificate_problem, trust

YEAR = dt.timedelta(days=365)


def certificate(folder: Path, begins: dt.datetime, ends: dt.datetime) -> Path:
    """A self-signed one for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "hub.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(pem))
    return path


async def refusal(path: Path, trusted: Path) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises(WireClosed) as caught:
            await trust(trusted)(f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    return caught.value.reason


async def test_what_the_clock_says_is_told(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    early = certificate(tmp_path, now + YEAR, now + 2 * YEAR)
    assert f"is not valid yet: the clock says {today}" in await refusal(early, early)
    late = certificate(tmp_path, now - 2 * YEAR, now - YEAR)
    assert f"has expired: the clock says {today}" in await refusal(late, late)


async def test_another_certificate_is_not_trusted(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    (tmp_path / "other").mkdir()
    good, other = (certificate(folder, now - YEAR, now + YEAR) for folder in (tmp_path, tmp_path / "other"))
    assert "is not trusted" in await refusal(good, other)


def test_a_clock_at_its_beginning() -> None:
    err = ssl.SSLCertVerificationError()
    err.verify_code = NOT_YET_VALID
    assert "the clock says 1970-01-01; if that is wrong, wait for time sync" in certificate_problem(err, 0.0)
