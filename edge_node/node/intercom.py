"""Runs the call machine: what happens goes in, what it decides is carried out."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_node.aio.mailbox import Mailbox
from edge_node.aio.tasks import TaskGroup
from edge_node.call import messages
from edge_node.call.effects import (
    AllowAudio,
    Audit,
    Broadcast,
    CallView,
    DescribeTo,
    DoorTold,
    Effect,
    LimitNear,
    ReleaseDoor,
    SendTo,
    SnapshotTo,
    StateChanged,
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
from edge_node.call.machine import CallMachine
from edge_node.errors import EdgeNodeError, RetryLater
from edge_node.ports import Channel, Clock

log = logging.getLogger(__name__)
audit = logging.getLogger("edge_node.audit")

MAILBOX_SIZE = 64
MESSAGES_AT_MOST = 48
"""Messages from others may fill the mailbox only this far: presses and departures always find room."""
OUTBOX_SIZE = 128
PICTURES_AT_ONCE = 4
SEND_DEADLINE_S = 5.0
DOOR_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Press:
    """A button went down; equal neighbours coalesce in the mailbox."""

    button: str


class Outputs(Protocol):
    """What the intercom moves besides messages; no call may block."""

    def release_door(self, door: str) -> None:
        """Pulses the door's relay. Raises EdgeNodeError when that is not possible."""
        ...

    def allow_audio(self, peer_ids: frozenset[str]) -> None: ...

    def call_changed(self, view: CallView) -> None: ...

    def limit_near(self) -> None:
        """The call is ended by its limit soon."""
        ...

    def event(self, on: str, facts: Mapping[str, Any]) -> None:
        """Something a `[[rule]]` may wait for: on = data, presence, call or channel."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """The node.description message."""
        ...

    async def picture(self) -> Mapping[str, Any]:
        """Fields of messages.snapshot(), small enough for one frame. Raises EdgeNodeError when there is none."""
        ...


class Intercom:
    """One mailbox, one machine, one outbox."""

    def __init__(
        self, machine: CallMachine, outputs: Outputs, clock: Clock, *, buttons: Mapping[str, str] | None = None
    ) -> None:
        self._machine = machine
        self._outputs = outputs
        self._clock = clock
        self._buttons = dict(buttons or {})
        self._mailbox: Mailbox[Event | _Press] = Mailbox(MAILBOX_SIZE)
        self._outbox: deque[Broadcast | SendTo] = deque()
        self._outgoing = asyncio.Event()
        self._channel: Channel | None = None
        self._pictures = TaskGroup("intercom")
        self._on_press: list[Callable[[str], None]] = []
        self._asked_doors: dict[str, asyncio.Future[DoorTold]] = {}
        self.view = machine.view
        self.refused_messages = 0
        self.dropped_sends = 0

    # What happens; press() may come from any thread.

    def press(self, button: str) -> None:
        self._mailbox.post_threadsafe(_Press(button))

    def action(self, action: str, source: str) -> None:
        """Somebody at this machine asks for a button's action."""
        self._mailbox.post(self._as_action(action, source))

    async def ask_door(self, door: str, source: str) -> None:
        """Asks the node whose call rings or talks here to open one of its doors. Raises RetryLater when it does not."""
        action = self._as_action(f"open:{door}", source)
        told = self._asked_doors[action.fresh_id] = asyncio.get_running_loop().create_future()
        self._mailbox.post(action)
        try:
            async with asyncio.timeout(DOOR_DEADLINE_S):
                answer = await told
        except TimeoutError:
            raise RetryLater(f"nobody answered whether {door} is open: ask again") from None
        finally:
            del self._asked_doors[action.fresh_id]
        if not answer.ok:
            raise RetryLater(f"{door} stays shut: {answer.reason}")

    def on_press(self, observer: Callable[[str], None]) -> None:
        """`observer(button name)` for every press that arrives."""
        self._on_press.append(observer)

    def agent_done(self, call: str) -> None:
        """The voice agent's talk is over."""
        self._mailbox.post(AgentDone(call))

    def channel_up(self, channel: Channel) -> None:
        self._channel = channel
        self._mailbox.post(ChannelUp(channel.peer_id))

    def channel_down(self) -> None:
        self._channel = None
        self._outbox.clear()
        self._mailbox.post(ChannelDown())

    def peer_joined(self, peer_id: str, metadata: Mapping[str, Any] | None) -> None:
        self._mailbox.post(PeerJoined(peer_id, metadata))
        self._outputs.event("presence", {"state": "joined", "peer": peer_id})

    def peer_left(self, peer_id: str) -> None:
        self._mailbox.post(PeerLeft(peer_id))
        self._outputs.event("presence", {"state": "left", "peer": peer_id})

    def data(self, peer_id: str, data: Any, *, direct: bool) -> None:
        """Data from the channel: everything may match a rule; of what is said to all only calls reach the machine."""
        if isinstance(data, Mapping):
            self._outputs.event("data", data)
        message = messages.parse(data) if direct else messages.overheard(data)
        if isinstance(message, messages.Unknown):
            return
        if len(self._mailbox) >= MESSAGES_AT_MOST:
            self.refused_messages += 1
            return
        self._mailbox.post(PeerMessage(peer_id, message))

    def tell(self, peer_id: str | None, data: Mapping[str, Any]) -> None:
        """Sends a message, to everybody when peer_id is None; in order with the call's own."""
        self._post(Broadcast(dict(data)) if peer_id is None else SendTo(peer_id, dict(data)))

    # The loop

    async def run(self) -> None:
        """Until cancelled."""
        sender = asyncio.create_task(self._send_all(), name="intercom:send")
        try:
            while True:
                deadline = self._machine.deadline
                wait_s = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
                item = await self._mailbox.get(wait_s)
                self._step(item)
        finally:
            await self._pictures.close()
            sender.cancel()
            await asyncio.wait([sender])

    def _step(self, item: Event | _Press | None) -> None:
        now = self._clock.monotonic()
        for effect in self._machine.tick(now):
            self._do(effect)
        match item:
            case None:
                return
            case _Press(button):
                for observer in self._on_press:
                    observer(button)
                action = self._buttons.get(button)
                if action is None:
                    return
                item = self._as_action(action, f"button {button}")
            case _:
                pass
        for effect in self._machine.handle(item, now):
            self._do(effect)

    def _as_action(self, action: str, source: str) -> Action:
        return Action(action, fresh_id=uuid.uuid4().hex, at=self._clock.wall(), source=source)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Broadcast() | SendTo():
                self._post(effect)
            case ReleaseDoor(door, peer_id, nonce):
                self._release(door, peer_id, nonce)
            case DoorTold(nonce):
                waiting = self._asked_doors.get(nonce)
                if waiting is not None and not waiting.done():
                    waiting.set_result(effect)
            case DescribeTo(peer_id):
                self._post(SendTo(peer_id, dict(self._outputs.describe())))
            case SnapshotTo(peer_id, nonce):
                self._picture_to(peer_id, nonce)
            case StateChanged(view):
                if view.phase is not self.view.phase:
                    fields = {"event": f"call.{view.phase.value}", "call_id": view.call, "peer_id": view.peer_id}
                    log.info("call: %s", view.phase.value, extra=fields)
                self.view = view
                self._outputs.call_changed(view)
                self._outputs.event("call", {"state": view.phase.value, "call": view.call, "peer": view.peer_id})
            case AllowAudio(peer_ids):
                self._outputs.allow_audio(peer_ids)
            case LimitNear():
                self._outputs.limit_near()
            case Audit(what, peer_id, ok, reason):
                verdict = "allowed" if ok else "refused"
                fields = {"event": f"audit.{verdict}", "peer_id": peer_id}
                level = logging.INFO if ok else logging.WARNING
                audit.log(level, "%s by %s: %s (%s)", what, peer_id, verdict, reason, extra=fields)

    def _picture_to(self, peer_id: str, nonce: str | None) -> None:
        if len(self._pictures) >= PICTURES_AT_ONCE:
            self._post(SendTo(peer_id, messages.error("snapshot.get", "too many ask at once: try again")))
            return
        self._pictures.spawn(self._take_picture(peer_id, nonce), "snapshot")

    async def _take_picture(self, peer_id: str, nonce: str | None) -> None:
        try:
            answer = messages.snapshot(nonce=nonce, **await self._outputs.picture())
        except EdgeNodeError as err:
            answer = messages.error("snapshot.get", str(err))
        self._post(SendTo(peer_id, answer))

    def _release(self, door: str, peer_id: str | None, nonce: str | None) -> None:
        try:
            self._outputs.release_door(door)
            outcome = DoorOutcome(door, peer_id, nonce, ok=True)
        except EdgeNodeError as err:
            outcome = DoorOutcome(door, peer_id, nonce, ok=False, reason=str(err))
        self._mailbox.post(outcome)

    # Outgoing messages; overflow rule: the oldest is dropped and counted.

    def _post(self, effect: Broadcast | SendTo) -> None:
        if len(self._outbox) >= OUTBOX_SIZE:
            self._outbox.popleft()
            self.dropped_sends += 1
        self._outbox.append(effect)
        self._outgoing.set()

    async def _send_all(self) -> None:
        while True:
            while self._outbox:
                await self._send(self._outbox.popleft())
            self._outgoing.clear()
            await self._outgoing.wait()

    async def _send(self, effect: Broadcast | SendTo) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                if isinstance(effect, Broadcast):
                    await channel.send(effect.data)
                else:
                    await channel.send_to(effect.peer_id, effect.data)
        except (EdgeNodeError, TimeoutError) as err:
            # A ring is repeated by the machine every 2 s; anything else is told again when the person asks again.
            log.info("%s was not sent: %s", effect.data.get("type"), err)
