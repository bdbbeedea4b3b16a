"""`python -m tests.bench.audio.publish`: a process that publishes sound, hears it, or is full of such people."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

import edge_node
from edge_node.aio.clock import SystemClock
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.microphone import ToneMicrophone
from edge_node.media.playback import Playback
from edge_node.media.speaker import NullSpeaker
from tests.bench.audio.rig import PlainTrack

CHANNEL = "bench/publish"
TALK = "bench/talk-{}"
"""One channel for each talker: they have nothing to do with one another."""


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def module_of(sdk: str) -> Any:
    if sdk == "ours":
        return edge_node
    import metered_realtime

    return metered_realtime


async def publish(sdk: str, url: str, key: str) -> None:
    """A tone for whoever comes, until standard input ends."""
    module = module_of(sdk)
    microphone, publication = ToneMicrophone(), AudioPublication(SystemClock())
    track: Any = publication.track if sdk == "ours" else PlainTrack()
    sink = publication.block if sdk == "ours" else track.block
    work = [microphone.run(sink), *([publication.run()] if sdk == "ours" else [])]
    tasks = [asyncio.ensure_future(job) for job in work]
    peer = module.MeteredPeer(api_key=key, url=url)
    peer.add_track(track, module.MediaStream(id="tone"))
    await peer.join(CHANNEL)
    say("ready")
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await peer.close()
    publication.close()


async def listen(sdk: str, url: str, key: str, count: int) -> None:
    """That many peers, each of which says when it hears; until standard input ends."""
    module = module_of(sdk)
    tasks: set[asyncio.Future[Any]] = set()

    async def drain(track: Any) -> None:
        await track.recv()
        say("heard")
        async for _ in module.iter_frames(track):
            pass

    def joined(event: Any) -> None:
        event.peer.on(module.Track, lambda e: tasks.add(asyncio.ensure_future(drain(e.track))))

    # Only the publisher sends: listeners among themselves connect, and carry nothing.
    peers = [module.MeteredPeer(api_key=key, url=url) for _ in range(count)]
    for peer in peers:
        peer.on(module.PeerJoined, joined)
        await peer.join(CHANNEL)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(peer.close() for peer in peers))
    for task in tasks:
        task.cancel()


async def talk(url: str, key: str, count: int) -> None:
    """That many people who talk on channels of their own; until standard input ends."""
    peers, publications, jobs = [], [], []
    for number in range(count):
        microphone, publication = ToneMicrophone(150.0 + 40.0 * number), AudioPublication(SystemClock())
        jobs += [asyncio.ensure_future(job) for job in (microphone.run(publication.block), publication.run())]
        peer = edge_node.MeteredPeer(api_key=key, url=url)
        peer.add_track(publication.track, edge_node.MediaStream(id="tone"))
        await peer.join(TALK.format(number))
        peers.append(peer)
        publications.append(publication)
    await asyncio.to_thread(sys.stdin.read)
    for job in jobs:
        job.cancel()
    await asyncio.wait(jobs)
    await asyncio.gather(*(peer.close() for peer in peers))
    for publication in publications:
        publication.close()


async def hear(url: str, key: str, count: int) -> None:
    """One who hears that many talkers through one speaker, which plays to nobody; until standard input ends."""
    playback = Playback(SystemClock())
    speaker = asyncio.ensure_future(NullSpeaker().run(playback.pull))

    def joined(event: edge_node.PeerJoined) -> None:
        name = f"talker-{id(event.peer)}"
        event.peer.on(edge_node.Track, lambda e: playback.add(name, e.track))

    peers = [edge_node.MeteredPeer(api_key=key, url=url) for _ in range(count)]
    for number, peer in enumerate(peers):
        peer.on(edge_node.PeerJoined, joined)
        await peer.join(TALK.format(number))
    say("ready")
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    told = 0
    while not ended.done():
        heard = sum(stats.received > 0 for _, stats in playback.stats())
        for _ in range(heard - told):
            say("heard")
        told = max(told, heard)
        await asyncio.wait([ended], timeout=0.5)
    speaker.cancel()
    await asyncio.wait([speaker])
    await asyncio.gather(*(peer.close() for peer in peers))
    await playback.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("publish", "listen", "talk", "hear"))
    parser.add_argument("--sdk", choices=("ours", "official"), default="ours")
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--count", type=int, default=8)
    args = parser.parse_args()
    match args.role:
        case "publish":
            asyncio.run(publish(args.sdk, args.url, args.key))
        case "listen":
            asyncio.run(listen(args.sdk, args.url, args.key, args.count))
        case "talk":
            asyncio.run(talk(args.url, args.key, args.count))
        case "hear":
            asyncio.run(hear(args.url, args.key, args.count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
