"""The messages of the channel, read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.call import messages as msg
from edge_node.call.messages import (
    Answer,
    CallState,
    Decline,
    DescribeNode,
    Description,
    DoorOpen,
    DoorResult,
    Hangup,
    Malformed,
    Reason,
    Refused,
    Ring,
    SnapshotGet,
    Start,
    State,
    Unknown,
    overheard,
    parse,
)

DOOR = {"type": "door.open", "door": "door", "nonce": "n1", "at": 1700000000}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "call.answer", "call": "c"}, Answer("c")),
        ({"type": "call.decline", "call": "c", "more": [1]}, Decline("c")),
        ({"type": "call.hangup", "call": "c"}, Hangup("c")),
        ({"type": "call.start", "call": "ü" * 128}, Start("ü" * 128)),
        ({"type": "node.describe"}, DescribeNode()),
        ({"type": "snapshot.get"}, SnapshotGet()),
        ({"type": "snapshot.get", "nonce": "n"}, SnapshotGet("n")),
        (
            {"type": "snapshot.get", "nonce": 5},
            Malformed("snapshot.get", "nonce must be 1 to 128 printable characters"),
        ),
        (DOOR, DoorOpen("door", "n1", 1700000000.0)),
        (DOOR | {"call": None, "key": "k", "signature": "s"}, DoorOpen("door", "n1", 1700000000.0, None, "k", "s")),
    ],
)
def test_known(data: Any, message: msg.Message) -> None:
    assert parse(data) == message


@pytest.mark.parametrize(
    "data",
    [None, 1, "call.answer", [], {}, {"type": None}, {"type": ["call.answer"]}, {"type": "call.ring"}, {"type": "x"}],
)
def test_unknown(data: Any) -> None:
    assert parse(data) == Unknown()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "call.ring", "call": "c", "node": 5, "at": 7}, Ring("c", 7.0)),
        ({"type": "call.state", "call": "c", "state": "ringing"}, CallState("c", State.RINGING)),
        (
            {"type": "call.state", "call": "c", "state": "ended", "by": "anna", "reason": "timeout"},
            CallState("c", State.ENDED, "anna", Reason.TIMEOUT),
        ),
        ({"type": "call.state", "call": "c", "state": "active", "reason": "bored"}, CallState("c", State.ACTIVE)),
        ({"type": "call.state", "call": "c", "state": "asleep"}, Unknown()),
        ({"type": "call.state", "call": "c", "state": ["ended"]}, Unknown()),
        ({"type": "call.state", "call": "c", "state": "ended", "by": 5}, Unknown()),
        ({"type": "call.ring", "call": "c"}, Unknown()),
    ],
)
def test_what_another_node_says_to_all(data: Any, message: msg.Message) -> None:
    assert parse(data) == message, "it may be said to one, too"
    assert overheard(data) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "door.result", "nonce": "n", "ok": True}, DoorResult("n", True)),
        ({"type": "door.result", "nonce": "n", "ok": 1, "reason": "shut"}, DoorResult("n", False, "shut")),
        ({"type": "door.result", "ok": True}, Unknown()),
        ({"type": "error", "of": "call.answer", "reason": "x"}, Refused("call.answer")),
        ({"type": "error", "of": 5}, Unknown()),
        ({"type": "node.description", "id": "door", "challenge": "c0ffee"}, Description("door", "c0ffee")),
        ({"type": "node.description", "id": "door", "role": 5}, Description("door")),
        ({"type": "node.description"}, Unknown()),
    ],
)
def test_what_another_node_says_to_this_one(data: Any, message: msg.Message) -> None:
    assert parse(data) == message
    assert overheard(data) == Unknown()


@pytest.mark.parametrize("data", [None, [], {}, {"type": 5}, {"type": "call.answer", "call": "c"}, DOOR])
def test_what_is_said_to_all_asks_for_nothing(data: Any) -> None:
    assert overheard(data) == Unknown()


def test_what_a_station_says_is_understood() -> None:
    assert parse(msg.answer("c")) == Answer("c")
    assert parse(msg.decline("c")) == Decline("c")
    assert parse(msg.hangup("c")) == Hangup("c")
    assert parse(msg.describe()) == DescribeNode()
    for request in (DoorOpen("front", "n", 5.0, "c"), DoorOpen("front", "n", 5.0, "c", "ab", "cd")):
        assert parse(msg.door_open(request)) == request


@pytest.mark.parametrize("call", [None, 1, "", "x" * 129, "a\nb", "\ud800", ["c"], True])
@pytest.mark.parametrize("kind", ["call.answer", "call.decline", "call.hangup", "call.start"])
def test_bad_call_ids(kind: str, call: Any) -> None:
    assert parse({"type": kind, "call": call}) == Malformed(kind, "call must be 1 to 128 printable characters")


@pytest.mark.parametrize("at", [None, True, "1", float("nan"), float("inf"), -(10**400), 1e13])
def test_bad_times(at: Any) -> None:
    assert parse(DOOR | {"at": at}) == Malformed("door.open", "at must be a number of unix seconds", "n1")


@pytest.mark.parametrize(
    ("change", "field", "nonce"),
    [
        ({"door": "d" * 65}, "door", "n1"),
        ({"nonce": 5}, "nonce", None),
        ({"call": 5}, "call", "n1"),
        ({"key": ""}, "key", "n1"),
        ({"signature": "s" * 1025}, "signature", "n1"),
    ],
)
def test_bad_door_requests(change: dict[str, Any], field: str, nonce: str | None) -> None:
    message = parse(DOOR | change)
    assert isinstance(message, Malformed)
    assert message.reason.startswith(field)
    assert message.nonce == nonce


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)
FIELDS = st.dictionaries(st.sampled_from(["call", "door", "nonce", "at", "key", "signature"]), JSON)


@given(kind=st.sampled_from([*msg.TYPES.values(), "call.ring", "error"]) | JSON, fields=FIELDS)
def test_never_raises(kind: Any, fields: dict[str, Any]) -> None:
    message = parse({"type": kind} | fields)
    if isinstance(message, Malformed):
        json.dumps(msg.error(message.of, message.reason), ensure_ascii=False).encode()


def test_what_a_node_says() -> None:
    assert msg.ring("c", "front-door", "Front door", 12.5) == {
        "type": "call.ring",
        "call": "c",
        "node": "front-door",
        "name": "Front door",
        "at": 12.5,
    }
    assert msg.hangup("c") == {"type": "call.hangup", "call": "c"}
    assert msg.state("c", State.RINGING) == {"type": "call.state", "call": "c", "state": "ringing"}
    assert msg.state("c", State.ACTIVE, by="anna", reason=Reason.ANSWERED) == {
        "type": "call.state",
        "call": "c",
        "state": "active",
        "by": "anna",
        "reason": "answered",
    }
    assert msg.door_result("n", True) == {"type": "door.result", "nonce": "n", "ok": True}
    assert msg.door_result("n", False, "no") == {"type": "door.result", "nonce": "n", "ok": False, "reason": "no"}
    assert msg.error("call.answer", "no") == {"type": "error", "of": "call.answer", "reason": "no"}


def test_description() -> None:
    said = msg.description(
        node="front-door",
        name="Front door",
        role="door",
        version="1",
        media={"video": True},
        doors=("door",),
        buttons=("call",),
        capabilities={},
    )
    assert said == {
        "type": "node.description",
        "id": "front-door",
        "name": "Front door",
        "role": "door",
        "version": "1",
        "media": {"video": True},
        "doors": ["door"],
        "buttons": ["call"],
        "capabilities": {},
    }


def test_what_a_visitor_told_the_voice_agent() -> None:
    told = msg.agent_message("c", "door", "The post.", 1.23456)
    assert told == {"type": "agent.message", "call": "c", "node": "door", "text": "The post.", "at": 1.235}


def test_a_picture() -> None:
    told = msg.snapshot("/9j/", 640, 360, 1.23456, "n")
    fields = {"nonce": "n", "at": 1.235, "width_px": 640, "height_px": 360, "jpeg": "/9j/"}
    assert told == {"type": "snapshot", **fields}
