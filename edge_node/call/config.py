"""How a node calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_node.call.bucket import Rate
from edge_node.call.policy import DoorPolicy

MESSAGE_RATE = Rate(per_s=5, burst=20)


@dataclass(frozen=True, slots=True)
class CallConfig:
    """`message_rate` bounds the messages that one peer gets handled.

    `is_rung`: other nodes' buttons ring here (an indoor station). `attend_s`: a voice agent talks for so long with whom
    nobody answers; None: there is none.
    """

    node_id: str
    name: str
    ring_s: float = 30.0
    max_talk_s: float = 120.0
    warn_s: float = 10.0
    targets: Sequence[str] = ()
    sequential: bool = False
    auto_answer: bool = False
    is_rung: bool = False
    attend_s: float | None = None
    repeat_s: float = 2.0
    peer_grace_s: float = 3.0
    message_rate: Rate = MESSAGE_RATE
    door: DoorPolicy = field(default_factory=DoorPolicy)
