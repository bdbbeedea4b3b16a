"""aioice without its mDNS, for which alone it loads dnspython, 2 MB."""

from __future__ import annotations

import sys
from types import ModuleType

NAME = "aioice.mdns"


class MDnsProtocol:
    """Nobody makes one: candidates with hidden addresses are dropped before aioice sees them (protocol.sdp.is_mdns)."""


def is_mdns_hostname(name: str) -> bool:
    """None is here: such candidates were dropped."""
    return False


async def create_mdns_protocol() -> MDnsProtocol:
    """Never called, as no name is one of mDNS."""
    raise NotImplementedError


def leave_mdns_out() -> None:
    """For a program that uses aioice through this package alone; does nothing once it is loaded."""
    if "aioice" in sys.modules:
        return
    stand_in = ModuleType(NAME, __doc__)
    for part in (MDnsProtocol, is_mdns_hostname, create_mdns_protocol):
        setattr(stand_in, part.__name__, part)
    sys.modules[NAME] = stand_in
