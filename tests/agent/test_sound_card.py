"""Rows 155 and 158: an agent at a microphone and a speaker, as the package's docstring has it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from edge_node.agent import LoopbackTransport, RealtimeAgent, play
from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import RATE, Pcm
from edge_node.dsp.tone import Tone
from edge_node.media import DuplexAudio
from tests.support.pulse import PulseLab
from tests.support.sound_checks import strongest_hz
from tests.support.waiting import eventually

HZ = 700
WINDOW = RATE // 4


@pytest.mark.pulse
async def test_row_155_158_what_the_microphone_hears_is_answered_at_the_speaker(lab: PulseLab) -> None:
    tapped: list[bytes] = []

    def loudest() -> Pcm:
        """The loudest quarter of a second of what was played."""
        pcm = np.frombuffer(b"".join(tapped), "<i2").astype(np.int16)
        return max((pcm[at : at + WINDOW] for at in range(0, max(1, len(pcm) - WINDOW), WINDOW // 4)), key=dbfs)

    agent = RealtimeAgent("", LoopbackTransport(), output_audio_format="audio/pcm;rate=48000",
                          input_audio_format="audio/pcm;rate=48000")  # fmt: skip

    async def listen(audio: DuplexAudio) -> None:
        async for chunk in audio.mic_chunks():
            await agent.send(chunk)

    async with DuplexAudio(device=("mic", "speaker"), playback_tap=tapped.append) as audio, agent:
        both = [asyncio.create_task(play(agent, audio.speaker)), asyncio.create_task(listen(audio))]
        await eventually(lambda: len(tapped) > 20)
        assert dbfs(loudest()) < -90, "silence before anybody spoke"
        lab.play_into_mic(Tone(HZ, 0.3).block(RATE))
        await eventually(lambda: dbfs(loudest()) > -20, every_s=0.1)
        for task in both:
            task.cancel()
        await asyncio.wait(both)
    assert strongest_hz(loudest()) == pytest.approx(HZ, abs=8)
    assert agent.dropped_output_seconds == 0
