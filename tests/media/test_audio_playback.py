"""Received tracks reach the speaker, mixed, and only those of the people one may hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from edge_node.aio.clock import SystemClock
from edge_node.dsp.chimes import chime
from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import Pcm, stereo
from edge_node.dsp.tone import Tone
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.microphone import ToneMicrophone
from edge_node.media.playback import Playback
from edge_node.media.speaker import NullSpeaker
from edge_node.ports import BLOCK_FRAMES
from tests.support.clock import ManualClock
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually


class FakeTrack:
    """A received track that a test feeds."""

    def __init__(self, frequency_hz: float = 440.0, rate: int = 48_000, layout: str = "stereo") -> None:
        self._tone = Tone(frequency_hz, 0.3, rate)
        self._rate = rate
        self._layout = layout
        self._queue: asyncio.Queue[av.AudioFrame | None] = asyncio.Queue()
        self._pts = 0

    def feed(self, packets: int) -> None:
        for _ in range(packets):
            pcm = self._tone.block(self._rate // 50)
            samples = stereo(pcm) if self._layout == "stereo" else pcm
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=self._layout)
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = self._pts
            self._pts += len(pcm)
            self._queue.put_nowait(frame)

    def end(self) -> None:
        self._queue.put_nowait(None)

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    async def recv(self) -> av.AudioFrame:
        frame = await self._queue.get()
        if frame is None:
            raise MediaStreamError
        return frame


def heard(playback: Playback, blocks: int = 20) -> Pcm:
    return np.concatenate([playback.pull(BLOCK_FRAMES) for _ in range(blocks)])


@asynccontextmanager
async def playback_of(*tracks: tuple[str, FakeTrack]) -> AsyncIterator[Playback]:
    playback = Playback(ManualClock())
    for key, track in tracks:
        playback.add(key, track)
    try:
        yield playback
    finally:
        await playback.close()


async def test_everybody_is_mixed() -> None:
    a, b = FakeTrack(400), FakeTrack(1500)
    async with playback_of(("a", a), ("b", b)) as playback:
        a.feed(10)
        b.feed(10)
        await eventually(lambda: not a.waiting and not b.waiting)
        assert playback.playout_ms == 200.0
        sound = heard(playback)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        loudest = {int(k * 48_000 / len(sound)) for k in np.argsort(spectrum)[-6:]}
        assert loudest & {400, 395, 405} and loudest & {1500, 1495, 1505}
        assert playback.level_dbfs > -30
        assert {key for key, _ in playback.stats()} == {"a", "b"}


async def test_only_the_allowed_are_heard_and_the_others_stay_live() -> None:
    a, b = FakeTrack(400), FakeTrack(1500)
    async with playback_of(("a", a), ("b", b)) as playback:
        playback.allow({"b"})
        a.feed(10)
        b.feed(10)
        await eventually(lambda: not a.waiting and not b.waiting)
        assert strongest_hz(heard(playback, 10)) == pytest.approx(1500, abs=20)
        received = [stats.received for _, stats in playback.stats()]
        assert received == [0, 10], "who is not heard is drained, and costs nothing more"
        playback.allow(set())
        assert not heard(playback, 2).any()
        assert playback.playout_ms is None
        playback.allow(None)
        a.feed(10)
        await eventually(lambda: not a.waiting)
        assert strongest_hz(heard(playback, 10)) == pytest.approx(400, abs=20)
        playback.allow({"b"})
        a.feed(1)
        await eventually(lambda: [stats.received for _, stats in playback.stats()] == [0, 10])


async def test_tracks_that_come_during_a_call_obey_it() -> None:
    async with playback_of() as playback:
        playback.allow({"resident"})
        stranger = FakeTrack()
        playback.add("stranger", stranger)
        stranger.feed(10)
        await eventually(lambda: not stranger.waiting)
        assert not heard(playback, 5).any()


async def test_ended_tracks_leave_by_themselves() -> None:
    a = FakeTrack()
    async with playback_of(("a", a)) as playback:
        a.end()
        await eventually(lambda: not playback.stats())


async def test_a_removed_track_is_silent_drained_and_may_return() -> None:
    a = FakeTrack()
    async with playback_of(("a", a)) as playback:
        playback.add("a", a)
        assert len(playback.stats()) == 1, "the same track twice is one voice"
        playback.remove("a")
        a.feed(10)
        await eventually(lambda: not a.waiting)
        assert not heard(playback, 5).any()
        playback.add("a", a)
        a.feed(10)
        await eventually(lambda: not a.waiting)
        assert dbfs(heard(playback, 10)) > -30


async def test_telephone_codecs_are_resampled() -> None:
    a = FakeTrack(700, rate=8000, layout="mono")
    async with playback_of(("a", a)) as playback:
        a.feed(20)
        await eventually(lambda: not a.waiting)
        assert strongest_hz(heard(playback, 30)) == pytest.approx(700, abs=5)


async def test_rates_that_do_not_fall_on_whole_samples_leave_no_holes() -> None:
    a = FakeTrack()
    async with playback_of(("a", a)) as playback:
        pts, sound = 0, Tone(700, 0.3, 44_100)
        for _ in range(170):
            frame = av.AudioFrame.from_ndarray(sound.block(1024).reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), pts
            pts += 1024
            a._queue.put_nowait(frame)
            if pts > 3 * 1024:
                await eventually(lambda: not a.waiting)
                playback.pull(1024 * 48_000 // 44_100)
        ((_, stats),) = playback.stats()
        assert (stats.gaps, stats.concealed, stats.received) == (0, 0, 170)


async def test_a_frame_that_cannot_be_used_does_not_end_the_voice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a = FakeTrack()
    async with playback_of(("a", a)) as playback:
        with monkeypatch.context() as broken:
            broken.setattr("edge_node.media.playback._samples", lambda frame: 1 / 0)
            a.feed(3)
            await eventually(lambda: playback.errors == 3)
        a.feed(10)
        await eventually(lambda: not a.waiting)
        assert dbfs(heard(playback, 10)) > -30
    assert [record.getMessage() for record in caplog.records] == [
        "the sound of a cannot be used everywhere: division by zero"
    ]


async def test_two_hundred_talkers_leave_nothing_behind() -> None:
    """Eight at a time, who come, talk and leave; all eight are back each time."""
    async with playback_of() as playback:
        before = len(asyncio.all_tasks())
        for _ in range(25):
            tracks = [FakeTrack() for _ in range(8)]
            for key, track in enumerate(tracks):
                playback.add(str(key), track)
                track.feed(10)
            await eventually(lambda: not any(track.waiting for track in tracks))  # noqa: B023
            assert dbfs(heard(playback, 4)) > -40
            for track in tracks:
                track.end()
            await eventually(lambda: not playback.stats())
        assert (len(asyncio.all_tasks()), playback._drained, playback._voices) == (before, [], ())


async def test_a_bug_is_counted_and_heard_as_silence() -> None:
    a = FakeTrack()
    async with playback_of(("a", a)) as playback:
        a.feed(5)
        await eventually(lambda: not a.waiting)
        assert len(playback.pull(BLOCK_FRAMES)) == BLOCK_FRAMES
        playback._clock = None  # type: ignore[assignment]  # the bug
        assert not playback.pull(BLOCK_FRAMES).any()
        assert not playback.pull(BLOCK_FRAMES).any()
        assert playback.errors == 2


async def test_a_real_call_from_microphone_to_speaker() -> None:
    """ToneMicrophone → Opus once → aiortc → aiortc → playout → a paced speaker."""
    publication, playback, speaker = AudioPublication(SystemClock()), Playback(SystemClock()), NullSpeaker()
    here, there = RTCPeerConnection(), RTCPeerConnection()
    recorded: list[Pcm] = []

    def pull(frames: int) -> Pcm:
        block = playback.pull(frames)
        recorded.append(block)
        return block

    @there.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        playback.add("door", track)

    here.addTrack(publication.track.subscribe())
    await here.setLocalDescription(await here.createOffer())
    await there.setRemoteDescription(here.localDescription)
    await there.setLocalDescription(await there.createAnswer())
    await here.setRemoteDescription(there.localDescription)
    try:
        async with (
            running(publication.run()),
            running(ToneMicrophone(440, 0.5).run(publication.block)),
            running(speaker.run(pull)),
        ):
            await eventually(lambda: recorded and dbfs(recorded[-1]) > -20)
            start = len(recorded)
            await eventually(lambda: len(recorded) >= start + 100)
            assert playback.playout_ms is not None
            assert playback.playout_ms < 500
        assert strongest_hz(np.concatenate(recorded[start:])) == pytest.approx(440, abs=5)
        await here.close()
        await eventually(lambda: not playback.stats())
    finally:
        await here.close()
        await there.close()
        await playback.close()
        publication.close()


async def test_announcements_duck_the_voices_and_gains_are_per_person() -> None:
    a = FakeTrack(440)
    async with playback_of(("a", a)) as playback:
        a.feed(40)
        await eventually(lambda: not a.waiting)
        plain = dbfs(heard(playback, 10))
        playback.say(Tone(1500, 0.3).block(9600))
        under = heard(playback, 10)
        assert strongest_hz(under) == pytest.approx(1500, abs=20)
        playback.repeat(Tone(1500, 0.3).block(9600))
        playback.quiet()
        heard(playback, 20)
        a.feed(20)
        await eventually(lambda: not a.waiting)
        assert strongest_hz(heard(playback, 10)) == pytest.approx(440, abs=20)
        playback.set_gains({"a": -40})
        assert dbfs(heard(playback, 10)) < plain - 30


async def test_the_speakers_gain_is_for_voices_and_announcements_and_never_wraps() -> None:
    levels = []
    for gain_db in (0.0, 6.0, -12.0, 20.0):
        a = FakeTrack(440)
        playback = Playback(ManualClock(), gain_db=gain_db)
        playback.say(Tone(440, 0.2).block(9600))
        playback.add("a", a)
        levels.append(dbfs(heard(playback, 10)))
        assert np.abs(np.diff(heard(playback, 10).astype(np.int32))).max() < 4000, "no wrap-around"
        await playback.close()
    assert levels[1:3] == pytest.approx([levels[0] + 6, levels[0] - 12], abs=0.1)
    assert levels[3] <= -3.0, "limited"


async def test_an_announcement_is_never_louder_than_it_can_be() -> None:
    """20 dB more than the chime has would be far over full scale: its shape stays."""
    sound = chime()
    playback = Playback(ManualClock(), prompts_db=20.0)
    playback.say(sound)
    heard = np.concatenate([playback.pull(BLOCK_FRAMES) for _ in range(40)]).astype(np.float64)
    wanted = sound[: len(heard)].astype(np.float64)
    assert np.corrcoef(heard, wanted)[0, 1] > 0.99, "not clipped"
    assert 0.8 < np.abs(heard).max() / 32767 <= 1.0
    await playback.close()
