"""`python -m tests.bench.audio.rig`: microphone → peer → peer → speaker, with our SDK, the official one, or nothing."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections import deque
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.aio.clock import SystemClock
from edge_node.dsp.blocks import Blocks
from edge_node.dsp.pcm import Pcm, mono, silence
from edge_node.media import sound_stream
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.playback import Playback
from edge_node.media.sound_pair import SoundPair

PACKET = 960
CHANNEL = "bench/audio"
TELL_S = 0.5


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class PlainTrack(MediaStreamTrack):
    """The microphone as a program for stock aiortc would write it: 20 ms frames out of a short queue."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._queue: asyncio.Queue[Pcm] = asyncio.Queue(5)
        self._running = asyncio.get_running_loop()
        self._blocks = Blocks(PACKET)
        self._pts = 0

    def block(self, pcm: Pcm) -> None:
        for packet in self._blocks.push(pcm):
            self._running.call_soon_threadsafe(self._put, packet)

    def _put(self, packet: Pcm) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(packet)

    async def recv(self) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray((await self._queue.get()).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._pts, Fraction(1, 48_000)
        self._pts += PACKET
        return frame


class PlainPlayer:
    """The speaker as a program for stock aiortc would write it: frames in, samples out, silence when there are none."""

    def __init__(self) -> None:
        self._samples: deque[int] = deque(maxlen=48_000)
        self._lock = threading.Lock()

    async def drain(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.AudioFrame)
            pcm = mono(frame.to_ndarray().reshape(-1).astype(np.int16), frame.layout.nb_channels)
            with self._lock:
                self._samples.extend(pcm.tolist())

    @property
    def held_ms(self) -> float:
        return len(self._samples) / 48.0

    def pull(self, frames: int) -> Pcm:
        with self._lock:
            if len(self._samples) < frames:
                return silence(frames)
            return np.array([self._samples.popleft() for _ in range(frames)], np.int16)


class Straight:
    """The microphone's newest block to the speaker: what the sound card alone takes."""

    def __init__(self) -> None:
        self._newest: Pcm | None = None

    def block(self, pcm: Pcm) -> None:
        self._newest = pcm

    def pull(self, frames: int) -> Pcm:
        pcm, self._newest = self._newest, None
        return silence(frames) if pcm is None else pcm


class Watched:
    """A playback, and how much it held whenever the speaker asked, in the last seconds."""

    def __init__(self, playback: Playback) -> None:
        self._playback = playback
        self._held: deque[float] = deque(maxlen=500)

    def pull(self, frames: int) -> Pcm:
        held = self._playback.playout_ms
        if held is not None:
            self._held.append(held)
        return self._playback.pull(frames)

    @property
    def held_ms(self) -> float | None:
        return float(np.mean(self._held)) if self._held else None

    @property
    def target_ms(self) -> float | None:
        return max((stats.target_ms for _, stats in self._playback.stats()), default=None)


async def straight(card_ms: float) -> None:
    """Until standard input ends: no network, no coding."""
    _ask_for(card_ms)
    pair, between = SoundPair("mic", "speaker"), Straight()

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_S)
            if pair.speaker.latency_ms is not None:
                say("track")
            say("stats", **_card(pair))

    tasks = [
        asyncio.ensure_future(job)
        for job in (pair.microphone.run(between.block), pair.speaker.run(between.pull), tell())
    ]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _ask_for(card_ms: float) -> None:
    if card_ms:
        sound_stream.DEVICE_STEPS_S = (card_ms / 1000, *sound_stream.DEVICE_STEPS_S[1:])


def _card(pair: SoundPair) -> dict[str, Any]:
    card = (pair.microphone.latency_ms, pair.speaker.latency_ms)
    return {"card_ms": card, "xruns": pair.microphone.xruns + pair.speaker.xruns}


async def run(sdk: str, url: str, key: str, card_ms: float) -> None:
    """Until standard input ends. `card_ms`: the latency asked of the sound card; 0 is the product's own choice."""
    _ask_for(card_ms)
    pair = SoundPair("mic", "speaker")
    clock = SystemClock()
    work: list[Any] = []
    publication, playback, player = AudioPublication(clock), Playback(clock), PlainPlayer()
    watched = Watched(playback)
    if sdk == "ours":
        import edge_node as module

        outgoing: Any = publication.track
        sink, pull = publication.block, watched.pull
        work.append(publication.run())
    else:
        import metered_realtime as module  # type: ignore[no-redef]

        outgoing = PlainTrack()
        sink, pull = outgoing.block, player.pull
    talker, listener = (module.MeteredPeer(api_key=key, url=url) for _ in range(2))
    tasks: set[asyncio.Future[Any]] = set()

    def heard(event: Any) -> None:
        say("track")
        if sdk == "ours":
            playback.add("talker", event.track)
        else:
            tasks.add(asyncio.ensure_future(player.drain(event.track)))

    listener.on(module.PeerJoined, lambda e: e.peer.on(module.Track, heard))
    talker.add_track(outgoing, module.MediaStream(id="rig"))

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_S)
            held = watched.held_ms if sdk == "ours" else player.held_ms
            say("stats", held_ms=held, target_ms=watched.target_ms, **_card(pair))

    work += [pair.microphone.run(sink), pair.speaker.run(pull), tell()]
    tasks |= {asyncio.ensure_future(job) for job in work}
    await listener.join(CHANNEL)
    await talker.join(CHANNEL)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await talker.close()
    await listener.close()
    await playback.close()
    publication.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sdk", choices=("ours", "official", "none"), required=True)
    parser.add_argument("--url", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--card-ms", type=float, default=0.0)
    args = parser.parse_args()
    if args.sdk == "none":
        asyncio.run(straight(args.card_ms))
    else:
        asyncio.run(run(args.sdk, args.url, args.key, args.card_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
