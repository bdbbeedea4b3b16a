from __future__ import annotations

import pytest

from edge_node.protocol.names import channel_problem, is_reserved, peer_id_problem


@pytest.mark.parametrize("name", ["a", "app/room-1", "Küche", "a" * 256, "a b"])
def test_channel_names(name: str) -> None:
    assert channel_problem(name) is None


@pytest.mark.parametrize("name", ["", "a" * 257, "ü" * 129, "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "\ud800"])
def test_no_channel_names(name: str) -> None:
    assert channel_problem(name)


@pytest.mark.parametrize(
    ("name", "reserved"), [("_metered/x", True), ("_INTERNAL/x", True), ("_system/", True), ("_systems", False)]
)
def test_reserved_channels(name: str, reserved: bool) -> None:
    assert is_reserved(name) is reserved


@pytest.mark.parametrize(("peer_id", "fine"), [("a", True), ("a" * 128, True), ("", False), ("a" * 129, False)])
def test_peer_ids(peer_id: str, fine: bool) -> None:
    assert (peer_id_problem(peer_id) is None) is fine


def test_a_peer_id_has_no_control_characters() -> None:
    assert peer_id_problem("a\x00") and peer_id_problem("a\x9f")
