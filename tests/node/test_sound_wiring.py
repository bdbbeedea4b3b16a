"""Which sound devices a node takes, and what it tells of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from edge_node.aio.clock import SystemClock
from edge_node.dsp.level import dbfs
from edge_node.dsp.tone import Tone
from edge_node.errors import SettingsError
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.echo.control import EchoControl
from edge_node.media.playback import Playback
from edge_node.media.sound_pair import PairMicrophone, PairSpeaker, SoundPair
from edge_node.node import build
from edge_node.node.machinery import Devices, real_devices
from edge_node.node.readings import MediaReadings
from edge_node.ports import BLOCK_FRAMES
from edge_node.settings import Settings, from_dict
from edge_node.telemetry.sample import Audio


def settings_with(**audio: Any) -> Settings:
    return from_dict(
        {
            "node": {"id": "front-door"},
            "channel": {"url": "ws://127.0.0.1:1", "name": "home/front-door", "api_key": "pk_live_0123456789"},
            "video": {"source": "none"},
            "gpio": {"driver": "none"},
            "audio": audio,
        }
    )


def devices(**audio: Any) -> Devices:
    return real_devices(settings_with(**audio), SystemClock())


def test_two_real_devices_share_a_stream_and_the_setting_decides_about_the_echo() -> None:
    found = devices(microphone="USB", speaker="USB", echo_cancel="off")
    assert isinstance(found.microphone, PairMicrophone) and isinstance(found.speaker, PairSpeaker)
    assert found.echo is not None and found.echo.label == "off"
    half = devices(echo_cancel="half-duplex").echo
    assert half is not None and half.label == "half-duplex"


@pytest.mark.parametrize("audio", [{"microphone": "test"}, {"speaker": "none"}, {"microphone": "none"}])
def test_where_one_is_not_real_there_is_no_echo(audio: dict[str, str]) -> None:
    assert devices(**audio).echo is None


async def test_both_gains_are_those_of_the_settings() -> None:
    tone = Tone(440, 0.05).block(BLOCK_FRAMES)
    settings = settings_with(microphone="none", speaker="none", microphone_gain_db=20, speaker_gain_db=-20)
    sound = build._sound(settings, real_devices(settings, SystemClock()), SystemClock())
    sound.playback.say(tone)
    assert dbfs(sound.playback.pull(BLOCK_FRAMES)) == pytest.approx(dbfs(tone) - 20, abs=0.1)
    for _ in range(100):
        sound.audio.block(tone)
    assert sound.audio.level_dbfs == pytest.approx(dbfs(tone) + 20, abs=0.5)
    sound.audio.close()
    await sound.playback.close()


@pytest.mark.parametrize("bad", [{"microphone_gain_db": 41}, {"speaker_gain_db": 21}, {"speaker_gain_db": -61}])
def test_a_gain_out_of_reason_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(bad))):
        settings_with(**bad)


async def test_telemetry_says_what_keeps_the_echo_away() -> None:
    clock = SystemClock()
    publication, playback = AudioPublication(clock), Playback(clock)
    pair = SoundPair()
    video: Any = None
    told = MediaReadings(
        video, publication, playback, pair.microphone, pair.speaker, EchoControl("half-duplex")
    ).audio()
    assert set(told) == {field.name for field in fields(Audio)}
    assert (told["echo_cancel"], told["echo_return_loss_db"], told["device_ms"]) == ("half-duplex", None, None)
    assert told["xruns"] == 0
    without = MediaReadings(video, publication, playback, None, None).audio()
    assert without["echo_cancel"] is None and without["speaker_level_dbfs"] is None
    publication.close()
    await playback.close()
