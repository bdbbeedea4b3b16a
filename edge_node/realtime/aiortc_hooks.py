"""Whether this aiortc has all that our sender takes hold of."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from typing import Any

from aiortc import RTCRtpSender
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import HeaderExtensionsMap
from pylibsrtp import Session

log = logging.getLogger(__name__)

FORCED = "EDGE_NODE_SENDER"
"""Environment: `stock` keeps aiortc's own sender, for comparison."""
SENDER_FIELDS = (
    "ntp_timestamp", "rtp_timestamp", "octet_count", "packet_count", "rtt", "lsr", "lsr_time", "mid", "cname",
    "rtp_started", "rtp_exited", "rtcp_started", "rtcp_exited", "rtp_header_extensions_map", "rtx_payload_type",
    "rtx_sequence_number", "encoder",
)  # fmt: skip
# Function → the names that it has to use; those with two underscores as Python mangles them.
USED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (RTCRtpSender.replaceTrack, ("_RTCRtpSender__track",)),
    (RTCRtpSender.send, ("_run_rtp", "_run_rtcp")),
    (RTCRtpSender._handle_rtcp_packet, ("_retransmit", "_send_keyframe", "target_bitrate")),
    (RTCRtpSender._send_rtcp, ("_send_rtp",)),
    (RTCDtlsTransport.__init__, ("_tx_srtp", "_state", "_RTCDtlsTransport__tx_bytes", "_RTCDtlsTransport__tx_packets")),
    (HeaderExtensionsMap.__init__, ("_HeaderExtensionsMap__ids",)),
    (Session.__init__, ("_srtp",)),
)


def _missing() -> Iterator[str]:
    fields = tuple(f"_RTCRtpSender__{name}" for name in SENDER_FIELDS)
    for function, names in ((RTCRtpSender.__init__, fields), *USED):
        yield from (f"{function.__qualname__}: {name}" for name in names if name not in function.__code__.co_names)


@functools.cache
def missing_hooks() -> tuple[str, ...]:
    """What of aiortc or pylibsrtp is not where it was: empty when our sender works."""
    return tuple(_missing())


@functools.cache
def is_usable() -> bool:
    """Whether senders can be ours; says once when they cannot."""
    if missing_hooks():
        log.warning("media is sent by aiortc's own sender, which costs more: no %s", ", ".join(missing_hooks()))
    return not missing_hooks()


def own_sender_wanted() -> bool:
    """Ours, unless the environment asks for the stock sender or aiortc has changed."""
    return os.environ.get(FORCED) != "stock" and is_usable()
