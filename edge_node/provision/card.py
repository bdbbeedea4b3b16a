"""Everything that goes onto one device's card, validated."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, SecretStr, model_validator

from edge_node.errors import SettingsError
from edge_node.settings import checks, from_dict
from edge_node.settings.section import Identifier, Section

Format = Literal["cloud-init", "rpi-preseed", "firstrun", "edge-node"]
"""Of Raspberry Pi OS by its release; edge-node: an image of edge-node image build."""
CA_ON_DEVICE = "/var/lib/edge-node/hub-ca.crt"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_SSH_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,3}( [ -~]*)?")
# crypt(5): SHA-512 or yescrypt, which every supported release has.
_PASSWORD_HASH = re.compile(r"\$(6|y)\$[./A-Za-z0-9$=,]{20,200}")
_RAW_PSK = re.compile(r"[0-9a-fA-F]{64}")
_PASSPHRASE = re.compile(r"[ -~]{8,63}")  # IEEE 802.11-2020, annex J.4.1
_CODE = re.compile(r"claim-[0-9a-f]{12}\.[A-Za-z0-9_-]{20,64}")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?")


def _hostname(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError(f'is "{value}" but has to be 1 to 63 small letters, digits or dashes (RFC 1123): shorten it')
    return value


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _timezone(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", value) or (_zones() and value not in _zones()):
        raise ValueError(f'is "{value}", which is no time zone{checks.did_you_mean(value, _zones())}: use Area/City')
    return value


def _matches(pattern: re.Pattern[str], remedy: str) -> AfterValidator:
    def check(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not pattern.fullmatch(text):
            raise ValueError(remedy)
        return value

    return AfterValidator(check)


def _ssid(value: str) -> str:
    if not 1 <= len(value.encode()) <= 32 or not value.isprintable():
        raise ValueError("is no network name: 1 to 32 bytes of printable text")
    return value


class User(Section):
    """Who may log in. There is no default user, no password in clear."""

    name: Annotated[str, _matches(_USER, "is no user name: small letters, digits, dashes, at most 31")]
    ssh_keys: tuple[Annotated[str, _matches(_SSH_KEY, "is no public key: one line of a .pub file")], ...] = ()
    password_hash: (
        Annotated[SecretStr, _matches(_PASSWORD_HASH, "is no hash: make one with openssl passwd -6")] | None
    ) = None

    @model_validator(mode="after")
    def _some_way_in(self) -> User:
        if not self.ssh_keys and self.password_hash is None:
            raise ValueError("has no way in: give ssh_keys, or a password_hash")
        return self


class Wifi(Section):
    """One network; for WPA2 only the key derived from the passphrase goes onto the card."""

    ssid: Annotated[str, AfterValidator(_ssid)]
    security: Literal["wpa2", "wpa3", "open"] = "wpa2"
    password: SecretStr | None = None
    hidden: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Wifi:
        given = self.password.get_secret_value() if self.password else None
        if self.security == "open" and given is not None:
            raise ValueError('has a password although it is open: set security = "wpa2"')
        if self.security != "open" and given is None:
            raise ValueError('has no password: write password = "@env:NAME", "@file:PATH" or "@prompt"')
        raw = self.security == "wpa2" and given is not None and _RAW_PSK.fullmatch(given)
        if given is not None and not raw and not _PASSPHRASE.fullmatch(given):
            raise ValueError("has a password that is none: 8 to 63 ASCII characters")
        return self

    @property
    def key(self) -> str:
        """What stands on the card: 64 hex digits for WPA2 (IEEE 802.11-2020, J.4.1), the passphrase for WPA3 (SAE)."""
        given = self.password.get_secret_value() if self.password else ""
        if self.security != "wpa2":
            return given
        if _RAW_PSK.fullmatch(given):
            return given.lower()
        return _derived(given, self.ssid)


@cache
def _derived(passphrase: str, ssid: str) -> str:
    return hashlib.pbkdf2_hmac("sha1", passphrase.encode(), ssid.encode(), 4096, 32).hex()


class CardClaim(Section):
    """`claim.toml`: how the device gets to know its hub."""

    hub: Annotated[str, AfterValidator(checks.origin)]
    node: Identifier
    code: Annotated[SecretStr, _matches(_CODE, "is no claim: make one with edge-node hub claim new")]
    ca: Annotated[str, _matches(_PEM, "is no certificate in PEM: one, with nothing around it")] | None = None
    ca_sha256: Annotated[str, _matches(re.compile(r"([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}"), "is no SHA-256")] | None = (
        None
    )

    def as_toml(self) -> dict[str, Any]:
        given = self.model_dump(exclude_none=True)
        return given | {"code": self.code.get_secret_value()}


class Card(Section):
    """One device."""

    id: Identifier
    hostname: Annotated[str, AfterValidator(_hostname)]
    format: Format = "cloud-init"
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    keymap: Annotated[str, _matches(re.compile(r"[a-z]{2,8}"), 'is no keyboard layout: write "de", "gb" or "us"')] = (
        "us"
    )
    country: (
        Annotated[str, _matches(re.compile(r"[A-Z]{2}"), 'is no country: two capital letters, such as "DE"')] | None
    ) = None
    user: User | None = None
    wifi: Wifi | None = None
    claim: CardClaim | None = None
    settings: dict[str, Any] = Field(repr=False)

    @model_validator(mode="after")
    def _holds_together(self) -> Card:
        if self.wifi is not None and self.country is None:
            raise ValueError('has Wi-Fi but no country, without which the radio stays off: write country = "DE"')
        if self.user is not None and self.format == "edge-node":
            raise ValueError("has a user, but nobody logs in to an image of edge-node image build: leave user out")
        try:
            settings = from_dict(self.settings, "settings")
        except SettingsError as err:
            raise ValueError("; ".join(err.problems)) from None
        if settings.node.id != self.id:
            raise ValueError(f'has settings for "{settings.node.id}": leave node.id out of them')
        if self.claim is not None and (self.claim.node != self.id or self.claim.hub != settings.channel.url):
            raise ValueError("has a claim for another node, or another hub than settings.channel.url")
        return self
