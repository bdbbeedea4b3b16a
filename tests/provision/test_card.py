"""What a card refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from edge_node.provision.card import Wifi
from tests.provision.cards import CODE, HUB, SSH_KEY, card

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hostname": "Gate_1"}, "RFC 1123"),
    ({"timezone": "Europe/Berln"}, "Europe/Berlin"),
    ({"timezone": "../../etc"}, "no time zone"),
    ({"keymap": "german!"}, "keyboard layout"),
    ({"country": "de"}, "two capital letters"),
    ({"country": None}, "radio stays off"),
    ({"user": {"name": "Root!", "ssh_keys": [SSH_KEY]}}, "no user name"),
    ({"user": {"name": "keeper"}}, "no way in"),
    ({"user": {"name": "keeper", "ssh_keys": ["ssh-ed25519 AAAA\nsecond"]}}, "no public key"),
    ({"user": {"name": "keeper", "password_hash": "plain-text-password"}}, "no hash"),
    ({"wifi": {"ssid": "x" * 33, "password": "12345678"}}, "network name"),
    ({"wifi": {"ssid": "a\nb", "password": "12345678"}}, "network name"),
    ({"wifi": {"ssid": "a"}}, "no password"),
    ({"wifi": {"ssid": "a", "password": "short"}}, "8 to 63"),
    ({"wifi": {"ssid": "a", "password": "12345678", "security": "open"}}, "although it is open"),
    ({"claim": {"hub": HUB, "node": "gate-1", "code": "guess"}}, "no claim"),
    ({"claim": {"hub": HUB, "node": "gate-2", "code": CODE}}, "another node"),
    ({"claim": {"hub": HUB, "node": "gate-1", "code": CODE, "ca": "x"}}, "no certificate"),
    ({"claim": {"hub": HUB, "node": "gate-1", "code": CODE, "ca_sha256": "x"}}, "SHA-256"),
    ({"settings": {"channel": {"name": "a", "enrolled": True}}}, "leave node.id out"),
    ({"settings": {"channel": {"nam": "a"}}}, "channel.nam"),
    ({"colour": "red"}, "Extra"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_wrong_values_say_what_to_do(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        card(**change)
    assert "plain-text-password" not in str(caught.value) and "guess" not in str(caught.value)


def test_the_key_of_a_network_is_that_of_the_standard() -> None:
    # IEEE 802.11-2020, J.4.2: the first two test cases
    assert Wifi.model_validate({"ssid": "IEEE", "password": "password"}).key == (
        "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    )
    assert Wifi.model_validate({"ssid": "ThisIsASSID", "password": "ThisIsAPassword"}).key == (
        "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"
    )
    raw = "AB" * 32
    assert Wifi.model_validate({"ssid": "a", "password": raw}).key == raw.lower(), "a raw key is one already"
    assert Wifi.model_validate({"ssid": "a", "security": "wpa3", "password": "password"}).key == "password"
