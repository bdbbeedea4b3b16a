"""Doors here, and those of nodes that ring here."""

from __future__ import annotations

from typing import Any

import pytest

from edge_node.call.doors import MAX_ASKED, Doors
from edge_node.call.effects import Audit, DoorTold, Phase, ReleaseDoor, SendTo
from edge_node.call.events import Action, DoorOutcome
from edge_node.call.messages import Description, DoorOpen, DoorResult
from edge_node.call.ongoing import Call
from edge_node.call.policy import DoorPolicy
from edge_node.call.signed import Sign

AT = 1_700_000_000.0
THEIRS = Call("c", Phase.INCOMING, AT, 1030.0, peer_id="gate", theirs=True)
REQUEST = {"type": "door.open", "door": "front", "nonce": "n", "at": AT, "call": "c"}
OPEN = Action("open:front", "n", AT, "button bell")


def sign(message: bytes) -> tuple[str, str] | None:
    return "ab12", message.hex()


def doors(sign: Sign | None = sign) -> Doors:
    return Doors(DoorPolicy(doors=("garage",), allow=("resident-*",)), None, sign)


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
    assert doors().here("garage", OPEN, THEIRS, "hall") == [
        Audit("open garage", None, True, "button bell"),
        ReleaseDoor("garage"),
    ]
    own = Call("c", Phase.INCOMING, AT, 1030.0, peer_id="gate")
    for call in (None, own, Call("c", Phase.INCOMING, AT, 1030.0, theirs=True)):
        assert doors().here("front", OPEN, call, "hall") == [
            Audit("open front", None, False, "button bell: unknown door")
        ]


def test_the_door_of_the_node_that_rings() -> None:
    mine = doors()
    assert mine.here("front", OPEN, THEIRS, "hall") == [
        Audit("open front at gate", None, True, "button bell: asked"),
        SendTo("gate", REQUEST),
    ]
    assert mine.result("bob", DoorResult("n", ok=True)) == [], "it was not asked"
    assert mine.result("gate", DoorResult("m", ok=True)) == [], "nor this"
    assert mine.result("gate", DoorResult("n", ok=True)) == [
        Audit("open front at gate", None, True, "opened"),
        DoorTold("n", True, "opened"),
    ]
    assert mine.result("gate", DoorResult("n", ok=True)) == [], "once"


def asked(mine: Doors, me: str | None = "hall") -> dict[str, Any]:
    """The request that leaves."""
    sends = mine.here("front", OPEN, THEIRS, me)[1]
    assert isinstance(sends, SendTo)
    return sends.data


def test_a_door_that_wants_a_signature() -> None:
    mine = doors()
    mine.described("gate", Description("gate-1", "c0ffee"))
    message = f"edge-node/door.open/1\ngate-1\nc0ffee\nfront\nn\n{int(AT)}\nhall"
    assert asked(mine) == REQUEST | {"key": "ab12", "signature": message.encode().hex()}
    assert bytes.fromhex(asked(mine, me=None)["signature"]).endswith(b"\n"), "refused there, but no reason to fail"


@pytest.mark.parametrize(
    ("peer_id", "there", "sign"),
    [
        ("gate", Description("gate-1"), sign),
        ("barn", Description("barn", "c0ffee"), sign),
        ("gate", Description("gate-1", "c0ffee"), None),
        ("gate", Description("gate-1", "c0ffee"), lambda message: None),
    ],
)
def test_nothing_is_signed_for_who_does_not_want_it_or_without_a_key(
    peer_id: str, there: Description, sign: Sign | None
) -> None:
    mine = doors(sign)
    mine.described(peer_id, there)
    assert asked(mine) == REQUEST


def test_why_it_stays_shut() -> None:
    mine = doors()
    for reason, said in (("not allowed", "not allowed"), (None, "no reason given")):
        mine.here("front", OPEN, THEIRS, "hall")
        assert mine.result("gate", DoorResult("n", False, reason)) == [
            Audit("open front at gate", None, False, said),
            DoorTold("n", False, said),
        ]


def test_old_requests_are_forgotten() -> None:
    mine = doors()
    for number in range(MAX_ASKED + 1):
        mine.here("front", Action("open:front", f"n{number}", AT), THEIRS, "hall")
    assert mine.result("gate", DoorResult("n0", ok=True)) == []
    assert mine.result("gate", DoorResult("n1", ok=True)) != []
