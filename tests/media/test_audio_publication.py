"""The microphone's track goes on whatever happens to the microphone, and is encoded once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from edge_node.aio.clock import SystemClock
from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import Pcm, silence
from edge_node.dsp.tone import Tone
from edge_node.media.audio_publication import MAX_WAITING, AudioPublication
from edge_node.media.microphone import ToneMicrophone
from edge_node.media.opus_encoder import PACKET_FRAMES, OpusEncoder
from edge_node.media.opus_packet import OpusPacket
from edge_node.media.view import View
from edge_node.ports import BLOCK_FRAMES
from edge_node.rtp.packetize import Unit
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from edge_node.media.packet_queue import Packet


class Decoder:
    """Opus packets back to mono."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("libopus", "r")

    def __call__(self, packet: Packet) -> Pcm:
        assert isinstance(self._codec, av.AudioCodecContext)
        return np.concatenate(
            [frame.to_ndarray().reshape(-1)[:: frame.layout.nb_channels] for frame in self.frames(packet)]
        )

    def frames(self, packet: Packet) -> Iterator[av.AudioFrame]:
        for frame in self._codec.decode(av.Packet(bytes(packet))):
            assert isinstance(frame, av.AudioFrame)
            yield frame


async def receive(view: View, count: int) -> list[Packet]:
    async with asyncio.timeout(30):
        return [await view.recv() for _ in range(count)]


async def receive_late(view: View, count: int) -> tuple[list[Packet], float]:
    """So many packets, and how far the promptest of them lagged behind its time stamp, in seconds."""
    packets, late_s, loop = [], [], asyncio.get_running_loop()
    async with asyncio.timeout(30):
        for _ in range(count):
            packets.append(await view.recv())
            late_s.append(loop.time() - (packets[-1].pts or 0) / 48_000)
    return packets, min(late_s)


def pts_of(packets: list[Packet]) -> list[int]:
    return [packet.pts for packet in packets if packet.pts is not None]


def test_one_packet_per_20_ms_with_the_pts_asked_for() -> None:
    encoder, decode, tone = OpusEncoder(64), Decoder(), Tone(500, 0.3)
    packets = [encoder.encode(tone.block(PACKET_FRAMES), 7000 + n * PACKET_FRAMES) for n in range(50)]
    assert pts_of(packets) == [7000 + n * PACKET_FRAMES for n in range(50)]
    assert packets[0].time_base == Fraction(1, 48_000)
    assert 40_000 < sum(packet.size for packet in packets) * 8 < 70_000, "about 64 kbit in a second"
    heard = np.concatenate([decode(packet) for packet in packets])
    assert strongest_hz(heard[PACKET_FRAMES:]) == pytest.approx(500, abs=5)


class Sink:
    """A ports.UnitSink that is never behind."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.times: list[int] = []

    def take(self, unit: Unit, timestamp: int) -> bool:
        self.units.append(unit)
        self.times.append(timestamp)
        return True

    def ended(self) -> None: ...


async def test_three_viewers_share_each_packet() -> None:
    publication = AudioPublication(SystemClock())
    sinks = [Sink() for _ in range(3)]
    for sink in sinks:
        publication.track.subscribe().attach(sink)
    async with running(publication.run()), running(ToneMicrophone().run(publication.block)):
        await eventually(lambda: len(sinks[0].units) >= 10)
    assert all(ours is theirs for sink in sinks[1:] for ours, theirs in zip(sink.units, sinks[0].units, strict=True))
    steps = np.diff(sinks[0].times)
    assert np.all(steps > 0) and np.all(
        steps % PACKET_FRAMES == 0
    )  # a busy machine's microphone misses one now and then
    assert publication.track.kind == "audio"
    assert publication.track.mime_type == "audio/opus"
    publication.close()


async def test_the_tone_arrives_and_its_level_is_known() -> None:
    publication, decode = AudioPublication(SystemClock()), Decoder()
    assert publication.level_dbfs is None
    view = publication.track.subscribe()
    async with running(publication.run()), running(ToneMicrophone(440, 0.5).run(publication.block)):
        await eventually(lambda: (publication.level_dbfs or -100) > -10)
        heard = np.concatenate([decode(packet) for packet in await receive(view, 40)])
    assert strongest_hz(heard[4 * PACKET_FRAMES :]) == pytest.approx(440, abs=5)
    publication.close()


async def test_a_microphones_gain_is_heard_and_shown_and_saturates() -> None:
    tone = Tone(440, 0.05)
    quiet = dbfs(tone.block(BLOCK_FRAMES))
    for gain_db, level in ((12.0, quiet + 12), (-20.0, quiet - 20), (40.0, -1.0)):
        publication, decode = AudioPublication(SystemClock(), gain_db=gain_db), Decoder()
        view = publication.track.subscribe()
        async with running(publication.run()):
            for _ in range(20):
                publication.block(tone.block(BLOCK_FRAMES))
                publication.block(tone.block(BLOCK_FRAMES))
                [packet] = await receive(view, 1)
                last = decode(packet)
        assert publication.level_dbfs == pytest.approx(level, abs=2.5), "the meter is smooth"
        assert dbfs(last) == pytest.approx(level, abs=3.0)
        publication.close()


async def test_a_dead_microphone_is_silence_and_the_time_goes_on() -> None:
    publication = AudioPublication(SystemClock())
    view = publication.track.subscribe()
    async with running(publication.run()):
        async with running(ToneMicrophone().run(publication.block)):
            spoken, spoken_s = await receive_late(view, 10)
        quiet, quiet_s = await receive_late(view, 25)
        async with running(ToneMicrophone().run(publication.block)):
            again = await receive(view, 10)
    assert publication.stats().silent >= 20
    pts = pts_of([*spoken, *quiet, *again])
    assert all(later > earlier for earlier, later in pairwise(pts))
    assert quiet_s == pytest.approx(spoken_s, abs=0.15), "as much time as has passed"
    publication.close()


async def test_shut_or_muted_it_carries_silence() -> None:
    publication = AudioPublication(SystemClock())
    view = publication.track.subscribe()
    loud: list[float] = []

    async def listen() -> None:
        decode = Decoder()
        while True:
            loud.append(dbfs(decode(await view.recv())))

    async with running(publication.run()), running(ToneMicrophone().run(publication.block)), running(listen()):
        await eventually(lambda: loud and loud[-1] > -40)
        publication.set_open(False)
        await eventually(lambda: loud[-1] < -80)
        assert publication.level_dbfs is not None, "the level is still the microphone's"
        publication.set_open(True)
        await eventually(lambda: loud[-1] > -40)
        publication.set_muted(True)
        await eventually(lambda: loud[-1] < -80)
        publication.set_muted(False)
        assert not publication.muted
        await eventually(lambda: loud[-1] > -40)
    assert publication.stats().silent < publication.stats().packets
    publication.close()


async def test_what_the_node_says_is_heard_muted_or_not_and_over_coded_sound() -> None:
    """The warning before a call is ended."""
    publication = AudioPublication(SystemClock())
    view = publication.track.subscribe()
    coded = OpusPacket(bytes(OpusEncoder().encode(silence(PACKET_FRAMES), 0)), PACKET_FRAMES)
    publication.set_muted(True)
    publication.say(Tone(1000, 0.3).block(20 * PACKET_FRAMES))
    publication.block(silence(PACKET_FRAMES))
    decode = Decoder()
    async with running(publication.run()):
        loud = [dbfs(decode(packet)) for packet in await receive(view, 8)]
        publication.set_muted(False)
        for _ in range(3):
            publication.opus(coded)
        loud += [dbfs(decode(packet)) for packet in await receive(view, 3)]
        assert min(loud[2:]) > -20
        publication.quiet()
        assert dbfs([decode(packet) for packet in await receive(view, 8)][-1]) < -60, "broken off"
    publication.close()


async def test_what_nobody_fetches_is_dropped_oldest_first_and_leaves_a_gap_in_time() -> None:
    publication = AudioPublication(SystemClock())
    view = publication.track.subscribe()
    for _ in range(20):  # ten packets while the loop is busy
        publication.block(silence(BLOCK_FRAMES))
    assert publication.stats().dropped == 10 - MAX_WAITING
    async with running(publication.run()):
        packets = await receive(view, MAX_WAITING)
    assert pts_of(packets) == [(5 + n) * PACKET_FRAMES for n in range(MAX_WAITING)]
    publication.close()


async def test_nothing_is_encoded_for_nobody() -> None:
    publication = AudioPublication(SystemClock())
    async with running(publication.run()), running(ToneMicrophone().run(publication.block)):
        await eventually(lambda: publication.stats().packets >= 5)
        view = publication.track.subscribe()
        packets = await receive(view, 1)
    assert pts_of(packets)[0] >= 5 * PACKET_FRAMES, "the time went on without listeners"
    publication.close()


def test_blocks_after_the_loop_has_closed_do_no_harm() -> None:
    made: list[AudioPublication] = []

    async def make() -> None:
        made.append(AudioPublication(SystemClock()))

    asyncio.run(make())

    def speak() -> None:
        for _ in range(4):
            made[0].block(silence(BLOCK_FRAMES))

    thread = threading.Thread(target=speak)
    thread.start()
    thread.join(5.0)
    assert not thread.is_alive()


class Slow:
    """Somebody whose sound takes so long to send that the next has come meanwhile."""

    def __init__(self, publication: AudioPublication) -> None:
        self._publication = publication
        self.taken = 0

    def take(self, unit: Unit, timestamp: int) -> bool:
        self.taken += 1
        self._publication.block(silence(PACKET_FRAMES))
        return True

    def ended(self) -> None:
        pass


async def test_a_machine_that_is_too_slow_gets_to_everything_else_too() -> None:
    publication = AudioPublication(SystemClock())
    slow = Slow(publication)
    publication.track.subscribe().attach(slow)
    publication.block(silence(PACKET_FRAMES))
    async with running(publication.run()):
        await eventually(lambda: slow.taken > 10)
    publication.close()
