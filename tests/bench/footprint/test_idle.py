"""What a node that nobody watches has loaded: each name here once cost it memory for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.footprint.meter import mapped
from tests.support.pulse import PulseLab, pulse_lab
from tests.support.site import Site
from tests.support.waiting import eventually

NOT_WHEN_IDLE = {
    "livekit": "14 MB: loaded with the first sound that is played (media/echo/control.py)",
    "google.protobuf": "livekit's",
    "numpy.random": "2 MB: media/encoders/speed.py throws its dice without it, in a process of its own",
    "numpy.fft": "needed where sound is played, and in doctor --audio",
    "numpy.testing": "nobody's but the tests'",
    "numpy.ma": "nobody's",
    "dns": "2 MB: aioice's for mDNS (realtime/no_mdns.py)",
    "pydantic_settings": "1 MB: settings/layers.py does what it would",
    "tarfile": "an update's, like the next two",
    "ensurepip": "",
    "edge_node.update.bundle": "",
    "sounddevice": "PortAudio lives in the sound process",
    "edge_node.hub": "another process",
    "aiohttp": "the hub's",
    "jwt": "the hub's",
    "edge_node.provision": "another computer",
    "edge_node.simulator": "another program",
    "picamera2": "a camera module's",
    "zxingcpp": "reads a code when somebody holds one up",
    "segno": "prints labels",
}
NOT_MAPPED = ("liblivekit", "/numpy/random/", "/numpy/fft/", "libportaudio")


def imported(lines: list[str]) -> set[str]:
    """Of what -X importtime wrote, see the manual of Python's command line."""
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def heavy(names: set[str]) -> dict[str, str]:
    return {name: why for name, why in NOT_WHEN_IDLE.items() if any(f"{n}.".startswith(f"{name}.") for n in names)}


@pytest.fixture
def lab() -> Iterator[PulseLab]:
    with pulse_lab() as running:
        yield running


@pytest.mark.pulse
async def test_an_idle_node_has_loaded_nothing_that_it_does_not_need(tmp_path: Path, lab: PulseLab) -> None:
    """Test pictures, the speed of the encoder measured, a sound card with the echo canceller to be used."""
    site = Site(tmp_path, lab)
    text = site.config.read_text().replace('source = "rtsp"', 'source = "test"')
    site.config.write_text(text.replace('echo_cancel = "off"', 'echo_cancel = "auto"'))
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    try:
        await site.start_hub()
        await site.start_node(STATE_DIRECTORY=str(state), PYTHONPROFILEIMPORTTIME="1")
        await site.whole(timeout_s=60.0)
        assert site.node is not None
        await eventually(lambda: (state / "encoder-speed.json").exists(), 60.0)
        names = imported(site.node.text)
        assert {"av", "aiortc", "numpy", "edge_node.node.node"} <= names, "or this test sees nothing"
        assert heavy(names) == {}
        files = mapped(site.node.pid)
        assert any("libavcodec" in file for file in files), "or this test sees nothing"
        assert not [file for file in files if any(name in file for name in NOT_MAPPED)]
        assert not [line for line in site.node.text if "libx264 opened" in line], "nobody watches"
    finally:
        await site.stop()


def test_it_would_be_seen() -> None:
    line = "import time:      4676 |       5689 |       "
    assert set(heavy(imported([line + "livekit.rtc.room", line + "numpy._core", "livekit"]))) == {"livekit"}
