"""A call machine under a steered clock."""

from __future__ import annotations

from typing import Any, TypeVar

from edge_node.call import messages as msg
from edge_node.call.config import CallConfig
from edge_node.call.effects import AllowAudio, Audit, Broadcast, Effect, Phase, SendTo
from edge_node.call.events import Action, ChannelUp, Event, PeerJoined, PeerLeft, PeerMessage
from edge_node.call.machine import CallMachine
from edge_node.call.policy import DoorPolicy
from edge_node.call.signed import Sign, Verify

AT = 1_700_000_000.0
DOOR = DoorPolicy(doors=["door"], allow=["resident-*"])

T = TypeVar("T")


class Driver:
    """Feeds events, moves time; keeps the effects of the last step in `out` and all of them in `all`."""

    def __init__(
        self,
        *peers: str,
        up: bool = True,
        me: str = "front-door",
        verify: Verify | None = None,
        sign: Sign | None = None,
        **settings: Any,
    ) -> None:
        config: dict[str, Any] = {"node_id": me, "name": "Front door", "door": DOOR} | settings
        self.me = me
        self.machine = CallMachine(CallConfig(**config), verify=verify, sign=sign)
        self.now = 1000.0
        self.calls = 0
        self.out: list[Effect] = []
        self.all: list[Effect] = []
        if up:
            self.do(ChannelUp(self.me))
        for peer in peers:
            self.do(PeerJoined(peer))

    def do(self, event: Event) -> list[Effect]:
        return self._keep(self.machine.handle(event, self.now))

    def press(self, action: str = "call") -> list[Effect]:
        self.calls += 1
        return self.do(Action(action, f"c{self.calls}", AT))

    def says(self, peer_id: str, kind: str, **fields: Any) -> list[Effect]:
        return self.do(PeerMessage(peer_id, msg.parse({"type": kind} | fields)))

    def hears(self, peer_id: str, kind: str, **fields: Any) -> list[Effect]:
        """The same, said to the whole channel."""
        return self.do(PeerMessage(peer_id, msg.overheard({"type": kind} | fields)))

    def leaves(self, peer_id: str) -> list[Effect]:
        return self.do(PeerLeft(peer_id))

    def wait(self, seconds: float) -> list[Effect]:
        """Lets time pass, ticking at each deadline."""
        end = self.now + seconds
        gathered: list[Effect] = []
        while (deadline := self.machine.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            gathered += self.machine.tick(self.now)
        self.now = end
        gathered += self.machine.tick(self.now)
        return self._keep(gathered)

    def _keep(self, effects: list[Effect]) -> list[Effect]:
        self.out = effects
        self.all += effects
        return effects

    def phase(self) -> Phase:
        return self.machine.view.phase

    def of(self, kind: type[T]) -> list[T]:
        return [effect for effect in self.out if isinstance(effect, kind)]

    @property
    def said(self) -> list[dict[str, Any]]:
        return [effect.data for effect in self.of(Broadcast)]

    def sent(self, peer_id: str) -> list[dict[str, Any]]:
        return [effect.data for effect in self.of(SendTo) if effect.peer_id == peer_id]

    @property
    def rung(self) -> list[str]:
        """Who was rung in the last step, `*` for the whole channel."""
        everyone = ["*" for data in self.said if data["type"] == "call.ring"]
        return everyone + [e.peer_id for e in self.of(SendTo) if e.data["type"] == "call.ring"]

    @property
    def heard(self) -> list[frozenset[str]]:
        return [effect.peer_ids for effect in self.of(AllowAudio)]

    @property
    def refusals(self) -> list[Audit]:
        return [audit for audit in self.of(Audit) if not audit.ok]


def state(call: str, name: str, by: str | None = None, reason: str | None = None) -> dict[str, Any]:
    fields = {"type": "call.state", "call": call, "state": name, "by": by, "reason": reason}
    return {key: value for key, value in fields.items() if value is not None}


def error(of: str, reason: str) -> dict[str, Any]:
    return {"type": "error", "of": of, "reason": reason}
