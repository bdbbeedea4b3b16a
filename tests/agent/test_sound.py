"""Row 153: bounded queues between a program and a service."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from edge_node.agent.sound import MAX_EVENTS, MAX_INPUT_S, MAX_OUTPUT_S, Converter, Heard, Said, rate_of
from edge_node.agent.transport import AudioOutputDelta, Error, SpeechStarted, TurnComplete

RATE = 8_000
SECOND = b"\1\0" * RATE


def test_row_153_audio_formats() -> None:
    assert rate_of("audio/pcm;rate=16000") == 16_000 and rate_of("audio/pcm; rate=24000") == 24_000
    for wrong in ("audio/opus", "audio/pcm", "audio/pcm;rate=7999", "audio/pcm;rate=192001", "audio/pcm;rate=x"):
        with pytest.raises(ValueError, match=r"audio/pcm;rate"):
            rate_of(wrong)


@pytest.mark.parametrize("rate_out", [8_000, 16_000, 24_000, 48_000])
def test_row_153_rates_are_converted_however_the_bytes_are_cut(rate_out: int) -> None:
    tone = (np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000) * 8000).astype("<i2").tobytes()
    whole, cut = Converter(16_000, rate_out), Converter(16_000, rate_out)
    pieces = b"".join(cut.push(tone[at : at + 333]) for at in range(0, len(tone), 333))
    assert pieces == whole.push(tone)
    pcm = np.frombuffer(pieces, "<i2")
    assert len(pcm) == rate_out
    assert np.argmax(np.abs(np.fft.rfft(pcm))) == 440


async def test_row_153_of_what_is_heard_the_oldest_goes_first() -> None:
    heard = Heard(RATE)
    for number in range(int(MAX_INPUT_S) + 2):
        heard.put(bytes([number, 0]) * RATE)
    assert heard.dropped_seconds == 2.0
    taken = await heard.take()
    assert len(taken) == MAX_INPUT_S * RATE * 2 and taken[0] == 2
    waiting = asyncio.ensure_future(heard.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    heard.put(b"\1\0")
    assert await waiting == b"\1\0"


async def drain(said: Said) -> list[object]:
    said.end(None)
    events: list[object] = []
    while (event := await said.get()) is not None:
        events.append(event)
    return events


async def test_row_153_of_what_is_said_the_rest_of_an_answer_goes() -> None:
    said = Said(RATE)
    for _ in range(int(MAX_OUTPUT_S) + 1):
        said.put(AudioOutputDelta(SECOND))
    said.put(AudioOutputDelta(b"\1\0"))
    assert said.dropped_seconds == pytest.approx(1 + 1 / RATE), "what would fit again is no beginning of a sentence"
    assert await said.get() == AudioOutputDelta(SECOND)
    said.put(TurnComplete())
    said.put(AudioOutputDelta(SECOND))
    said.put(AudioOutputDelta(b""))
    events = await drain(said)
    assert events == [AudioOutputDelta(SECOND)] * (int(MAX_OUTPUT_S) - 1) + [TurnComplete(), AudioOutputDelta(SECOND)]


async def test_row_154_speech_overtakes_what_waits_and_clear_leaves_it() -> None:
    said = Said(RATE)
    for event in (AudioOutputDelta(SECOND), TurnComplete(), Error("odd"), SpeechStarted()):
        said.put(event)
    assert await said.get() == SpeechStarted()
    said.clear()
    assert await drain(said) == [Error("odd")]


async def test_row_154_events_are_bounded_the_last_one_always_comes() -> None:
    said = Said(RATE)
    for _ in range(MAX_EVENTS + 2):
        said.put(Error("odd"))
    assert said.dropped_events == 2
    said.end(Error("lost", fatal=True))
    said.end(Error("again", fatal=True))
    said.put(Error("late"))
    events = await drain(said)
    assert len(events) == MAX_EVENTS + 1 and events[-1] == Error("lost", fatal=True)
    assert said.dropped_events == 3 and await said.get() is None
