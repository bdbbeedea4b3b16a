from __future__ import annotations

import pytest

from edge_node.protocol.addresses import is_loopback, is_private


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "127.8.9.1", "::1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["hub", "hub.local", "10.0.0.1", "::", "0.0.0.0", "localhost.example"])
def test_another_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["192.168.1.5", "10.0.0.1", "fe80::1", "fd00::1", "hub.local", "HUB.lan", "a.home.arpa"]
)
def test_inside_one_network(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1", "0.0.0.0", "::", "example.com", "local"])
def test_the_internet(host: str) -> None:
    assert not is_private(host)
