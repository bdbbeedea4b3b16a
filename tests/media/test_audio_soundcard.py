"""Devices at arm's length: whatever their process does, the node gets sound or a sentence."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from edge_node.dsp.pcm import Pcm
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import sound_worker, soundcard
from edge_node.media.microphone import CardMicrophone
from edge_node.media.sound_worker import HEADER, Callback, run
from edge_node.media.speaker import CardSpeaker
from edge_node.ports import BLOCK_FRAMES
from tests.support.pulse import pulse_lab
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually


def fake(behaviour: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.sound_worker_fake", behaviour)


async def record(behaviour: str) -> tuple[CardMicrophone, list[Pcm], Exception]:
    """What a microphone gave until it failed, and how."""
    microphone = CardMicrophone("mic", worker=fake(behaviour))
    blocks: list[Pcm] = []
    with pytest.raises((DeviceLost, DeviceMissing)) as failed:
        await microphone.run(blocks.append)
    return microphone, blocks, failed.value


async def test_a_device_of_another_rate_is_resampled() -> None:
    microphone, blocks, _ = await record("fails")
    assert {len(block) for block in blocks} == {BLOCK_FRAMES}
    assert len(blocks) == 50
    assert strongest_hz(np.concatenate(blocks)) == pytest.approx(1000, abs=4)
    assert microphone.xruns == 1
    assert microphone.latency_ms is None, "it is closed"


async def test_a_speaker_of_another_rate_gets_its_rate() -> None:
    tone = Tone(600, 0.5)
    speaker = CardSpeaker("speaker", worker=fake("plays"))
    with pytest.raises(DeviceLost, match=r"heard (599|600|601) Hz"):
        await speaker.run(tone.block)
    assert speaker.xruns == 1


@pytest.mark.parametrize(
    ("behaviour", "kind", "says"),
    [
        ("fails", DeviceLost, "Input/output error"),
        ("crashes", DeviceLost, "status -11"),
        ("stalls", DeviceLost, "stopped answering"),
        ("refuses", DeviceLost, "Device unavailable"),
        ("nonsense", DeviceLost, "nonsense"),
        ("missing", DeviceMissing, 'there is "other"'),
    ],
)
async def test_each_failure_is_a_sentence(
    behaviour: str, kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if behaviour == "stalls":
        monkeypatch.setattr(soundcard, "STALL_S", 0.5)
    _, _, failed = await record(behaviour)
    assert isinstance(failed, kind)
    assert says in str(failed)
    assert '"mic"' in str(failed)


async def test_a_device_that_never_opens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundcard, "OPEN_S", 0.3)
    _, _, failed = await record("mute")
    assert "stopped answering" in str(failed)


async def test_a_speaker_whose_process_dies_is_lost() -> None:
    with pytest.raises(DeviceLost, match="status -11"):
        await CardSpeaker("speaker", worker=fake("crashes")).run(Tone().block)


@pytest.mark.parametrize("behaviour", ["mute", "stalls"])
async def test_cancelling_ends_thread_and_process_at_once(behaviour: str) -> None:
    blocks: list[Pcm] = []
    task = asyncio.ensure_future(CardMicrophone("mic", worker=fake(behaviour)).run(blocks.append))
    await eventually(lambda: blocks or (behaviour == "mute" and named("microphone")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(30):
            await task
    await eventually(lambda: not named("microphone"))


async def test_a_bug_in_the_sink_is_not_hidden() -> None:
    def sink(pcm: Pcm) -> None:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        await CardMicrophone("mic", worker=fake("stalls")).run(sink)


async def test_the_delay_of_the_device_is_known_while_it_is_open() -> None:
    blocks: list[Pcm] = []
    microphone = CardMicrophone("mic", worker=fake("stalls"))
    async with running(microphone.run(blocks.append)):
        await eventually(lambda: blocks)
        assert microphone.latency_ms == 60.0
    assert microphone.label == "mic"
    assert CardSpeaker("speaker").label == "speaker"


def named(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


class Stream:
    """PortAudio's stream as far as run() needs it: it lags so many times, then it stops."""

    def __init__(self, callback: Callback, lags: int) -> None:
        self._callback = callback
        self._lags = lags
        self.done: list[str] = []

    def start(self) -> None:
        self.done.append("start")
        self._callback.lags = self._lags > 0
        self._lags -= 1
        self._callback.ended.set()

    def abort(self) -> None:
        self.done.append("abort")


def test_a_stream_that_lags_is_started_anew_until_it_stops() -> None:
    callback = Callback("input", 0.02)
    stream = Stream(callback, lags=2)
    run(stream, callback)
    assert stream.done == ["start", "abort", "start", "abort", "start"]


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_a_block_that_a_driver_cuts_short_stays_a_block(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are four frames here."""
    written: list[bytes] = []
    told = SimpleNamespace(read=lambda fd, size: b"12345678"[:size], write=lambda fd, data: written.append(data))
    monkeypatch.setattr(sound_worker, "os", told)
    play = Callback("duplex", 0.02).bound(8, RuntimeError)
    out = bytearray(2 * frames)
    well = SimpleNamespace(input_overflow=False, output_underflow=False)
    play(b"abcdefghij"[: 2 * frames], out, frames, SimpleNamespace(currentTime=1.0, inputBufferAdcTime=1.0), well)
    assert bytes(out) == b"12345678"[: 2 * frames].ljust(2 * frames, b"\0")
    header, sound = written[0][: HEADER.size], written[0][HEADER.size :]
    assert HEADER.unpack(header) == (sound_worker.XRUN, 1)
    assert sound == b"abcdefghij"[: 2 * frames][:8].ljust(8, b"\0")


@pytest.mark.pulse
async def test_a_card_whose_process_was_held_up_is_live_again() -> None:
    """After 0.6 s without a callback, 0.5 s of sound would wait for ever where playing sets the pace.

    A busy machine holds it up for longer, until the card is lost: then once more.
    """
    for left in reversed(range(5)):
        try:
            await held_up()
            return
        except DeviceLost:
            if not left:
                raise


async def held_up() -> None:
    with pulse_lab() as lab:
        worker = ("env", *(f"{k}={v}" for k, v in lab.env.items() if os.environ.get(k) != v), *soundcard.WORKER)
        device = soundcard.SoundDevice("duplex", "mic", "speaker", worker=worker)
        try:
            await asyncio.to_thread(device.open)
            for _ in range(50):
                await asyncio.to_thread(device.read)
            os.kill(device.pid, signal.SIGSTOP)
            await asyncio.to_thread(lab.record_speaker, 0.6)  # the sound server has gone on for so long
            os.kill(device.pid, signal.SIGCONT)

            def told() -> bool:
                return any(device.read().xrun for _ in range(1500))

            assert await asyncio.to_thread(told)
        finally:
            device.close()
