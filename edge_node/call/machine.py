"""The call state machine of a node, which holds at most one call."""

from __future__ import annotations

from typing import assert_never

from edge_node.call import messages as msg
from edge_node.call import privacy, rung
from edge_node.call.book import CallBook
from edge_node.call.bucket import Buckets
from edge_node.call.config import CallConfig
from edge_node.call.doors import Doors
from edge_node.call.effects import (
    Audit,
    DescribeTo,
    Effect,
    LimitNear,
    Phase,
    SnapshotTo,
)
from edge_node.call.events import (
    Action,
    AgentDone,
    ChannelDown,
    ChannelUp,
    DoorOutcome,
    Event,
    PeerJoined,
    PeerLeft,
    PeerMessage,
)
from edge_node.call.hunt import Hunt
from edge_node.call.messages import Reason, State
from edge_node.call.ongoing import NEVER, Call
from edge_node.call.policy import is_target, roles_of
from edge_node.call.signed import Sign, Verify

MAX_PEERS = 256  # what one channel holds
TOGGLE = {Phase.IDLE: "call", Phase.RINGING: "hangup", Phase.INCOMING: "answer", Phase.ACTIVE: "hangup"}


class CallMachine(CallBook):
    """Turns events into effects; `now` is in seconds of any clock that never goes back.

    While the channel is down no messages are produced; what it missed is said again at ChannelUp.
    """

    def __init__(
        self, config: CallConfig, *, muted: bool = False, verify: Verify | None = None, sign: Sign | None = None
    ) -> None:
        """`verify` judges the signatures of door requests, `sign` makes those of this machine's own."""
        super().__init__(config, muted)
        self._doors = Doors(config.door, verify, sign)
        self._talkers = Buckets(config.message_rate)
        self._peers: dict[str, frozenset[str]] = {}
        self.peers_ignored = 0

    @property
    def peer_ids(self) -> frozenset[str]:
        """Who is on the channel besides this node."""
        return frozenset(self._peers)

    @property
    def messages_dropped(self) -> int:
        """How many messages were over somebody's rate."""
        return self._talkers.refused

    @property
    def deadline(self) -> float | None:
        """When tick() is due, or None."""
        return None if self._call is None else self._call.deadline

    def handle(self, event: Event, now: float) -> list[Effect]:
        """What to do about an event."""
        self._timers(now)
        match event:
            case Action():
                self._act(event, now)
            case PeerMessage(peer_id, message):
                self._message(peer_id, message, now)
            case PeerJoined(peer_id, metadata):
                self._joined(peer_id, roles_of(metadata), now)
            case PeerLeft(peer_id):
                self._left(peer_id, now)
            case ChannelUp(me):
                self._channel_up(me, now)
            case ChannelDown():
                self._up = False
            case DoorOutcome():
                self._emit(self._doors.outcome(event))
            case AgentDone(call_id):
                if self._call is not None and self._call.attended and self._call.id == call_id:
                    self._end(self._call, Reason.HANGUP, now)
            case _:  # pragma: no cover
                assert_never(event)
        return self.tick(now)

    def tick(self, now: float) -> list[Effect]:
        """What to do because time has passed; harmless when called early."""
        self._timers(now)
        out, self._out = self._out, []
        return out

    # Time

    def _timers(self, now: float) -> None:
        call = self._call
        if call is None:
            return
        if (reason := call.over(now)) is not None:
            self._over(call, reason, now)
            if call.theirs and reason is Reason.LIMIT and call.peer_id is not None:
                self._send(call.peer_id, msg.hangup(call.id))
        elif now >= call.warn_at:
            call.warn_at = NEVER
            self._out.append(LimitNear())
        elif call.hunt is not None:
            if now >= call.hunt.slot_ends:
                for peer_id in call.hunt.advance(self._peers, now):
                    self._send(peer_id, msg.state(call.id, State.ENDED, reason=Reason.TIMEOUT))
                call.next_ring = now
            if now >= call.next_ring:
                self._ring(call, call.hunt)
                call.next_ring = now + self._config.repeat_s

    def _ring(self, call: Call, hunt: Hunt) -> None:
        if hunt.everyone:
            self._broadcast(self._ring_data(call))
            return
        for peer_id in hunt.ringing(self._peers):
            self._send(peer_id, self._ring_data(call))

    def _ring_data(self, call: Call) -> msg.Data:
        return msg.ring(call.id, self._config.node_id, self._config.name, call.at)

    # This machine's own side

    def _act(self, event: Action, now: float) -> None:
        verb, _, door = event.action.partition(":")
        if verb == "open":
            self._emit(self._doors.here(door, event, self._call, self._me))
            return
        if verb == "mute":
            self._mute(door, event.source)
            return
        call = self._call
        phase = call.phase if call else Phase.IDLE
        match TOGGLE[phase] if verb == "toggle" else verb, call:
            case "call", None:
                self._press(event, now)
            case "call" | "answer", Call(phase=Phase.INCOMING, theirs=True, peer_id=str(host)) as theirs:
                theirs.asked = True  # who was first, the other node says
                self._send(host, msg.answer(theirs.id))
            case "call" | "answer", Call(phase=Phase.INCOMING, peer_id=str(caller)) as waiting:
                self._activate(waiting, caller, now)
            case "hangup", Call(phase=Phase.RINGING) as ringing:
                self._end(ringing, Reason.CANCELLED, now)
            case "hangup", Call(phase=Phase.INCOMING, peer_id=str(caller)) as waiting:
                self._end(waiting, Reason.DECLINED, now)
                if waiting.theirs:
                    self._send(caller, msg.decline(waiting.id))
            case "hangup", Call() as talk:
                self._end(talk, Reason.HANGUP, now)
                if talk.peer_id is not None:
                    self._send(talk.peer_id, msg.hangup(talk.id))
            case _:
                why = f"{event.source}: not possible while the call is {phase.value}"
                self._out.append(Audit(event.action, None, False, why))

    def _mute(self, how: str, source: str) -> None:
        view = privacy.asked(self.view, how)
        if view is None:
            self._out.append(Audit("privacy off", None, False, f"{source}: the switch at the node says private"))
        elif view != self.view:
            self._out.append(Audit(f"privacy {'on' if view.muted else 'off'}", None, True, source))
            self._change(view)

    def _press(self, event: Action, now: float) -> None:
        config = self._config
        slot_s = config.ring_s / max(1, len(config.targets))
        hunt = Hunt(config.targets, sequential=config.sequential, slot_s=slot_s, now=now)
        hunt.skip_empty(self._peers, now)
        self._begin(Call(event.fresh_id, Phase.RINGING, event.at, now + config.ring_s, hunt=hunt, next_ring=now), now)

    # The channel

    def _channel_up(self, me: str | None, now: float) -> None:
        self._up, self._me = True, me
        if self._unsent_end is not None:
            self._broadcast(self._unsent_end)
            self._unsent_end = None
        if self._call is None:
            return
        if self._call.theirs:
            self._meet(self._call)
            return
        self._call.by = me
        self._broadcast(self._call.state())
        if self._call.hunt is not None:
            self._call.next_ring = now

    def _joined(self, peer_id: str, roles: frozenset[str], now: float) -> None:
        if peer_id not in self._peers and len(self._peers) >= MAX_PEERS:
            self.peers_ignored += 1
            return
        self._peers[peer_id] = roles
        call = self._call
        if call is None:
            return
        if peer_id == call.peer_id:
            call.grace_ends = NEVER
            if call.theirs:
                self._meet(call)
        if call.theirs:
            return
        if call.hunt is None:
            self._send(peer_id, call.state())
            return
        call.hunt.skip_empty(self._peers, now)
        if peer_id in call.hunt.ringing(self._peers):
            self._send(peer_id, self._ring_data(call))

    def _left(self, peer_id: str, now: float) -> None:
        self._peers.pop(peer_id, None)
        call = self._call
        if call is None:
            return
        if peer_id == call.peer_id:
            call.grace_ends = min(call.grace_ends, now + self._config.peer_grace_s)
        if call.hunt is not None:
            call.hunt.skip_empty(self._peers, now)
            if call.hunt.is_refused(self._peers):
                self._over(call, Reason.DECLINED, now)

    # Messages

    def _message(self, peer_id: str, message: msg.Message, now: float) -> None:
        if isinstance(message, msg.Unknown) or not self._talkers.take(peer_id, now):
            return
        match message:
            case msg.Malformed():
                self._malformed(peer_id, message)
            case msg.DescribeNode():
                self._out.append(DescribeTo(peer_id))
            case msg.SnapshotGet(nonce):
                self._out.append(SnapshotTo(peer_id, nonce))
            case msg.DoorOpen():
                self._emit(self._doors.request(peer_id, message, now))
            case msg.Ring() | msg.CallState() | msg.DoorResult() | msg.Description() | msg.Refused():
                if self._config.is_rung and peer_id in self._peers:
                    self._news(peer_id, message, now)
            case msg.Hangup():
                self._hung_up(peer_id, message, now)
            case _ if peer_id not in self._peers:
                self._refuse(peer_id, message, "join the channel of this node first")
            case msg.Start(call_id):
                self._start(peer_id, call_id, now)
            case msg.Answer():
                self._answer(peer_id, message, now)
            case msg.Decline():
                self._decline(peer_id, message, now)
            case _:  # pragma: no cover
                assert_never(message)

    def _malformed(self, peer_id: str, message: msg.Malformed) -> None:
        if message.nonce is not None and message.of == msg.TYPES[msg.DoorOpen]:
            self._out.append(Audit(message.of, peer_id, False, message.reason))
            self._send(peer_id, msg.door_result(message.nonce, False, message.reason))
        else:
            self._send(peer_id, msg.error(message.of, message.reason))

    def _start(self, peer_id: str, call_id: str, now: float) -> None:
        taken_over = self._call is not None and self._call.attended and self._is_target(peer_id)
        if self._call is not None and taken_over:
            self._end(self._call, Reason.HANGUP, now)
        if self._call is not None:
            again = self._call.id == call_id and self._call.peer_id == peer_id
            busy = msg.state(call_id, State.ENDED, reason=Reason.BUSY)
            self._send(peer_id, self._call.state() if again else busy)
            return
        call = Call(call_id, Phase.INCOMING, now, now + self._config.ring_s, peer_id=peer_id)
        if self._config.auto_answer or taken_over:
            self._activate(call, peer_id, now)
        else:
            self._begin(call, now)

    def _answer(self, peer_id: str, message: msg.Answer, now: float) -> None:
        call = self._named(peer_id, message)
        if call is None:
            return
        if call.attended and self._is_target(peer_id):
            self._activate(call, peer_id, now)
        elif call.hunt is None:
            self._tell_or_refuse(call, peer_id, message)
        elif call.hunt.includes(peer_id, self._peers[peer_id]):
            self._activate(call, peer_id, now)
        else:
            self._refuse(peer_id, message, "this call rings somebody else")

    def _decline(self, peer_id: str, message: msg.Decline, now: float) -> None:
        call = self._named(peer_id, message)
        if call is None:
            return
        if call.hunt is None:
            self._tell_or_refuse(call, peer_id, message)
        elif call.hunt.includes(peer_id, self._peers[peer_id]):
            stage = call.hunt.stage
            if not call.hunt.decline(peer_id, self._peers, now):
                self._over(call, Reason.DECLINED, now)
            elif call.hunt.stage != stage:
                call.next_ring = now

    def _hung_up(self, peer_id: str, message: msg.Hangup, now: float) -> None:
        if self.view.theirs and (peer_id, message.call) == (self.view.peer_id, self.view.call):
            return  # its call.state says the same
        call = self._named(peer_id, message)
        if call is not None and peer_id == call.peer_id:
            self._end(call, Reason.CANCELLED if call.phase is Phase.INCOMING else Reason.HANGUP, now)

    def _named(self, peer_id: str, message: msg.Answer | msg.Decline | msg.Hangup) -> Call | None:
        if self._call is not None and self._call.id == message.call and not self._call.theirs:
            return self._call
        ended = self._call is None and message.call == self.view.call
        self._refuse(peer_id, message, "this call has ended" if ended else "there is no such call")
        return None

    def _tell_or_refuse(self, call: Call, peer_id: str, message: msg.Answer | msg.Decline) -> None:
        """The answer to somebody who answers or declines what rings no more."""
        if call.phase is Phase.INCOMING:
            self._refuse(peer_id, message, "this call waits for the node to answer")
        elif peer_id == call.peer_id:
            self._send(peer_id, call.state())
        else:
            by = call.by if call.attended else call.peer_id
            self._send(peer_id, msg.state(call.id, State.ACTIVE, by=by, reason=Reason.BUSY, agent=call.attended))

    def _is_target(self, peer_id: str) -> bool:
        """Whether the button would ring this peer, too."""
        targets = self._config.targets
        return not targets or any(is_target(target, peer_id, self._peers[peer_id]) for target in targets)

    def _refuse(self, peer_id: str, message: msg.Request, reason: str) -> None:
        self._send(peer_id, msg.error(msg.TYPES[type(message)], reason))

    # Calls of other nodes that ring here

    def _news(self, peer_id: str, news: msg.News, now: float) -> None:
        if isinstance(news, msg.DoorResult):
            self._emit(self._doors.result(peer_id, news))
            return
        if isinstance(news, msg.Description):
            if self._call is not None and self._call.peer_id == peer_id:
                self._doors.described(peer_id, news)
            return
        match rung.meaning(news, peer_id, call=self._call, last=self.view, me=self._me, now=now):
            case rung.Begins(call):
                self._begin(call, now)
                call.asked = self._config.auto_answer
                self._meet(call)
            case rung.Talks(call):
                self._activate(call, peer_id, now)
            case rung.Ends(call, reason):
                self._end(call, reason, now)
            case rung.Disowned(call_id):
                self._send(peer_id, msg.hangup(call_id))
            case _:
                pass

    def _meet(self, call: Call) -> None:
        """What somebody here has to say to the other node, now and when it is back; after a restart it refuses."""
        assert call.peer_id is not None
        self._send(call.peer_id, msg.describe())
        if call.asked:
            self._send(call.peer_id, msg.answer(call.id))
