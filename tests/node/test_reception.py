"""Which speech service the settings name."""

from __future__ import annotations

from typing import Any

import pytest

from edge_node.agent.loopback import LoopbackTransport
from edge_node.errors import SettingsError
from edge_node.node.build import check
from edge_node.node.meaning import call_config
from edge_node.node.reception import transport
from edge_node.settings import Settings, from_dict
from tests.support.door_node import SETTINGS


def settings(**agent: Any) -> Settings:
    return from_dict({**SETTINGS, "audio": {}, "agent": {"enabled": True, **agent}})


def problem(**agent: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        check(settings(**agent))
    return str(caught.value)


def test_a_transport_is_made_of_the_settings() -> None:
    made = transport(settings(transport="loopback", options={"input_rate": 8000}))
    assert isinstance(made, LoopbackTransport) and made.input_rate == 8000
    assert transport(settings(url="wss://speech.example/v1", api_key="sk-1234")).input_rate == 24_000


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        ({}, "agent.url is missing"),
        ({"url": "https://speech.example"}, 'agent.url is no address of a speech service: write "wss://host/path"'),
        ({"url": "ws://speech.example"}, "ws:// only to this machine"),
        ({"url": "wss://me:secret-word@speech.example"}, "agent.url holds a login: write the key as agent.api_key"),
        ({"transport": "nobody"}, "agent.transport: there is no realtime transport 'nobody'"),
        ({"transport": "loopback", "options": {"speed": 3}}, "agent.transport 'loopback' does not take these settings"),
        ({"transport": "loopback", "max_talk_s": 5}, "agent.max_talk_s"),
    ],
)
def test_wrong_settings(agent: dict[str, Any], says: str) -> None:
    told = problem(**agent)
    assert says in told
    assert "secret-word" not in told


@pytest.mark.parametrize("part", ["microphone", "speaker"])
def test_it_needs_ears_and_a_mouth(part: str) -> None:
    with pytest.raises(SettingsError, match=f"agent.enabled needs a {part}"):
        from_dict({**SETTINGS, "audio": {part: "none"}, "agent": {"enabled": True, "transport": "loopback"}})


def test_how_long_it_talks() -> None:
    assert call_config(settings(transport="loopback", max_talk_s=90)).attend_s == 90
    assert call_config(from_dict(SETTINGS)).attend_s is None
