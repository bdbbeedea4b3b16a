"""The one call of a node: how it begins, goes on, ends; what is said of that."""

from __future__ import annotations

from collections.abc import Sequence

from edge_node.call import messages as msg
from edge_node.call.config import CallConfig
from edge_node.call.effects import (
    AGENT,
    AllowAudio,
    Broadcast,
    CallView,
    Effect,
    Phase,
    SendTo,
    StateChanged,
)
from edge_node.call.messages import Reason
from edge_node.call.ongoing import Call


class CallBook:
    """What call.machine keeps of the call; effects gather in `_out`, messages only while the channel is up."""

    def __init__(self, config: CallConfig, muted: bool) -> None:
        self._config = config
        self._up = False
        self._me: str | None = None
        self._call: Call | None = None
        self._unsent_end: msg.Data | None = None
        self._out: list[Effect] = []
        self.view = CallView(muted=muted)

    def _begin(self, call: Call, now: float) -> None:
        self._call = call
        self._show(call, call.phase, None, now)
        self._tell(call, call.state())

    def _activate(self, call: Call, peer_id: str, now: float) -> None:
        self._call = call.answered(peer_id, now, self._config.max_talk_s, self._config.warn_s)
        self._show(self._call, Phase.ACTIVE, Reason.ANSWERED, now)
        self._out.append(AllowAudio(frozenset({peer_id})))
        self._tell(call, self._call.state())

    def _over(self, call: Call, reason: Reason, now: float) -> None:
        """Nobody answered, or the time is up: the voice agent talks with whom nobody answered, if it may hear them."""
        if self._config.attend_s is None or self.view.muted or call.phase is not Phase.RINGING:
            self._end(call, reason, now)
            return
        self._call = call.answered(None, now, self._config.attend_s, self._config.warn_s)
        self._call.by = self._me
        self._show(self._call, Phase.ACTIVE, Reason.ANSWERED, now)
        self._out.append(AllowAudio(frozenset({AGENT})))
        self._broadcast(self._call.state())

    def _end(self, call: Call, reason: Reason, now: float) -> None:
        self._call = None
        self._show(call, Phase.IDLE, reason, now)
        if call.phase is Phase.ACTIVE:
            self._out.append(AllowAudio(frozenset()))
        if self._up:
            self._tell(call, call.ended(reason))
        elif not call.theirs:
            self._unsent_end = call.ended(reason)

    def _show(self, call: Call, phase: Phase, reason: Reason | None, now: float) -> None:
        was = self.view
        self._change(
            CallView(phase, call.id, call.peer_id, reason, now, was.muted, was.held, call.theirs, call.attended)
        )

    def _change(self, view: CallView) -> None:
        self.view = view
        self._out.append(StateChanged(view))

    def _emit(self, effects: Sequence[Effect]) -> None:
        self._out += [effect for effect in effects if self._up or not isinstance(effect, SendTo)]

    def _tell(self, call: Call, data: msg.Data) -> None:
        """Tells the channel of a call of this node's own."""
        if not call.theirs:
            self._broadcast(data)

    def _broadcast(self, data: msg.Data) -> None:
        if self._up:
            self._out.append(Broadcast(data))

    def _send(self, peer_id: str, data: msg.Data) -> None:
        if self._up:
            self._out.append(SendTo(peer_id, data))
