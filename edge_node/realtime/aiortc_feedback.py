"""Which of our senders a viewer's feedback is for, where aiortc does not know (tests/contract pins the hooks)."""

from __future__ import annotations

import functools
import logging
import struct
from collections.abc import Callable
from typing import Any

from aiortc.rtp import RTCP_PSFB_FIR, RtcpPsfbPacket

log = logging.getLogger(__name__)

Route = Callable[[Any], set[Any]]
FIR_ENTRY_BYTES = 8
"""RFC 5104 section 4.3.1.1: the stream, a number, three bytes that are reserved."""


def hear_all_feedback(transport: Any) -> None:
    """On one RTCDtlsTransport, once: requests for keyframes by FIR are heard, a broken estimate (REMB) is left alone.

    aiortc looks for a FIR's stream where RFC 5104 has a zero, and ends the connection over an estimate that is cut off.
    """
    router = getattr(transport, "_rtp_router", None)
    if router is None or isinstance(getattr(router, "route_rtcp", None), functools.partial):
        return
    router.route_rtcp = functools.partial(_route, router, router.route_rtcp)


def _route(router: Any, route: Route, packet: Any) -> set[Any]:
    try:
        found = route(packet)
    except struct.error as err:
        log.debug("feedback that is cut off: %s", err)
        return set()
    if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_FIR:
        named = (packet.fci[at : at + 4] for at in range(0, len(packet.fci) - FIR_ENTRY_BYTES + 1, FIR_ENTRY_BYTES))
        senders = (router.senders.get(int.from_bytes(ssrc, "big")) for ssrc in named)
        found |= {sender for sender in senders if sender is not None}
    return found
