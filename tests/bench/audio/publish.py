"""`python -m tests.bench.audio.publish`: one process that publishes sound, or one full of listeners."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from edge_node.aio.clock import SystemClock
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.microphone import ToneMicrophone
from tests.bench.audio.rig import PlainTrack

CHANNEL = "bench/publish"


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def module_of(sdk: str) -> Any:
    if sdk == "ours":
        import edge_node

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


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("publish", "listen"))
    parser.add_argument("--sdk", choices=("ours", "official"), default="ours")
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--count", type=int, default=8)
    args = parser.parse_args()
    if args.role == "publish":
        asyncio.run(publish(args.sdk, args.url, args.key))
    else:
        asyncio.run(listen(args.sdk, args.url, args.key, args.count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
