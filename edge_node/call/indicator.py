"""Which of the node's states its indicator light shows."""

from __future__ import annotations

from enum import Enum

from edge_node.call.effects import Phase


class Indicator(Enum):
    """What the light tells, the most important first."""

    FAULT = "fault"
    OFFLINE = "offline"
    IN_CALL = "in_call"
    RINGING = "ringing"
    SOMEBODY_HERE = "somebody_here"
    ONLINE = "online"


def choose(*, fault: bool, online: bool, phase: Phase, peers: int) -> Indicator:
    """`fault`: a part is degraded; `online`: on the channel; `peers`: how many others are on it."""
    if fault:
        return Indicator.FAULT
    if not online:
        return Indicator.OFFLINE
    if phase is Phase.ACTIVE:
        return Indicator.IN_CALL
    if phase is not Phase.IDLE:
        return Indicator.RINGING
    return Indicator.SOMEBODY_HERE if peers else Indicator.ONLINE
