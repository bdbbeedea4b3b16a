"""What a node does about doors: its own, when somebody asks; another node's, when somebody here does."""

from __future__ import annotations

from dataclasses import replace

from edge_node.call import messages as msg
from edge_node.call.effects import Audit, DoorTold, Effect, ReleaseDoor, SendTo
from edge_node.call.events import Action, DoorOutcome
from edge_node.call.ongoing import Call
from edge_node.call.policy import DoorKeeper, DoorPolicy
from edge_node.call.signed import Sign, Signing, Verify

MAX_ASKED = 8


class Doors:
    """Turns requests into effects; of what was asked of other nodes the last MAX_ASKED requests are remembered."""

    def __init__(self, policy: DoorPolicy, verify: Verify | None, sign: Sign | None) -> None:
        """Without `sign` doors that want signatures stay shut."""
        self._policy = policy
        self._keeper = DoorKeeper(policy, verify)
        self._sign = sign
        self._there: tuple[str, msg.Description] | None = None
        self._asked: dict[str, tuple[str, str]] = {}

    def request(self, peer_id: str, request: msg.DoorOpen, now: float) -> list[Effect]:
        """Somebody on the channel wants one open."""
        verdict = self._keeper.judge(request, peer_id, now)
        audit = Audit(f"open {request.door}", peer_id, verdict.ok, verdict.reason)
        if verdict.ok:
            return [audit, ReleaseDoor(request.door, peer_id, request.nonce)]
        return [audit, SendTo(peer_id, msg.door_result(request.nonce, False, verdict.reason))]

    def outcome(self, outcome: DoorOutcome) -> list[Effect]:
        """What the relay did."""
        effects: list[Effect] = []
        if not outcome.ok:
            effects.append(Audit(f"open {outcome.door}", outcome.peer_id, False, outcome.reason or "it failed"))
        if outcome.peer_id is not None and outcome.nonce is not None:
            effects.append(SendTo(outcome.peer_id, msg.door_result(outcome.nonce, outcome.ok, outcome.reason)))
        return effects

    def here(self, door: str, event: Action, call: Call | None, me: str | None) -> list[Effect]:
        """Somebody at this machine, which is `me` on the channel, wants one open.

        This node's, or that of the node whose call rings or talks here.
        """
        what = f"open {door}"
        if door in self._policy.doors:
            return [Audit(what, None, True, event.source), ReleaseDoor(door)]
        if call is None or not call.theirs or call.peer_id is None:
            return [Audit(what, None, False, f"{event.source}: unknown door")]
        self._asked[event.fresh_id] = (call.peer_id, door)
        if len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        request = self._signed(msg.DoorOpen(door, event.fresh_id, event.at, call.id), call.peer_id, me or "")
        asks = SendTo(call.peer_id, msg.door_open(request))
        return [Audit(f"{what} at {call.peer_id}", None, True, f"{event.source}: asked"), asks]

    def described(self, peer_id: str, there: msg.Description) -> None:
        """What the node that rings wants of door requests."""
        self._there = (peer_id, there)

    def _signed(self, request: msg.DoorOpen, peer_id: str, me: str) -> msg.DoorOpen:
        there = self._there[1] if self._there is not None and self._there[0] == peer_id else None
        if there is None or there.challenge is None or self._sign is None:
            return request
        signed = self._sign(Signing(there.node, there.challenge).message(request, me))
        return request if signed is None else replace(request, key=signed[0], signature=signed[1])

    def result(self, peer_id: str, result: msg.DoorResult) -> list[Effect]:
        """What another node made of the request."""
        asked = self._asked.get(result.nonce)
        if asked is None or asked[0] != peer_id:
            return []
        del self._asked[result.nonce]
        reason = result.reason or ("opened" if result.ok else "no reason given")
        audit = Audit(f"open {asked[1]} at {peer_id}", None, result.ok, reason)
        return [audit, DoorTold(result.nonce, result.ok, reason)]
