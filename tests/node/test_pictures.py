"""Snapshots, clips and the light as a user has them: through the control socket's commands of a whole node."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.control import status_lines
from edge_node.errors import RetryLater, SettingsError, UsageError
from edge_node.media.rtsp.source import RtspSource
from edge_node.node.build import check
from edge_node.node.node import Node
from edge_node.node.service import Service
from edge_node.settings import from_dict
from edge_node.telemetry.sample import to_message
from tests.support.door_node import SETTINGS, Handles, a_node, live
from tests.support.foreign_clip import foreign_clip
from tests.support.h264_clip import clip_of, make_clip
from tests.support.rtsp_server import RtspServer
from tests.support.waiting import eventually

CLIP = {"clip": {"enabled": True, "pre_s": 1, "post_s": 1}}


def service_of(node: Node) -> Service:
    service = Service(node.settings, build=lambda _: node, reload=from_dict, manager=None, socket=None)  # type: ignore[arg-type]
    service._node = node
    return service


async def test_a_snapshot_with_nobody_on_the_channel_and_none_in_privacy(tmp_path: Path) -> None:
    async with a_node(Handles(), tmp_path, {"video": {**SETTINGS["video"], "overlay": "{name}"}}) as node:
        service = service_of(node)
        with pytest.raises((RetryLater, UsageError)):
            await service.command("snapshot", {})
            raise RetryLater("the first picture was faster than this test")
        await eventually(lambda: live(node))
        shot = await service.command("snapshot", {})
        assert base64.b64decode(shot["jpeg"]).startswith(b"\xff\xd8") and shot["width_px"] == 160
        assert node.status()["video"]["viewers"] == 0 and node.status()["video"]["encoder"] is not None
        small = await node.outputs.picture()
        assert len(small["jpeg"]) < 60_000
        await node.set_privacy(True)
        with pytest.raises(UsageError, match="privacy"):
            await service.command("snapshot", {})
        with pytest.raises(UsageError, match="not published"):
            await node.outputs.picture()
        with pytest.raises(UsageError, match="not enabled"):
            await service.command("clip", {"what": "list"})


async def test_what_to_change_at_an_rtsp_camera_is_told_by_status_and_telemetry(tmp_path: Path) -> None:
    clip = clip_of(make_clip(96, 96, 30, seconds=1, kbps=100), 30)
    async with (
        RtspServer(clip, foreign=foreign_clip("JPEG")) as server,
        a_node(Handles(), tmp_path, camera=RtspSource(server.url)) as node,
    ):
        await eventually(lambda: node.status()["video"]["warning"], timeout_s=30)
        warning = node.status()["video"]["warning"]
        assert warning.startswith("it sends JPEG pictures: set its codec to H.264")
        assert to_message(node.sample(1))["video"]["warning"] == warning
        assert f"camera: {warning}" in status_lines(node.status())


async def test_a_press_leaves_a_clip_although_the_channel_is_away(tmp_path: Path) -> None:
    async with a_node(Handles(), tmp_path, CLIP) as node:
        service = service_of(node)
        await eventually(lambda: node.status()["video"]["keyframes"] > 0, timeout_s=30)
        assert node.status()["video"]["viewers"] == 0, "the recorder is no viewer"
        node.press(None)
        recorder = node.clips
        await eventually(lambda: recorder.recording)
        await eventually(lambda: recorder.clips(), timeout_s=30)
        (clip,) = (await service.command("clip", {"what": "list"}))["clips"]
        assert clip["name"].endswith("-ring.mp4") and (tmp_path / "clips" / clip["name"]).exists()
        await service.command("clip", {"what": "delete", "name": clip["name"]})
        assert (await service.command("clip", {"what": "list"}))["clips"] == []
        assert "recorded" in (await service.command("clip", {"what": "now"}))["result"]
        with pytest.raises(UsageError, match="list, now or delete"):
            await service.command("clip", {})


async def test_it_gets_dark_and_the_camera_and_the_lamp_know() -> None:
    day: dict[str, Any] = {
        "enabled": True, "night_below_luma": 200, "day_above_luma": 250, "settle_s": 1, "led": "status",
        "night_controls": {"AnalogueGain": 8.0},
    }  # fmt: skip
    async with a_node(Handles(), None, {"daylight": day}) as node:
        await eventually(lambda: node.outputs.shown("status") == "on", timeout_s=30)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"daylight": {"led": "lamp"}}, "daylight.led"),
        ({"daylight": {"night_below_luma": 100, "day_above_luma": 90}}, "above"),
        ({"daylight": {"night_below_lux": 100, "day_above_lux": 90}}, "night_below_lux"),
        ({"video": {"overlay": "{nam}"}}, "did you mean"),
    ],
)
def test_wrong_settings_are_sentences(table: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        check(from_dict({**SETTINGS, **table}))
