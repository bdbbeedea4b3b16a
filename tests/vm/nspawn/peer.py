"""A person on the channel: waits to be rung, answers, sees a picture, hears a sound, hangs up. Speaks one JSON line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from edge_node import Data, MeteredPeer, iter_frames
from edge_node.realtime.events import PeerJoined, Track

KEY = tomllib.loads(Path("/etc/edge-node/hub.toml").read_text())["dev_key"]
READY = Path(sys.argv[1])
DEADLINE_S = 60.0
TRACKS = 2  # camera and microphone


async def first_frame(track: Any, seen: dict[str, Any]) -> None:
    async with contextlib.aclosing(iter_frames(track)) as frames:
        async for frame in frames:
            size = f"{frame.width}x{frame.height}" if track.kind == "video" else f"{frame.sample_rate} Hz"
            seen[track.kind] = size
            return


async def main() -> None:
    seen: dict[str, Any] = {}
    tasks: list[asyncio.Task[None]] = []
    rung, met, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async with MeteredPeer(api_key=KEY, url="ws://127.0.0.1:9292") as peer:

        def data(event: Data) -> None:
            match event.data:
                case {"type": "call.ring", "call": call} if not rung.is_set():
                    seen["call"], seen["node"] = call, event.sender_peer_id
                    rung.set()
                case {"type": "call.state", "state": state}:
                    seen.setdefault("states", []).append(state)
                    if state == "ended":
                        ended.set()

        def joined(event: PeerJoined) -> None:
            event.peer.on(Track, track)

        def track(event: Track) -> None:
            tasks.append(asyncio.create_task(first_frame(event.track, seen)))
            if len(tasks) == TRACKS:
                met.set()

        peer.on(Data, data)
        peer.on(PeerJoined, joined)
        await peer.join("home/front-door")
        await asyncio.to_thread(READY.touch)
        async with asyncio.timeout(DEADLINE_S):
            await rung.wait()
            await peer.send_to(seen["node"], {"type": "call.answer", "call": seen["call"]})
            await met.wait()
            await asyncio.gather(*tasks)
            await peer.send_to(seen["node"], {"type": "call.hangup", "call": seen["call"]})
            await ended.wait()
    seen["at"] = time.time()
    print(json.dumps(seen))


asyncio.run(main())
