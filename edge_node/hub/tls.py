"""The hub's certificate, kept fresh while it runs."""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from edge_node.errors import SettingsError
from edge_node.hub.addresses import IpAddress, host_name, local_addresses
from edge_node.hub.config import TlsConfig
from edge_node.hub.files import stamp
from edge_node.hub.local_ca import LocalCa
from edge_node.ports import Clock

log = logging.getLogger(__name__)

NAMES_EVERY_S = 60.0
"""How often a self-made certificate is compared with the machine's addresses and the calendar."""


class Certificates:
    """A server's TLS context; `refresh` loads new files into it, which new connections then get.

    Raises SettingsError when there is nothing usable to start with.
    """

    def __init__(self, config: TlsConfig, state_dir: Path | None, clock: Clock) -> None:
        self._clock = clock
        self._extra = _named(config.names)
        self._ca = LocalCa(state_dir / "tls") if config.self_made and state_dir else None
        self._looked_at = clock.monotonic()
        if self._ca is not None:
            self._make()
            self._certificate, self._key = self._ca.files.certificate, self._ca.files.key
        else:
            assert config.certificate is not None and config.key is not None
            self._certificate, self._key = config.certificate, config.key
        self.context = _context()
        self.expires_at = 0.0
        """Unix seconds."""
        self._name: str | None = None
        self._stamp = stamp(self._certificate, self._key)
        self._load()

    @property
    def ca_pem(self) -> bytes | None:
        """What a device installs to trust this hub; None with somebody else's certificate."""
        return self._ca.files.ca.read_bytes() if self._ca else None

    @property
    def address(self) -> str | None:
        """A name or address under which others reach this machine with its certificate; None: it names none."""
        if self._ca is None:
            return self._name
        outside = next((a for a in local_addresses() if not a.is_loopback), None)
        if outside is None:
            return f"{host_name()}.local"
        return f"[{outside}]" if outside.version == 6 else str(outside)

    def refresh(self, at_once: bool = False) -> None:
        """Renews what is due and loads files that changed; keeps the old ones when the new are unusable."""
        now = self._clock.monotonic()
        try:
            if self._ca is not None and (at_once or now >= self._looked_at + NAMES_EVERY_S):
                self._looked_at = now
                self._make()
            if (found := stamp(self._certificate, self._key)) != self._stamp or at_once:
                self._stamp = found
                self._load()
                log.info("the certificate was loaded again")
        except SettingsError as err:
            log.warning("the certificate in use stays: %s", err)

    def _make(self) -> None:
        assert self._ca is not None
        names, addresses = self._extra
        host = host_name()
        self._ca.ensure(
            list(dict.fromkeys([host, f"{host}.local", "localhost", *names])),
            list(dict.fromkeys([*local_addresses(), *addresses])),
            dt.datetime.fromtimestamp(self._clock.wall(), dt.UTC),
        )

    def _load(self) -> None:
        try:
            # A pair that does not fit would spoil the context in use: it is tried on another one first.
            for context in (_context(), self.context):
                context.load_cert_chain(self._certificate, self._key, password=lambda: "")
            cert = x509.load_pem_x509_certificate(self._certificate.read_bytes())
        except (OSError, ValueError) as err:  # ssl.SSLError is an OSError
            reason = getattr(err, "strerror", None) or getattr(err, "reason", None) or "no certificate"
            raise SettingsError(
                f"{self._certificate} with {self._key} cannot be used ({reason}): give PEM files that belong together"
            ) from None
        self.expires_at = cert.not_valid_after_utc.timestamp()
        self._name = next((name for name in _dns_names(cert) if not name.startswith("*")), None)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _dns_names(cert: x509.Certificate) -> list[str]:
    try:
        found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.get_values_for_type(x509.DNSName)


def _named(names: Sequence[str]) -> tuple[list[str], list[IpAddress]]:
    """The setting's names sorted into names and addresses."""
    words: list[str] = []
    addresses: list[IpAddress] = []
    for name in names:
        try:
            addresses.append(ipaddress.ip_address(name))
        except ValueError:
            words.append(name.lower())
    return words, addresses
