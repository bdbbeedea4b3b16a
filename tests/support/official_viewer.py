"""A program written with the official SDK: watches, listens, speaks and answers, as a resident's client would.

    python -m tests.support.official_viewer --url ws://127.0.0.1:9292 --key pk_… --channel home/front-door

Prints JSON lines: joined, peer, track, second (frames and tone of each second), data. Lines on standard input are
commands: `send {json}` to the node, `quit`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
from aiortc.codecs import CODECS
from metered_realtime import (
    AudioSource,
    Data,
    MediaStream,
    MeteredPeer,
    PeerJoined,
    PeerLeft,
    RemotePeer,
    Track,
    iter_frames,
)


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, "t": time.monotonic(), **fields}), flush=True)


def dominant_hz(pcm: np.ndarray[Any, Any], rate: int) -> float:
    """The strongest frequency of a mono signal, in Hz; 0 for silence."""
    if pcm.size < 1024 or float(np.abs(pcm).max()) < 50:
        return 0.0
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    return float(np.argmax(spectrum) * rate / pcm.size)


class Viewer:
    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._peer = MeteredPeer(api_key=args.key, url=args.url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._voice: AudioSource | None = None
        self._node = ""

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        peer = self._peer
        peer.on(PeerJoined, lambda e: self._watch(e.peer))
        peer.on(PeerLeft, lambda e: say("left", peer=e.peer.id))
        peer.on(Data, self._data)
        if self._args.tone_hz:
            self._voice = AudioSource(input_rate=48000, max_buffered_seconds=0.5)
            peer.add_track(self._voice, stream=MediaStream(id="voice"))
            self._spawn(self._speak(self._voice))
        await peer.join(self._args.channel)
        say("joined", peer=peer.peer_id)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        try:
            while line := (await reader.readline()).decode().strip():
                word, _, rest = line.partition(" ")
                if word == "quit":
                    break
                if word == "send":
                    await peer.send_to(self._node, json.loads(rest))
        finally:
            pipe.close()
            await peer.close()
            for task in list(self._tasks):
                task.cancel()

    def _data(self, event: Data) -> None:
        if isinstance(event.data, dict) and str(event.data.get("type", "")).startswith("call."):
            self._node = event.sender_peer_id
        say("data", sender=event.sender_peer_id, data=event.data, kind=event.kind)
        answers = self._args.answer
        if answers and isinstance(event.data, dict) and event.data.get("type") == "call.ring":
            self._args.answer = False
            self._spawn(self._peer.send_to(event.sender_peer_id, {"type": "call.answer", "call": event.data["call"]}))

    def _watch(self, remote: RemotePeer) -> None:
        say("peer", peer=remote.id)
        remote.on(Track, lambda e: self._track(remote, e))

    def _track(self, remote: RemotePeer, event: Track) -> None:
        streams = [s.id for s in event.streams]
        say("track", peer=remote.id, kind=event.track.kind, streams=streams, metadata=event.metadata)
        self._spawn(self._video(event.track) if event.track.kind == "video" else self._audio(event.track))

    async def _video(self, track: Any) -> None:
        frames, size, since = 0, (0, 0), time.monotonic()
        async for frame in iter_frames(track):
            frames, size = frames + 1, (frame.width, frame.height)
            now = time.monotonic()
            if now - since >= 1:
                say("second", kind="video", fps=frames / (now - since), width=size[0], height=size[1])
                frames, since = 0, now

    async def _audio(self, track: Any) -> None:
        blocks: list[np.ndarray[Any, Any]] = []
        async for frame in iter_frames(track):
            blocks.append(frame.to_ndarray().reshape(-1, 2)[:, 0].astype(np.float64))
            if len(blocks) == 50:
                pcm = np.concatenate(blocks)
                say("second", kind="audio", hz=dominant_hz(pcm, 48000), peak=float(np.abs(pcm).max()))
                blocks.clear()

    async def _speak(self, voice: AudioSource) -> None:
        step = 2 * np.pi * self._args.tone_hz / 48000
        at = 0
        while True:
            block = (8000 * np.sin(step * np.arange(at, at + 960))).astype(np.int16)
            at += 960
            await voice.push(block.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--channel", required=True)
    parser.add_argument("--tone-hz", type=float, default=0.0)
    parser.add_argument("--answer", action="store_true", help="answer the first ring")
    parser.add_argument("--without", metavar="CODEC", help="a codec this viewer cannot take, such as H264")
    args = parser.parse_args()
    if args.without:
        _forget(args.without)
    asyncio.run(Viewer(args).run())


def _forget(name: str) -> None:
    """aiortc without one of its video codecs; what retransmits it goes too."""
    kept = [c for c in CODECS["video"] if c.name != name]
    types = {c.payloadType for c in kept}
    CODECS["video"][:] = [c for c in kept if c.parameters.get("apt", c.payloadType) in types]


if __name__ == "__main__":
    main()
