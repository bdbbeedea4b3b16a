"""The address of a stream, with its credentials kept apart from everything that is printed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from edge_node.errors import SettingsError

_PORTS = {"rtsp": 554, "rtsps": 322}  # RFC 2326 section 3.2; rtsps: RFC 7826 section 22.14
# Cameras also take passwords in the path or the query: `/user=admin_password=x_channel=1.sdp`, `?token=x`.
_SECRET = re.compile(r"(?i)((?:user|username|usr|password|passwd|pwd|pass|token|secret|key|auth)=)[^&/;]*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to the camera; never printed."""

    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a stream is; str() is safe to print."""

    host: str
    port: int
    tls: bool
    url: str = field(repr=False)
    """The request URL, without user information."""
    credentials: Credentials | None

    def __str__(self) -> str:
        return _SECRET.sub(r"\1***", self.url)


def parse_address(url: str) -> Address:
    """Takes a URL apart. Raises SettingsError for anything but a complete rtsp:// or rtsps:// URL."""
    if not isinstance(url, str) or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise SettingsError("video.url must be one rtsp:// address without blanks: percent-encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as the resolver will: it refuses labels of more than 63 letters
    except ValueError:
        raise SettingsError(
            'video.url is not an address: write rtsp://host:554/path, with "user:password@" in front of the host and '
            "/ ? # @ : percent-encoded inside the password"
        ) from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise SettingsError(f"video.url starts with {scheme[:20] or 'nothing'}://: use rtsp:// or rtsps://")
    if not parts.hostname:
        raise SettingsError("video.url has no host: write rtsp://host:554/path")
    rest = f"{parts.path}{parts.query}{parts.fragment}"
    if port is not None and "@" not in parts.netloc and "@" in rest:
        # `rtsp://user:12#34@host/`: all behind the # would be taken for a path, shown to everybody.
        raise SettingsError(
            "video.url has an @ behind its host: percent-encode / ? # @ : inside the password, and an @ inside the path"
        )
    if port == 0:
        raise SettingsError("video.url has port 0: write the port the camera listens on, usually 554")
    info, _, place = parts.netloc.rpartition("@")
    user, _, password = info.partition(":")
    query = f"?{parts.query}" if parts.query else ""
    host, _, zone = parts.hostname.partition("%")
    if zone:  # RFC 6874: `%25eth0`; the zone is nobody's business but ours
        place = re.sub(r"%[^]]*", "", place)
    return Address(
        host=f"{host}%{zone.removeprefix('25')}" if zone else host,
        port=port or _PORTS[scheme],
        tls=scheme == "rtsps",
        url=f"{scheme}://{place}{parts.path}{query}",
        credentials=Credentials(unquote(user), unquote(password)) if user else None,
    )
