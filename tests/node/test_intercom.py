"""What happens goes through the machine and comes out as messages, lights and sound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from edge_node.call.config import CallConfig
from edge_node.call.effects import CallView, Phase
from edge_node.call.machine import CallMachine
from edge_node.call.policy import DoorPolicy
from edge_node.errors import DeviceMissing, NotConnectedError, RetryLater
from edge_node.node.intercom import MESSAGES_AT_MOST, OUTBOX_SIZE, Intercom
from tests.support.clock import ManualClock
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import eventually, settle

Sent = tuple[str | None, Mapping[str, Any]]


class Outputs:
    def __init__(self) -> None:
        self.released: list[str] = []
        self.heard: frozenset[str] = frozenset()
        self.views: list[CallView] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.limits_near = 0
        self.broken = False

    def release_door(self, door: str) -> None:
        if self.broken:
            raise DeviceMissing("no relay")
        self.released.append(door)

    def allow_audio(self, peer_ids: frozenset[str]) -> None:
        self.heard = peer_ids

    def call_changed(self, view: CallView) -> None:
        self.views.append(view)

    def event(self, on: str, facts: Mapping[str, Any]) -> None:
        self.events.append((on, facts))

    def limit_near(self) -> None:
        self.limits_near += 1

    def describe(self) -> Mapping[str, Any]:
        return {"type": "node.description", "id": "door"}

    async def picture(self) -> Mapping[str, Any]:
        if self.broken:
            raise DeviceMissing("no camera")
        return {"jpeg": "/9j/", "width_px": 640, "height_px": 360, "at": 1.5}


class LoopChannel:
    peer_id = "me"

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.broken = False

    async def send(self, data: Mapping[str, Any]) -> None:
        await self.send_to("", data)

    async def send_to(self, peer_id: str, data: Mapping[str, Any]) -> None:
        if self.broken:
            raise NotConnectedError("not connected")
        self.sent.append((peer_id or None, data))

    def types(self) -> list[str]:
        return [str(data["type"]) for _, data in self.sent]


class Rig:
    """A door with a button, an allowed resident and a steered clock."""

    def __init__(self, *, is_rung: bool = False) -> None:
        door = DoorPolicy(doors=("door",), allow=("resident-*",))
        machine = CallMachine(CallConfig("door", "Front door", is_rung=is_rung, door=door))
        self.clock = ManualClock()
        self.outputs = Outputs()
        self.channel = LoopChannel()
        self.intercom = Intercom(machine, self.outputs, self.clock, buttons={"call": "call", "bell": "open:door"})
        self.work = asyncio.create_task(self.intercom.run())

    async def __aenter__(self) -> Rig:
        self.intercom.channel_up(self.channel)
        self.intercom.peer_joined("resident-a", None)
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.work.cancel()
        await asyncio.wait([self.work])

    def say(self, peer_id: str, **data: Any) -> None:
        self.intercom.data(peer_id, data, direct=True)


async def test_press_ring_answer_talk_hang_up() -> None:
    async with Rig() as rig:
        presses: list[str] = []
        rig.intercom.on_press(presses.append)
        rig.intercom.press("call")
        await settle()
        assert presses == ["call"]
        assert "call.ring" in rig.channel.types()
        call = rig.intercom.view.call
        assert [v.phase for v in rig.outputs.views] == [Phase.RINGING]
        rig.say("resident-a", type="call.answer", call=call)
        await settle()
        assert rig.outputs.heard == {"resident-a"}
        assert rig.intercom.view.phase is Phase.ACTIVE
        rig.say("resident-a", type="call.hangup", call=call)
        await settle()
        assert rig.outputs.heard == frozenset()
        assert [v.phase for v in rig.outputs.views] == [Phase.RINGING, Phase.ACTIVE, Phase.IDLE]
        assert ("call", {"state": "active", "call": call, "peer": "resident-a"}) in rig.outputs.events


async def test_a_ring_is_repeated_by_the_clock_alone() -> None:
    async with Rig() as rig:
        rig.intercom.action("call", "control socket")
        await settle()
        rings = rig.channel.types().count("call.ring")
        rig.clock.advance(2.1)
        rig.intercom.press("unknown button")  # wakes the loop; the machine's timers are looked at first
        await settle()
        assert rig.channel.types().count("call.ring") == rings + 1


async def test_a_ring_is_repeated_while_nothing_else_happens() -> None:
    async with Rig() as rig:
        rig.intercom.action("call", "control socket")
        await settle()
        rings = rig.channel.types().count("call.ring")
        rig.clock.advance(1.999)  # the loop's own timer does the rest: it wakes when the machine says
        rig.intercom.press("unknown button")
        await settle()
        assert rig.channel.types().count("call.ring") == rings
        rig.clock.advance(0.001)
        await eventually(lambda: rig.channel.types().count("call.ring") == rings + 1)


async def test_the_door_opens_for_the_allowed_and_its_failure_is_told() -> None:
    async with Rig() as rig:
        rig.say("resident-a", type="door.open", door="door", nonce="n1", at=1)
        rig.say("somebody", type="door.open", door="door", nonce="n2", at=1)
        await settle()
        rig.outputs.broken = True
        rig.say("resident-a", type="door.open", door="door", nonce="n3", at=1)
        rig.intercom.press("bell")
        await settle()
        results = {d["nonce"]: (to, d["ok"]) for to, d in rig.channel.sent if d["type"] == "door.result"}
        assert results == {"n1": ("resident-a", True), "n2": ("somebody", False), "n3": ("resident-a", False)}
        assert rig.outputs.released == ["door"]


async def test_description_presence_and_broadcast_data() -> None:
    async with Rig() as rig:
        rig.say("resident-a", type="node.describe")
        rig.intercom.data("resident-a", {"type": "call.start", "call": "x"}, direct=False)
        rig.intercom.data("resident-a", "only text", direct=False)
        rig.intercom.peer_left("resident-a")
        await settle()
        assert ("resident-a", {"type": "node.description", "id": "door"}) in rig.channel.sent
        assert rig.intercom.view.phase is Phase.IDLE, "a broadcast starts nothing"
        assert ("presence", {"state": "left", "peer": "resident-a"}) in rig.outputs.events
        assert ("data", {"type": "call.start", "call": "x"}) in rig.outputs.events


async def test_a_station_is_rung_by_another_node() -> None:
    async with Rig(is_rung=True) as rig:
        rig.intercom.data("resident-a", {"type": "call.ring", "call": "x", "node": "gate", "at": 7}, direct=False)
        await settle()
        assert (rig.intercom.view.phase, rig.intercom.view.theirs) == (Phase.INCOMING, True)
        rig.intercom.action("answer", "control socket")
        await settle()
        assert ("resident-a", {"type": "call.answer", "call": "x"}) in rig.channel.sent
        state = {"type": "call.state", "call": "x", "state": "active", "by": LoopChannel.peer_id}
        rig.intercom.data("resident-a", state, direct=False)
        await settle()
        assert rig.intercom.view.phase is Phase.ACTIVE
        assert rig.outputs.heard == {"resident-a"}


@in_virtual_time
async def test_what_the_other_node_makes_of_a_door() -> None:
    async with Rig(is_rung=True) as rig:
        rig.intercom.data("resident-a", {"type": "call.ring", "call": "x", "node": "gate", "at": 7}, direct=False)
        await settle()

        async def ask(**answer: Any) -> None:
            """Asks, and answers as the other node would."""
            asking = asyncio.create_task(rig.intercom.ask_door("front", "control socket"))
            await settle()
            to, request = rig.channel.sent[-1]
            assert (to, request["type"], request["door"], request["call"]) == ("resident-a", "door.open", "front", "x")
            if answer:
                rig.say("resident-a", type="door.result", nonce=request["nonce"], **answer)
            await asking

        await ask(ok=True)
        with pytest.raises(RetryLater, match="front stays shut: not allowed"):
            await ask(ok=False, reason="not allowed")
        with pytest.raises(RetryLater, match="nobody answered"):
            await ask()
        late = rig.channel.sent[-1][1]["nonce"]
        rig.say("resident-a", type="door.result", nonce=late, ok=True)
        await settle()


async def test_a_flood_of_messages_leaves_room_for_presses() -> None:
    async with Rig() as rig:
        for number in range(500):
            rig.say("resident-a", type="call.answer", call=f"c{number}")
        assert rig.intercom.refused_messages == 500 - MESSAGES_AT_MOST
        rig.intercom.action("call", "control socket")
        await settle()
        assert rig.intercom.view.phase is Phase.RINGING


async def test_sends_fail_quietly_and_never_pile_up() -> None:
    async with Rig() as rig:
        rig.channel.broken = True
        rig.say("resident-a", type="node.describe")
        await settle()
        rig.channel.broken = False
        for number in range(OUTBOX_SIZE + 5):
            rig.intercom.tell(None, {"type": "x", "n": number})
        await settle()
        assert rig.intercom.dropped_sends == 5
        assert len(rig.channel.sent) == OUTBOX_SIZE
        rig.intercom.channel_down()
        rig.intercom.tell("resident-a", {"type": "lost"})
        await settle()
        assert "lost" not in rig.channel.types()


async def test_a_snapshot_goes_to_who_asked_or_a_reason_does() -> None:
    outputs, channel = Outputs(), LoopChannel()
    intercom = Intercom(CallMachine(CallConfig("door", "Door")), outputs, ManualClock())
    work = asyncio.create_task(intercom.run())
    intercom.channel_up(channel)
    intercom.peer_joined("anna", None)
    intercom.data("anna", {"type": "snapshot.get", "nonce": "n1"}, direct=True)
    await eventually(lambda: channel.sent)
    picture = {"type": "snapshot", "nonce": "n1", "at": 1.5, "width_px": 640, "height_px": 360, "jpeg": "/9j/"}
    assert channel.sent == [("anna", picture)]
    outputs.broken = True
    for index in range(8):
        intercom.data("anna", {"type": "snapshot.get", "nonce": f"m{index}"}, direct=True)
    await eventually(lambda: len(channel.sent) == 9)
    reasons = {str(data["reason"]) for _, data in channel.sent[1:]}
    assert reasons == {"no camera", "too many ask at once: try again"}
    work.cancel()
    await asyncio.wait([work])
