"""A person who gets no pictures is told why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import edge_node.realtime.events as ev
from edge_node.errors import MeteredRealtimeError
from edge_node.node.publishing import Publishing


class Remote:
    """As much of a RemotePeer as the node listens to."""

    id = "p1"
    metadata = None

    def __init__(self) -> None:
        self.heard: dict[type[ev.Event], Any] = {}

    def on(self, event: type[ev.Event], handler: Any) -> None:
        self.heard[event] = handler


def test_a_refusal_is_told_and_what_broke_inside_is_not(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str | None, dict[str, Any]]] = []
    intercom: Any = SimpleNamespace(
        tell=lambda peer_id, data: told.append((peer_id, data)), peer_joined=lambda *_: None
    )
    no_peer: Any = None
    publishing = Publishing(
        lambda: no_peer, "porch", "door", (), intercom, on_audio=lambda *_: None, on_peer_gone=lambda _: None,
        on_change=lambda: None, make_stream=lambda _: None,
    )  # fmt: skip
    remote: Any = Remote()
    publishing._joined(remote)
    remote.heard[ev.NegotiationError](ev.NegotiationError(MeteredRealtimeError("no room: wait until one leaves")))
    remote.heard[ev.NegotiationError](ev.NegotiationError(ValueError("inside")))
    assert told == [("p1", {"type": "error", "of": "media", "reason": "no room: wait until one leaves"})]
    assert "no room" in caplog.text and "inside" in caplog.text
