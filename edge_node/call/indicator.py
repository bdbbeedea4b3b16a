"""Which of the node's states its indicator light shows."""

from __future__ import annotations

from enum import Enum

from edge_node.call.effects import Phase


class Indicator(Enum):
    """What the light tells; who stands at the door must see the call whatever else is wrong."""

    IN_CALL = "in_call"
    RINGING = "ringing"
    PRIVATE = "private"
    FAULT = "fault"
    OFFLINE = "offline"
    REFUSED = "refused"
    SOMEBODY_HERE = "somebody_here"
    ONLINE = "online"


def choose(
    *, fault: bool, online: bool, phase: Phase, peers: int, private: bool = False, refused: bool = False
) -> Indicator:
    """`fault`: a part is degraded; `online`: on the channel; `peers`: how many others are on it; `private`: shut;
    `refused`: the server does not want this node, so that waiting does not help.
    """
    if phase not in (Phase.ACTIVE, Phase.IDLE) and online:  # offline, nobody hears the ring
        return Indicator.RINGING
    if private:
        return Indicator.PRIVATE
    if phase is Phase.ACTIVE:
        return Indicator.IN_CALL
    if fault:
        return Indicator.FAULT
    if not online:
        return Indicator.REFUSED if refused else Indicator.OFFLINE
    return Indicator.SOMEBODY_HERE if peers else Indicator.ONLINE
