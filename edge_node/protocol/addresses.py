"""How near a host is, by its address or name alone."""

from __future__ import annotations

import ipaddress

_LOCAL_SUFFIXES = (".local", ".lan", ".internal", ".home.arpa")


def is_loopback(host: str) -> bool:
    """True for this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """True for addresses, or names, that exist only inside one network (RFC 1918, RFC 4193, RFC 6762, RFC 8375)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().endswith(_LOCAL_SUFFIXES)
    return address.is_private and not address.is_unspecified
