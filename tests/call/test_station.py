"""An indoor station beside a door: two call machines and what passes between them."""

from __future__ import annotations

from typing import Any

import pytest

from edge_node.call import messages as msg
from edge_node.call.effects import AllowAudio, Audit, Broadcast, DescribeTo, Effect, Phase, ReleaseDoor, SendTo
from edge_node.call.events import Action, ChannelDown, ChannelUp, DoorOutcome, PeerJoined, PeerLeft, PeerMessage
from edge_node.call.messages import Reason
from edge_node.call.policy import DoorPolicy
from edge_node.call.signed import DoorKey, Signing
from tests.support.call_driver import AT, Driver, error, state

PASSES = 50


def sign(message: bytes) -> tuple[str, str]:
    return "aa", f"aa:{message.hex()}"


def is_signed(public: str, message: bytes, signature: str) -> bool:
    return signature == f"{public}:{message.hex()}"


class House:
    """A channel that carries what machines say to each other, at once and in order."""

    def __init__(self, signing: Signing | None = None, **station: Any) -> None:
        policy = DoorPolicy(doors=("front",), allow=("hall",), signing=signing)
        self.challenge = None if signing is None else signing.challenge
        self.door = Driver(me="door", up=False, door=policy, max_talk_s=300, verify=is_signed)
        self.hall = Driver(me="hall", up=False, door=DoorPolicy(), is_rung=True, **station)
        self.all = {driver.me: driver for driver in (self.door, self.hall)}
        self.wire: list[tuple[str, str | None, dict[str, Any]]] = []
        for driver in self.all.values():
            self.run(driver, driver.do(ChannelUp(driver.me)))
        for driver in self.all.values():
            for other in self.all.values():
                if other is not driver:
                    self.run(driver, driver.do(PeerJoined(other.me)))

    def run(self, who: Driver, effects: list[Effect]) -> None:
        """Delivers what was said, and what is said to that."""
        waiting = [(who, effect) for effect in effects]
        passes = 0
        while waiting:
            passes += 1
            assert passes < PASSES, "two nodes quarrel"
            sender, effect = waiting.pop(0)
            match effect:
                case Broadcast(data):
                    self.wire.append((sender.me, None, data))
                    receivers = [(d, msg.overheard(data)) for d in self.all.values() if d is not sender]
                case SendTo(peer_id, data):
                    self.wire.append((sender.me, peer_id, data))
                    receivers = [(self.all[peer_id], msg.parse(data))] if peer_id in self.all else []
                case DescribeTo(peer_id):
                    waiting.append((sender, SendTo(peer_id, self.description(sender))))
                    continue
                case ReleaseDoor(door, peer_id, nonce):
                    waiting += [(sender, e) for e in sender.do(DoorOutcome(door, peer_id, nonce, ok=True))]
                    continue
                case _:
                    continue
            for receiver, message in receivers:
                waiting += [(receiver, e) for e in receiver.do(PeerMessage(sender.me, message))]

    def description(self, who: Driver) -> dict[str, Any]:
        """What the shell says of a node."""
        return {"type": "node.description", "id": who.me, "challenge": self.challenge}

    def press(self, who: Driver, action: str) -> None:
        self.run(who, who.press(action))

    def wait(self, seconds: float) -> None:
        """All clocks go on, half a second at a time."""
        for _ in range(int(seconds * 2)):
            for driver in self.all.values():
                self.run(driver, driver.wait(0.5))

    def rings(self) -> None:
        self.press(self.door, "call")
        assert self.hall.phase() is Phase.INCOMING

    def talks(self) -> None:
        self.rings()
        self.press(self.hall, "answer")
        assert self.phases == (Phase.ACTIVE, Phase.ACTIVE)

    @property
    def phases(self) -> tuple[Phase, Phase]:
        return self.door.phase(), self.hall.phase()

    def said_by(self, who: Driver) -> list[str]:
        said = [str(data["type"]) for sender, _, data in self.wire if sender == who.me]
        return [kind for kind in said if kind != "node.describe"]


def test_the_button_at_the_door_rings_here() -> None:
    house = House()
    house.rings()
    assert (house.hall.machine.view.peer_id, house.hall.machine.view.theirs) == ("door", True)
    assert house.said_by(house.hall) == []
    house.wait(20)
    assert house.hall.phase() is Phase.INCOMING, "as long as it rings there"
    house.wait(12)
    assert house.phases == (Phase.IDLE, Phase.IDLE)
    assert house.hall.machine.view.reason is Reason.TIMEOUT
    assert house.said_by(house.hall) == []


@pytest.mark.parametrize("action", ["answer", "toggle", "call"])
def test_answered_here(action: str) -> None:
    house = House()
    house.rings()
    house.press(house.hall, action)
    assert house.phases == (Phase.ACTIVE, Phase.ACTIVE)
    assert (house.door.machine.view.peer_id, house.hall.machine.view.peer_id) == ("hall", "door")
    assert house.hall.heard == [frozenset({"door"})]
    assert house.said_by(house.hall) == ["call.answer"], "the channel hears of the call from the door"
    house.wait(10)
    assert house.phases == (Phase.ACTIVE, Phase.ACTIVE)


def test_answered_by_itself() -> None:
    house = House(auto_answer=True)
    house.press(house.door, "call")
    assert house.phases == (Phase.ACTIVE, Phase.ACTIVE)


def test_declined_here() -> None:
    house = House()
    house.rings()
    house.press(house.hall, "hangup")
    assert house.phases == (Phase.IDLE, Phase.IDLE)
    assert house.door.machine.view.reason is Reason.DECLINED
    house.run(house.hall, house.hall.hears("door", "call.ring", call="c1", at=AT))
    assert house.hall.phase() is Phase.IDLE, "a ring that was on its way"


def test_hung_up_here() -> None:
    house = House()
    house.talks()
    house.press(house.hall, "toggle")
    assert house.phases == (Phase.IDLE, Phase.IDLE)
    assert [effect for effect in house.hall.all if isinstance(effect, AllowAudio)][-1] == AllowAudio(frozenset())
    assert "error" not in house.said_by(house.door) + house.said_by(house.hall)


def test_hung_up_at_the_door() -> None:
    house = House()
    house.talks()
    house.press(house.door, "hangup")
    assert house.phases == (Phase.IDLE, Phase.IDLE)
    assert house.hall.machine.view.reason is Reason.HANGUP
    assert "error" not in house.said_by(house.door) + house.said_by(house.hall)


def test_cancelled_at_the_door() -> None:
    house = House()
    house.rings()
    house.press(house.door, "hangup")
    assert house.phases == (Phase.IDLE, Phase.IDLE)
    assert house.hall.machine.view.reason is Reason.CANCELLED


def test_somebody_else_was_first() -> None:
    house = House()
    house.run(house.door, house.door.do(PeerJoined("anna")))
    house.rings()
    house.run(house.door, house.door.says("anna", "call.answer", call="c1"))
    assert house.phases == (Phase.ACTIVE, Phase.IDLE)
    assert house.hall.machine.view.reason is Reason.BUSY


def test_both_at_once() -> None:
    house = House()
    house.run(house.door, house.door.do(PeerJoined("anna")))
    house.rings()
    late = house.hall.press("answer")
    house.run(house.door, house.door.says("anna", "call.answer", call="c1"))
    house.run(house.hall, late)
    assert house.phases == (Phase.ACTIVE, Phase.IDLE)
    assert house.door.machine.view.peer_id == "anna"


def test_the_limit_here_is_the_shorter_one() -> None:
    house = House(max_talk_s=60.0)
    house.talks()
    house.wait(61)
    assert house.phases == (Phase.IDLE, Phase.IDLE)
    assert (house.door.machine.view.reason, house.hall.machine.view.reason) == (Reason.HANGUP, Reason.LIMIT)


def test_the_limit_there() -> None:
    house = House(max_talk_s=600.0)
    house.talks()
    house.wait(301)
    assert house.phases == (Phase.IDLE, Phase.IDLE)
    assert house.hall.machine.view.reason is Reason.LIMIT


def test_the_door_is_gone() -> None:
    house = House()
    house.talks()
    del house.all["door"]
    house.run(house.hall, house.hall.do(PeerLeft("door")))
    house.wait(3)
    assert house.hall.phase() is Phase.IDLE
    assert house.hall.machine.view.reason is Reason.PEER_LEFT


def test_the_door_stops_ringing_without_a_word() -> None:
    house = House()
    house.rings()
    del house.all["door"]
    house.wait(6)
    assert house.hall.machine.view.reason is Reason.TIMEOUT
    house.run(house.hall, house.hall.hears("door", "call.ring", call="c1", at=AT))
    assert house.hall.phase() is Phase.INCOMING, "it was the network: it rings on"


def test_the_door_forgot_the_talk_in_a_restart() -> None:
    house = House()
    house.talks()
    fresh = house.all["door"] = house.door = Driver(me="door", up=False)
    house.run(house.hall, house.hall.do(PeerLeft("door")))
    house.run(fresh, fresh.do(ChannelUp("door")))
    house.run(fresh, fresh.do(PeerJoined("hall")))
    house.run(house.hall, house.hall.do(PeerJoined("door")))
    assert house.hall.phase() is Phase.IDLE


def test_the_station_forgot_the_talk_in_a_restart() -> None:
    house = House()
    house.talks()
    fresh = house.all["hall"] = house.hall = Driver(me="hall", up=False, is_rung=True)
    house.run(fresh, fresh.do(ChannelUp("hall")))
    house.run(fresh, fresh.do(PeerJoined("door")))
    house.run(house.door, house.door.do(PeerLeft("hall")))
    house.run(house.door, house.door.do(PeerJoined("hall")))
    assert house.phases == (Phase.IDLE, Phase.IDLE), "nobody talks to an empty hall"


def test_off_the_channel_for_a_moment() -> None:
    house = House()
    house.talks()
    house.hall.do(ChannelDown())
    assert house.hall.phase() is Phase.ACTIVE
    house.run(house.hall, house.hall.do(ChannelUp("hall")))
    assert house.phases == (Phase.ACTIVE, Phase.ACTIVE)


def test_hung_up_while_off_the_channel() -> None:
    house = House()
    house.talks()
    house.hall.do(ChannelDown())
    house.hall.press("hangup")
    house.run(house.hall, house.hall.do(ChannelUp("hall")))
    assert house.said_by(house.hall) == ["call.answer"], "nothing is said of a call that is not its own"


def test_people_who_join_meanwhile_hear_of_the_call_from_the_door() -> None:
    house = House()
    house.rings()
    house.hall.do(PeerJoined("anna"))
    assert house.hall.out == []
    house.hall.do(ChannelUp("hall"))
    assert house.hall.out == [SendTo("door", {"type": "node.describe"})]


def test_it_opens_the_door_that_rings() -> None:
    house = House()
    house.rings()
    house.press(house.hall, "open:front")
    assert house.hall.of(Audit) == [Audit("open front at door", None, True, "opened")]
    assert ReleaseDoor("front", "hall", "c1") in house.door.all
    house.press(house.hall, "answer")
    house.press(house.hall, "open:gate")
    assert house.hall.of(Audit) == [Audit("open gate at door", None, False, "unknown door")]
    house.press(house.hall, "hangup")
    house.press(house.hall, "open:front")
    assert house.hall.of(Audit) == [Audit("open front", None, False, "button: unknown door")]


def test_it_signs_where_the_door_wants_that() -> None:
    keys = (DoorKey("hall", "aa", ("hall",)),)
    house = House(Signing("door", "c0ffee", keys), sign=sign)
    house.rings()
    house.press(house.hall, "open:front")
    assert house.hall.of(Audit) == [Audit("open front at door", None, True, "opened")]
    house.press(house.hall, "answer")
    # The door starts anew: what it wants now, it is asked again.
    house.challenge = "0ddba11"
    policy = DoorPolicy(doors=("front",), allow=("hall",), signing=Signing("door", house.challenge, keys))
    fresh = house.all["door"] = house.door = Driver(me="door", up=False, door=policy, verify=is_signed)
    fresh.calls = 7
    house.run(fresh, fresh.do(ChannelUp("door")))
    house.run(fresh, fresh.do(PeerJoined("hall")))
    house.run(fresh, fresh.press("call"))
    house.run(house.hall, house.hall.do(PeerLeft("door")))
    house.run(house.hall, house.hall.do(PeerJoined("door")))
    assert house.hall.phase() is Phase.IDLE, "that talk is over"
    house.wait(2)
    house.press(house.hall, "open:front")
    assert house.hall.of(Audit) == [Audit("open front at door", None, True, "opened")]


def test_without_a_key_such_a_door_stays_shut() -> None:
    house = House(Signing("door", "c0ffee"))
    house.rings()
    house.press(house.hall, "open:front")
    assert house.hall.of(Audit) == [Audit("open front at door", None, False, "signature required")]


def test_only_the_node_that_rings_says_what_its_door_wants() -> None:
    house = House(sign=sign)
    house.hall.do(PeerJoined("anna"))
    house.hall.says("anna", "node.description", id="door", challenge="x")
    house.rings()
    house.hall.says("anna", "node.description", id="door", challenge="x")
    house.press(house.hall, "open:front")
    assert house.hall.of(Audit) == [Audit("open front at door", None, True, "opened")]


def test_off_the_channel_no_door_is_asked() -> None:
    house = House()
    house.rings()
    house.hall.do(ChannelDown())
    house.hall.do(Action("open:front", "n", AT))
    assert house.hall.of(SendTo) == []


def test_a_call_of_another_node_is_nobody_elses_here() -> None:
    house = House()
    house.rings()
    house.hall.do(PeerJoined("anna"))
    for kind in ("call.answer", "call.decline", "call.hangup"):
        house.hall.says("anna", kind, call="c1")
        assert house.hall.sent("anna") == [error(kind, "there is no such call")]
    house.hall.says("anna", "call.start", call="x")
    assert house.hall.sent("anna") == [state("x", "ended", reason="busy")]
    assert house.hall.phase() is Phase.INCOMING


def test_a_person_may_call_the_station_too() -> None:
    house = House()
    house.hall.do(PeerJoined("anna"))
    house.hall.says("anna", "call.start", call="x")
    assert house.hall.said == [state("x", "ringing", "anna")]
    house.press(house.door, "call")
    assert house.hall.machine.view.peer_id == "anna", "one call at a time"
    house.hall.says("anna", "call.hangup", call="x")
    assert house.hall.machine.view.reason is Reason.CANCELLED
    house.wait(2)
    assert house.hall.machine.view.peer_id == "door", "which rings still"


def test_who_is_not_on_the_channel_does_not_ring() -> None:
    house = House()
    house.hall.hears("stranger", "call.ring", call="c", at=AT)
    house.hall.says("stranger", "door.result", nonce="n", ok=True)
    assert (house.hall.out, house.hall.phase()) == ([], Phase.IDLE)


def test_a_door_is_rung_by_no_node() -> None:
    d = Driver("hall")
    d.hears("hall", "call.ring", call="c", at=AT)
    d.says("hall", "call.ring", call="c", at=AT)
    assert (d.out, d.phase()) == ([], Phase.IDLE)
