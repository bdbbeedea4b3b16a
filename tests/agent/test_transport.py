"""Row 156: transports are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_node.agent import LoopbackTransport, RealtimeEventsTransport, transport_named
from edge_node.agent.transport import GROUP
from edge_node.errors import UsageError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with two transports, one of which needs what is not there."""
    (tmp_path / "edge_node_vendor.py").write_text("class Vendor:\n    pass\n")
    info = tmp_path / "edge_node_vendor-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-node-vendor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nvendor = edge_node_vendor:Vendor\nbroken = edge_node_vendor_missing:Vendor\n"
        "loopback = edge_node_vendor:Vendor\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_row_156_our_own_are_there_without_being_installed() -> None:
    assert transport_named("loopback") is LoopbackTransport
    assert transport_named("realtime-events") is RealtimeEventsTransport


def test_row_156_vendors_are_plug_ins(installed: None) -> None:
    assert transport_named("vendor").__name__ == "Vendor"
    assert transport_named("loopback") is LoopbackTransport, "nobody takes the place of ours"


def test_row_156_an_unknown_or_broken_one_says_what_to_do(installed: None) -> None:
    with pytest.raises(
        UsageError, match=r"no realtime transport 'x', only broken, loopback, realtime-events, vendor: "
    ):
        transport_named("x")
    with pytest.raises(UsageError, match=r"'broken' cannot be loaded .*: repair its package"):
        transport_named("broken")
