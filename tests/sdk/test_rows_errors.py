"""Rows 113 and 114: one base for every error, and what programs may read from each."""

from __future__ import annotations

import inspect
from typing import Any

import metered_realtime as official
import pytest

import edge_node
from edge_node.errors import (
    MeteredPeerSendError,
    MeteredPeerStateError,
    MeteredRealtimeError,
    Remedy,
    ServerRequestError,
    SignallingConnectError,
)
from edge_node.ports import WireClosed
from edge_node.protocol.frames import ErrorFrame, ServerFrame
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.peer import MeteredPeer
from tests.support.fake_server import FakeServer, acknowledge
from tests.support.peers import Tone
from tests.support.virtual_time import in_virtual_time

ERRORS = sorted(
    name for name in official.__all__ if inspect.isclass(e := getattr(official, name)) and issubclass(e, Exception)
)
# How each error is made, here and in the reference.
EXAMPLES: dict[str, dict[str, Any]] = {
    "SignallingConnectError": {"close_code": 4001, "close_reason": "why", "message": "text"},
    "ServerRequestError": {"code": "code", "message": "text", "request_id": "id"},
    "AckTimeoutError": {"request_id": "id", "timeout": 15.0},
    "ReconcileTimeoutError": {"message": "text"},
    "MeteredPeerSendError": {"code": "not_joined", "message": "text"},
    "MeteredPeerOversizedError": {"size": 9, "cap": 5},
    "MeteredPeerStateError": {
        "code": "invalid_state", "method": "join", "message": "text", "current_state": "closed"
    },
    "MeteredPeerReplaceTrackError": {"succeeded": ("a",), "failed": ()},
    "DataChannelOverflowError": {"queued": 300, "cap": 256},
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_row_113_errors_form_the_tree_of_the_reference(name: str) -> None:
    ours = [cls.__name__ for cls in getattr(edge_node, name).__mro__]
    theirs = [cls.__name__ for cls in getattr(official, name).__mro__]
    assert [n for n in ours if n in theirs] == theirs
    assert issubclass(getattr(edge_node, name), MeteredRealtimeError)
    assert getattr(edge_node, name).remedy is Remedy.RETRY


@in_virtual_time
async def test_row_113_one_except_catches_whatever_the_calls_raise() -> None:
    def refuse(frame: dict[str, Any]) -> ServerFrame:
        return ErrorFrame("backend_error", frame["requestId"])

    server = FakeServer(answer=refuse)
    client = server.client()
    peer = MeteredPeer(api_key="pk_x", url="ws://localhost", connect=server.connect)
    caught = []
    await client.connect()
    for call in (
        client.connect(),
        client.publish("c", 1),
        client.publish("c", "x" * 70_000),
        peer.send(1),
        peer.send_to("p", 1),
        peer.join("_metered/x"),
        peer.join("room"),
        client.subscribe("c"),
    ):
        with pytest.raises(MeteredRealtimeError) as error:
            await call
        caught.append(type(error.value).__name__)
    assert set(caught) == {
        "SignallingError",
        "ServerRequestError",
        "MeteredPeerOversizedError",
        "MeteredPeerSendError",
    }
    await client.close()
    await peer.close()


@pytest.mark.parametrize("name", EXAMPLES)
def test_row_114_attributes_are_those_of_the_reference(name: str) -> None:
    values = EXAMPLES[name]
    for args, kwargs in ((values.values(), {}), ((), values)):
        theirs, ours = getattr(official, name)(*args, **kwargs), getattr(edge_node, name)(*args, **kwargs)
        assert {n: getattr(ours, n) for n in vars(theirs)} == vars(theirs)
        assert str(ours) == "text" or "message" not in values


@pytest.mark.parametrize("name", EXAMPLES)
def test_row_114_what_the_reference_may_leave_out_may_be_left_out(name: str) -> None:
    parameters = inspect.signature(getattr(official, name)).parameters.values()
    needed = {p.name: EXAMPLES[name][p.name] for p in parameters if p.default is inspect.Parameter.empty}
    assert str(getattr(edge_node, name)(**needed))


def test_row_114_every_attribute_is_looked_at() -> None:
    made = {name: getattr(official, name)(*EXAMPLES.get(name, {"message": "text"}).values()) for name in ERRORS}
    assert {name for name, error in made.items() if vars(error)} == set(EXAMPLES) - {"ReconcileTimeoutError"}
    failure = edge_node.ReplaceTrackFailure("p", ValueError("x"))
    assert (failure.peer_id, str(failure.err)) == ("p", "x")


@in_virtual_time
async def test_row_114_codes_a_peer_says_no_with() -> None:
    server = FakeServer()
    peer = MeteredPeer(api_key="pk_x", url="ws://localhost", connect=server.connect)
    said = []

    async def refused(call: Any) -> None:
        try:
            await call
        except (MeteredPeerSendError, MeteredPeerStateError) as err:
            said.append(err.code)

    await refused(peer.send(1))
    await refused(peer.join("_Internal/x"))
    await peer.join("room")
    await refused(peer.send_to("", 1))
    await refused(peer.send_to("me", 1))
    await refused(peer.join("room"))
    assert said == ["not_joined", "reserved_channel", "invalid_args", "self_send", "invalid_state"]
    track = Tone()
    peer.add_track(track, edge_node.MediaStream([track]))
    with pytest.raises(MeteredPeerStateError) as twice:
        peer.add_track(track, edge_node.MediaStream([track]))
    assert (twice.value.code, twice.value.method) == ("track_already_attached", "add_track")
    await peer.close()
    with pytest.raises(MeteredPeerStateError) as closed:
        await peer.join("room")
    state = (closed.value.code, closed.value.method, closed.value.current_state)
    assert state == ("invalid_state", "join", "closed")


@in_virtual_time
async def test_row_114_codes_of_the_server_pass_through() -> None:
    server = FakeServer(
        answer=lambda f: ErrorFrame("tomorrow", f["requestId"]) if f["type"] == "send" else acknowledge(f)
    )
    client = await server.connected()
    with pytest.raises(ServerRequestError) as caught:
        await client.send("p", 1)
    assert (caught.value.code, caught.value.request_id) == ("tomorrow", server.wire.sent[0]["requestId"])
    await client.close()
    server.greeting = WireClosed(4012, "suspended")
    with pytest.raises(SignallingConnectError) as refused:
        await SignallingClient(api_key="pk_x", url="ws://localhost", connect=server.connect).connect()
    assert (refused.value.close_code, refused.value.close_reason) == (4012, "suspended")
