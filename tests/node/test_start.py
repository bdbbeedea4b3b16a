"""A node in safe mode opens nothing and says why."""

from __future__ import annotations

from typing import Any

from edge_node.node.build import build_node
from edge_node.node.start import NORMAL, Start, harmless
from edge_node.node.status import status_line
from edge_node.settings import Settings, from_dict

REASON = "5 failures in a row"


def settings(**more: Any) -> Settings:
    return from_dict(
        {
            "channel": {"name": "home/front-door", "api_key": "pk_live_12345678"},
            "video": {"source": "rtsp", "url": "rtsp://127.0.0.1/"},
            "audio": {"microphone": "rtsp", "speaker": "default"},
            "gpio": {"led": [{"name": "status", "pin": "GPIO27"}]},
            "rule": [{"on": "presence", "do": "led:status=on"}],
            "clip": {"enabled": True},
            "daylight": {"enabled": True},
            **more,
        }
    )


def test_nothing_is_left_that_opens_a_device() -> None:
    left = harmless(settings())
    assert (left.video.source, left.audio.microphone, left.audio.speaker) == ("none", "none", "none")
    assert left.gpio.driver == "none" and not left.clip.enabled and not left.daylight.enabled
    assert left.gpio.led == settings().gpio.led


async def test_a_node_in_safe_mode_is_telemetry_alone() -> None:
    node = build_node(settings(), Start(safe_mode=REASON))
    try:
        assert {"camera", "microphone", "speaker", "channel", "clips"} & set(node.supervisor.health) == set()
        assert "telemetry" in node.supervisor.health
        status = node.status()
        assert status["safe_mode"] == REASON and status["degraded"][0] == f"safe mode: {REASON}"
        assert status_line(status) == f"SAFE MODE, only telemetry: {REASON}"
        assert node.sample(0).service.degraded == (f"safe mode: {REASON}",)
    finally:
        await node.stop()


async def test_a_normal_node_says_what_became_of_an_update() -> None:
    why = "1.1.0 taken back: it does not answer"
    node = build_node(settings(), Start(failed_update=why, update=why))
    try:
        assert [node.sample(seq).service.update for seq in (0, 1)] == [why, None] and node.status()["update"] == why
        node.tell_update("1.2.0 accepted")
        assert [node.sample(seq).service.update for seq in (2, 3)] == ["1.2.0 accepted", None]
        assert node.status()["update"] == "1.2.0 accepted"
        assert "channel" in node.supervisor.health
        assert node.status()["degraded"] == [f"update: {why}"] and node.status()["safe_mode"] is None
    finally:
        await node.stop()


def test_usually_there_is_nothing_to_say() -> None:
    assert NORMAL.degraded() == []
