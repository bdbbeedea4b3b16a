"""The text of a Wi-Fi QR code, as phones show it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

PREFIX = "WIFI:"
MAX_CHARS = 300
_PASSPHRASE = re.compile(r"[ -~]{8,63}")
_KINDS = {"": "wpa", "WPA": "wpa", "WPA2": "wpa", "WPA2-EAP": "", "SAE": "sae", "WPA3": "sae", "NOPASS": "open"}


@dataclass(frozen=True, slots=True)
class WifiNetwork:
    """`kind` is wpa (WPA2, or WPA3 where both are offered), sae (WPA3 alone) or open."""

    ssid: str
    kind: str
    password: str = field(default="", repr=False)
    hidden: bool = False


def parse_wifi(text: str) -> WifiNetwork | str:
    """The network in `WIFI:T:WPA;S:name;P:password;H:true;;` (Wi-Fi Alliance, WPA3 3.4, section 7), or why not."""
    if not text.startswith(PREFIX) or len(text) > MAX_CHARS:
        return "it is no Wi-Fi code: show the one that a phone makes when it shares its network"
    fields = dict(_fields(text.removeprefix(PREFIX)))
    ssid, password = fields.get("S", ""), fields.get("P", "")
    kind = _KINDS.get(fields.get("T", "" if password else "nopass").upper(), "")
    if not 1 <= len(ssid.encode()) <= 32 or not ssid.isprintable():
        return "it has no network name of 1 to 32 bytes"
    if not kind:
        return "its kind of security is not supported: use WPA2 or WPA3 with a password"
    if (kind == "open") == bool(password) or (password and not _PASSPHRASE.fullmatch(password)):
        return "its password is none: 8 to 63 ASCII characters"
    return WifiNetwork(ssid, kind, password, fields.get("H", "").lower() == "true")


def _fields(body: str) -> Iterator[tuple[str, str]]:
    r"""`K:value;` with backslashes before the value's own `\ ; , : "`."""
    for key, value in re.findall(r"([A-Z]):((?:\\.|[^;\\])*);", body):
        yield key, re.sub(r"\\(.)", r"\1", value)
