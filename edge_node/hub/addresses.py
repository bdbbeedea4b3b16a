"""Under which names and addresses this machine is reached."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
from pathlib import Path

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_SIOCGIFCONF = 0x8912  # netdevice(7): needs no netlink socket, which the unit's sandbox does not allow
_IFREQ_BYTES = 40 if struct.calcsize("P") == 8 else 32
_MAX_INTERFACES = 128
_IF_INET6 = Path("/proc/self/net/if_inet6")


def local_addresses() -> list[IpAddress]:
    """The private addresses of this machine, loopback included, IPv4 first; without those that need a zone."""
    found = {*_ipv4(), *_ipv6(), ipaddress.ip_address("127.0.0.1")}
    return sorted(
        (a for a in found if a.is_loopback or (a.is_private and not a.is_link_local)), key=lambda a: (a.version, int(a))
    )


def host_name() -> str:
    """The machine's own name without a domain, in small letters."""
    return socket.gethostname().split(".")[0].lower()


def _ipv4() -> list[IpAddress]:
    buffer = array.array("B", bytes(_IFREQ_BYTES * _MAX_INTERFACES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        place, size = buffer.buffer_info()
        try:
            answer = fcntl.ioctl(handle, _SIOCGIFCONF, struct.pack("iP", size, place))
        except OSError:
            return []
    used: int = struct.unpack("iP", answer)[0]
    raw = buffer.tobytes()[:used]
    # struct ifreq: 16 bytes of name, then a sockaddr_in with the address in its bytes 4 to 7.
    return [ipaddress.IPv4Address(raw[at + 20 : at + 24]) for at in range(0, used, _IFREQ_BYTES)]


def _ipv6(table: Path = _IF_INET6) -> list[IpAddress]:
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return []
    return [ipaddress.IPv6Address(int(line.split()[0], 16)) for line in lines if line]
