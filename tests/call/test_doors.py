"""Doors here, and those of nodes that ring here."""

from __future__ import annotations

from edge_node.call.doors import MAX_ASKED, Doors
from edge_node.call.effects import Audit, DoorTold, Phase, ReleaseDoor, SendTo
from edge_node.call.events import Action, DoorOutcome
from edge_node.call.messages import DoorOpen, DoorResult
from edge_node.call.ongoing import Call
from edge_node.call.policy import DoorPolicy

AT = 1_700_000_000.0
THEIRS = Call("c", Phase.INCOMING, AT, 1030.0, peer_id="gate", theirs=True)
OPEN = Action("open:front", "n", AT, "button bell")


def doors() -> Doors:
    return Doors(DoorPolicy(doors=("garage",), allow=("resident-*",)), None)


def test_somebody_on_the_channel() -> None:
    found = doors().request("resident-a", DoorOpen("garage", "n", AT), 1000.0)
    assert found == [Audit("open garage", "resident-a", True, "allowed"), ReleaseDoor("garage", "resident-a", "n")]
    refused = doors().request("bob", DoorOpen("garage", "n", AT), 1000.0)
    result = {"type": "door.result", "nonce": "n", "ok": False, "reason": "not allowed"}
    assert refused == [Audit("open garage", "bob", False, "not allowed"), SendTo("bob", result)]


def test_what_the_relay_did() -> None:
    assert doors().outcome(DoorOutcome("garage", None, None, ok=True)) == []
    told = doors().outcome(DoorOutcome("garage", "resident-a", "n", ok=False))
    assert told[0] == Audit("open garage", "resident-a", False, "it failed")
    assert told[1] == SendTo("resident-a", {"type": "door.result", "nonce": "n", "ok": False})
    assert doors().outcome(DoorOutcome("garage", "resident-a", None, ok=True)) == []


def test_somebody_here() -> None:
    assert doors().here("garage", OPEN, THEIRS) == [
        Audit("open garage", None, True, "button bell"),
        ReleaseDoor("garage"),
    ]
    own = Call("c", Phase.INCOMING, AT, 1030.0, peer_id="gate")
    for call in (None, own, Call("c", Phase.INCOMING, AT, 1030.0, theirs=True)):
        assert doors().here("front", OPEN, call) == [Audit("open front", None, False, "button bell: unknown door")]


def test_the_door_of_the_node_that_rings() -> None:
    mine = doors()
    request = {"type": "door.open", "door": "front", "nonce": "n", "at": AT, "call": "c"}
    assert mine.here("front", OPEN, THEIRS) == [
        Audit("open front at gate", None, True, "button bell: asked"),
        SendTo("gate", request),
    ]
    assert mine.result("bob", DoorResult("n", ok=True)) == [], "it was not asked"
    assert mine.result("gate", DoorResult("m", ok=True)) == [], "nor this"
    assert mine.result("gate", DoorResult("n", ok=True)) == [
        Audit("open front at gate", None, True, "opened"),
        DoorTold("n", True, "opened"),
    ]
    assert mine.result("gate", DoorResult("n", ok=True)) == [], "once"


def test_why_it_stays_shut() -> None:
    mine = doors()
    for reason, said in (("not allowed", "not allowed"), (None, "no reason given")):
        mine.here("front", OPEN, THEIRS)
        assert mine.result("gate", DoorResult("n", False, reason)) == [
            Audit("open front at gate", None, False, said),
            DoorTold("n", False, said),
        ]


def test_old_requests_are_forgotten() -> None:
    mine = doors()
    for number in range(MAX_ASKED + 1):
        mine.here("front", Action("open:front", f"n{number}", AT), THEIRS)
    assert mine.result("gate", DoorResult("n0", ok=True)) == []
    assert mine.result("gate", DoorResult("n1", ok=True)) != []
