"""A certificate authority for one hub, so that browsers on its network trust it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_node.hub.addresses import IpAddress
from edge_node.hub.files import make_private_dir, write_private

log = logging.getLogger(__name__)

CA_DAYS = 3650
# Browsers take at most 398 days (CA/Browser Forum ballot SC31), counted with the day before.
LEAF_DAYS = 396
RENEW_BEFORE_DAYS = 30
BACKDATE = dt.timedelta(days=1)
"""A device's clock may be behind ours."""
# The authority can sign for these only: whoever steals its key still cannot be somebody's bank.
_DOMAINS = ("local", "localhost", "lan", "home", "internal", "home.arpa", "fritz.box")
_NETWORKS = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
    "::1/128", "fc00::/7", "fe80::/10",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Files:
    """Where everything is kept."""

    ca_key: Path
    ca: Path
    key: Path
    certificate: Path

    @classmethod
    def under(cls, directory: Path) -> Files:
        return cls(*(directory / name for name in ("ca.key", "ca.crt", "tls.key", "tls.crt")))


class LocalCa:
    """Keeps an authority and a leaf certificate for `names` in a directory. Raises SettingsError when it cannot."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.files = Files.under(directory)

    def ensure(self, names: Sequence[str], addresses: Sequence[IpAddress], now: dt.datetime) -> bool:
        """Makes what is missing, spoilt, about to end or for other names. True when the leaf is a new one."""
        make_private_dir(self._directory)
        files = self.files
        authority = _load(files.ca, files.ca_key)
        if authority is None or not _lasts(authority[0], now) or not _may_sign_for(authority[0], names, addresses):
            authority = _new_authority(names, addresses, now)
            _store(authority, files.ca, files.ca_key)
            log.warning("a new authority was made: install %s on every device", files.ca)
        leaf = _load(files.certificate, files.key)
        if leaf and _lasts(leaf[0], now) and _is_for(leaf[0], names, addresses) and _signed_by(leaf[0], authority[0]):
            return False
        _store(_new_leaf(authority, names, addresses, now), files.certificate, files.key)
        log.info("a certificate was made for %s", ", ".join([*names, *map(str, addresses)]))
        return True


_Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _load(certificate: Path, key: Path) -> _Pair | None:
    try:
        cert = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != cert.public_key():
        return None
    return cert, private


def _store(pair: _Pair, certificate: Path, key: Path) -> None:
    pem = serialization.Encoding.PEM
    write_private(key, pair[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    write_private(certificate, pair[0].public_bytes(pem))


def _lasts(cert: x509.Certificate, now: dt.datetime) -> bool:
    return cert.not_valid_before_utc <= now < cert.not_valid_after_utc - dt.timedelta(days=RENEW_BEFORE_DAYS)


def _alt_names(names: Sequence[str], addresses: Sequence[IpAddress]) -> list[x509.GeneralName]:
    return [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]


def _is_for(cert: x509.Certificate, names: Sequence[str], addresses: Sequence[IpAddress]) -> bool:
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(_alt_names(names, addresses)) <= set(found)


def _signed_by(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(authority)
    except Exception:  # ValueError, TypeError or cryptography's InvalidSignature: not issued by it
        return False
    return True


def _permitted(names: Sequence[str], addresses: Sequence[IpAddress]) -> list[x509.GeneralName]:
    networks = [ipaddress.ip_network(n) for n in _NETWORKS]
    outside = [ipaddress.ip_network(a) for a in addresses if not any(a in n for n in networks)]
    return [*map(x509.DNSName, dict.fromkeys([*_DOMAINS, *names])), *map(x509.IPAddress, [*networks, *outside])]


def _may_sign_for(authority: x509.Certificate, names: Sequence[str], addresses: Sequence[IpAddress]) -> bool:
    try:
        allowed = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except x509.ExtensionNotFound:
        return False
    domains = [d.value for d in allowed if isinstance(d, x509.DNSName)]
    networks = [ipaddress.ip_network(n.value) for n in allowed if isinstance(n, x509.IPAddress)]
    named = all(any(name == d or name.endswith(f".{d}") for d in domains) for name in names)
    return named and all(any(address in network for network in networks) for address in addresses)


def _new_authority(names: Sequence[str], addresses: Sequence[IpAddress], now: dt.datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "edge-node"),
        x509.NameAttribute(NameOID.COMMON_NAME, f"edge-node hub {names[0]}"[:64]),
    ])  # fmt: skip
    cert = (
        _builder(subject, subject, key, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(_permitted(names, addresses), None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return cert, key


def _new_leaf(authority: _Pair, names: Sequence[str], addresses: Sequence[IpAddress], now: dt.datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority[1].public_key())
    cert = (
        _builder(subject, authority[0].subject, key, now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alt_names(names, addresses)), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority[1], hashes.SHA256())
    )
    return cert, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    start = now - BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
