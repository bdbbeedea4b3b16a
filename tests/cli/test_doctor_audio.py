"""`edge-node doctor --audio`: what it finds, and what it tells somebody to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.doctor_audio import findings
from edge_node.cli.main import main
from edge_node.dsp.sound_check import Heard
from edge_node.host.findings import Level
from edge_node.media import sound_check
from edge_node.media.sound_check import Checked, check_sound
from tests.support.pulse import pulse_lab

WELL: dict[str, Any] = {
    "noise_dbfs": -60.0,
    "level_dbfs": -20.0,
    "delay_ms": 120.0,
    "loss_db": 6.0,
    "clipped_percent": 0.0,
    "drift_ppm": 0.0,
    "dead": False,
}


def checked(echo: str = "livekit", loss_db: float | None = 40.0, xruns: int = 0, **heard: Any) -> Checked:
    together = echo != "half-duplex"
    return Checked(Heard(**{**WELL, **heard}), together, echo, loss_db, xruns, 130.0)


def test_all_well() -> None:
    found = findings(checked())
    assert {finding.level for finding in found} == {Level.OK}
    assert not any(finding.todo for finding in found)


@pytest.mark.parametrize(
    ("what", "says", "todo"),
    [
        ({"dead": True}, "gives nothing", "mute"),
        ({"delay_ms": None, "loss_db": None}, "does not hear", "plug the speaker in"),
        ({"level_dbfs": -50.0}, "the chirp arrives at -50", "turn up"),
        ({"clipped_percent": 2.0}, "overdriven", "turn down"),
        ({"noise_dbfs": -30.0}, "the room is at -30", "hum"),
        ({"delay_ms": 420.0}, "takes 420 ms", "hw:"),
        ({"drift_ppm": 80.0}, "differ by +80", "one card"),
        ({"drift_ppm": -4000.0}, "jumped", "hw:"),
        ({"xruns": 3}, "lost 3 times", "stop what else"),
        ({"loss_db": 8.0, "echo": "livekit"}, "the chirp", ""),
        ({"echo": "half-duplex"}, "taking turns", "aec"),
    ],
)
def test_each_fault_has_its_sentence(what: dict[str, Any], says: str, todo: str) -> None:
    texts = {finding.text: finding for finding in findings(checked(**what))}
    (found,) = [finding for text, finding in texts.items() if says in text]
    assert todo in found.todo


def test_a_weak_canceller_and_an_unknown_one() -> None:
    assert "turn the speaker down" in findings(Checked(Heard(**WELL), True, "livekit", 9.0, 0, 1.0))[-1].todo
    assert "cannot be measured" in findings(Checked(Heard(**WELL), True, "livekit", None, 0, 1.0))[-1].text


def fake(behaviour: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.sound_worker_fake", behaviour)


async def test_it_plays_and_listens() -> None:
    """The fake card hears what it played one callback ago."""
    found = await check_sound("mic", "speaker", worker=fake("loop"))
    assert found.heard.delay_ms == pytest.approx(10.0, abs=0.05)
    assert found.heard.drift_ppm == pytest.approx(0.0, abs=1.0)
    assert found.together and found.echo_cancel == "livekit"
    assert found.echo_return_loss_db is not None and found.echo_return_loss_db > 20.0


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    async def stand_in(microphone: str, speaker: str) -> Checked:
        asked.append((microphone, speaker))
        return checked()

    monkeypatch.setattr(sound_check, "check_sound", stand_in)
    assert main(["doctor", "--audio", "--microphone", "a", "--speaker", "b"]) == 0
    assert "echo is cancelled by livekit" in capsys.readouterr().out
    config = tmp_path / "edge-node.toml"
    config.write_text(
        '[channel]\nurl = "ws://127.0.0.1:1"\nname = "a"\napi_key = "pk_live_0123456789"\n[audio]\nspeaker = "USB"\n'
    )
    assert main(["doctor", "--audio", "--json", "--config", str(config)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measured"]["heard"]["delay_ms"] == 120.0
    assert {finding["level"] for finding in told["findings"]} == {"ok"}
    assert asked == [("a", "b"), ("default", "USB")]


@pytest.mark.pulse
def test_on_virtual_devices_with_a_loop(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The microphone hears what the speaker plays, unchanged; nothing is between but the daemon."""
    with pulse_lab() as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        lab.loop_speaker_into_mic()
        for _ in range(3):
            assert main(["doctor", "--audio", "--json", "--microphone", "mic", "--speaker", "speaker"]) == 0
            told = json.loads(capsys.readouterr().out)
            if not told["measured"]["xruns"]:
                break
    measured, heard = told["measured"], told["measured"]["heard"]
    assert not heard["dead"]
    if measured["xruns"]:  # a busy machine: no figure can be trusted, and that is said
        assert any("sound was lost" in finding["text"] for finding in told["findings"])
        return
    assert measured["together"]
    assert 0.0 < heard["delay_ms"] < 500.0
    assert heard["loss_db"] == pytest.approx(0.0, abs=1.0)
    assert heard["noise_dbfs"] < -80.0 and heard["clipped_percent"] == 0.0
    assert measured["echo_cancel"] in {"livekit", "half-duplex"}


@pytest.mark.pulse
def test_a_device_that_is_missing_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--audio", "--json", "--microphone", "trumpet", "--speaker", "trumpet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measured"] is None
    assert told["findings"][0]["level"] == "problem"
