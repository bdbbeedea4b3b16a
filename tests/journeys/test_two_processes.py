"""An installer's site: hub and node as two processes, a real RTSP camera, real ALSA devices, the official SDK."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from tests.support.process import Event, edge_node, run_once
from tests.support.pulse import RATE, PulseLab
from tests.support.site import CHANNEL, KEY, TELEMETRY, Site, is_data
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.pulse, pytest.mark.timeout(400)]

MIC_HZ = 600.0
VOICE_HZ = 880.0
SECONDS = 10
MIN_FPS = 15.0
"""Of 30, seen by a viewer that decodes in Python on the same machine; how fast it is says tests/bench."""


def tone(hz: float, seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return (8000 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.int16)


def share_of(pcm: np.ndarray[tuple[int], np.dtype[np.int16]], hz: float) -> float:
    """The part of a recording's energy within 20 Hz of a tone, 0 to 1."""
    power = np.abs(np.fft.rfft(pcm.astype(np.float64))) ** 2
    near = np.abs(np.fft.rfftfreq(pcm.size, 1 / RATE) - hz) < 20
    return float(np.sum(power[near])) / max(float(np.sum(power)), 1.0)


def heard_on(lab: PulseLab, hz: float) -> bool:
    pcm = lab.record_speaker(1.0)
    return bool(pcm.size) and int(np.abs(pcm).max()) > 500 and share_of(pcm, hz) > 0.8


async def test_the_whole_job_with_the_official_sdk_as_resident(site: Site) -> None:
    await site.start()
    site.lab.play_into_mic(tone(MIC_HZ, 240))
    await site.whole()
    async with site.viewer("--tone-hz", str(VOICE_HZ), "--answer") as viewer:
        await viewer.event(lambda e: e["event"] == "track" and e["kind"] == "video")
        await ten_good_seconds(viewer.events)

        assert not await asyncio.to_thread(heard_on, site.lab, VOICE_HZ), "outside a call nobody is heard at the door"
        await site.control("press")
        ring = await viewer.event(is_data("call.ring"))
        assert (ring["data"]["node"], ring["data"]["name"]) == ("front-door", "Front door")
        active = await viewer.event(is_data("call.state", state="active"))
        assert active["data"]["reason"] == "answered"
        await eventually_heard(site.lab)

        viewer.say("send " + json.dumps({"type": "door.open", "door": "door", "nonce": "n-1", "at": 1}))
        refused = await viewer.event(is_data("door.result", nonce="n-1"))
        assert refused["data"]["ok"] is False, "a publishable key opens no door"

        viewer.say("send " + json.dumps({"type": "call.hangup", "call": ring["data"]["call"]}))
        ended = await viewer.event(is_data("call.state", state="ended"))
        assert ended["data"]["reason"] == "hangup"
        await true_sample(site)
        status = await site.status()
        assert status["video"]["encoder"] == "passthrough"
        viewer.say("quit")
        assert await viewer.end() == 0


async def ten_good_seconds(events: list[Event]) -> None:
    """SECONDS seconds of at least MIN_FPS in the mean, at 720p, with the microphone's tone beside them."""

    def good() -> bool:
        video, audio = (
            [e for e in events if e["event"] == "second" and e["kind"] == kind][-SECONDS:]
            for kind in ("video", "audio")
        )
        right = [e for e in audio if abs(e["hz"] - MIC_HZ) < 5 and e["peak"] > 1000]
        whole = all((e["width"], e["height"]) == (1280, 720) for e in video)
        return whole and len(right) >= SECONDS - 2 and float(np.mean([e["fps"] for e in video])) >= MIN_FPS

    await eventually(lambda: good() if len(events) > 2 * SECONDS else False, 150, 0.1)


async def eventually_heard(lab: PulseLab) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(heard_on, lab, VOICE_HZ):
            pass


async def true_sample(site: Site) -> None:
    """`edge-node monitor --once --json` prints what is."""
    config = site.folder / "monitor.toml"
    config.write_text(
        f'[channel]\nurl = "{site.hub_url}"\nname = "{CHANNEL}"\napi_key = "{KEY}"\n'
        f'[telemetry]\nchannel = "{TELEMETRY}"\n'
    )
    status, out, err = await run_once(*edge_node("monitor", "--config", str(config), "--once", "--json"))
    assert status == 0, err
    sample = json.loads(out)
    assert (sample["type"], sample["v"], sample["node"]) == ("telemetry", 1, "front-door")
    assert sample["video"]["source"] == "rtsp"
    assert sample["video"]["viewers"] == 1
    assert sample["video"]["width_px"] == 1280
    assert 10 <= sample["video"]["fps"] <= 60
    assert sample["channel"]["peers"] == 1
    assert sample["audio"]["mic_level_dbfs"] > -30
    assert sample["service"]["rss_mb"] > 20
    assert sample["service"]["degraded"] == []
    assert sample["host"]["soc_temp_c"] is None or sample["host"]["soc_temp_c"] > 0
