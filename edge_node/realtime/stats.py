"""The figures of a connection, from what aiortc reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_node.ports import SAMPLE_RATE, VIDEO_CLOCK

CLOCK_HZ = {"audio": SAMPLE_RATE, "video": VIDEO_CLOCK}


def stats_of(reports: Sequence[Any]) -> dict[str, Any]:
    """What getStats knows, summed up: bytes each way, and the worst loss, round trip and jitter of the senders."""
    found: dict[str, Any] = {"sent_bytes": 0, "received_bytes": 0, "rtt_ms": None, "loss_percent": None}
    found["jitter_ms"] = None
    for report in reports:
        if report.type == "transport":
            found["sent_bytes"], found["received_bytes"] = report.bytesSent, report.bytesReceived
        elif report.type == "remote-inbound-rtp":
            _worst(found, "loss_percent", report.fractionLost * 100 / 256)
            _worst(found, "jitter_ms", report.jitter * 1000 / CLOCK_HZ[report.kind])
            if report.roundTripTime is not None:
                _worst(found, "rtt_ms", max(0.0, report.roundTripTime * 1000))
        elif report.type == "inbound-rtp":
            _worst(found, "jitter_ms", report.jitter * 1000 / CLOCK_HZ[report.kind])
    return found


def _worst(found: dict[str, Any], name: str, value: float) -> None:
    value = round(value, 2)
    found[name] = value if found[name] is None else max(found[name], value)
