"""A member of a channel that does what it is told: our SDK or the official one, with only the import changed.

    python -m tests.interop.python_peer edge_node|metered_realtime

The commands and events are those of tests/interop/README.md, one JSON object per line on stdin and stdout.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import aiortc
import numpy as np
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcicetransport import RTCIceGatherer

from tests.support.interop_media import REPORT_EVERY_S, Picture, Tone, frequency_hz


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def only_h264() -> None:
    """Lets every video sender of stock aiortc offer H.264 alone; the official SDK has no option for it."""
    connection: Any = aiortc.RTCPeerConnection
    stock = connection.addTrack

    def add_track(pc: Any, track: Any) -> Any:
        sender = stock(pc, track)
        if track.kind == "video":
            codecs = aiortc.RTCRtpSender.getCapabilities("video").codecs
            transceiver = next(t for t in pc.getTransceivers() if t.sender is sender)
            transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "video/H264"])
        return sender

    connection.addTrack = add_track


class Program:
    """One MeteredPeer and what it hears."""

    def __init__(self, sdk: Any) -> None:
        self._sdk = sdk
        self._peer: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._channels: dict[str, Any] = {}
        self._stack = AsyncExitStack()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        say("ready")
        try:
            while line := await reader.readline():
                command = json.loads(line)
                name = command.pop("do")
                if name == "quit":
                    break
                try:
                    await getattr(self, f"do_{name}")(**command)
                except Exception as err:
                    say("error", where=name, text=repr(err))
        finally:
            pipe.close()
            if self._peer is not None:
                await self._peer.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._stack.aclose()

    # Commands

    async def do_start(self, url: str, token: str) -> None:
        sdk = self._sdk

        async def provide() -> str:
            return token

        self._peer = sdk.MeteredPeer(token_provider=provide, url=url)
        self._peer.on(sdk.StateChange, lambda e: say("state", state=e.to))
        self._peer.on(sdk.PeerJoined, lambda e: self._watch(e.peer))
        self._peer.on(sdk.PeerLeft, lambda e: say("left", peer=e.peer.id))
        self._peer.on(sdk.Data, lambda e: say("data", sender=e.sender_peer_id, data=e.data, kind=e.kind))
        self._peer.on(sdk.FatalError, lambda e: say("error", where="fatal", text=repr(e.err)))

    async def do_join(self, channel: str) -> None:
        await self._peer.join(channel)

    async def do_publish(self, kind: str, stream: str, metadata: Any, hz: float = 0.0, codec: str = "") -> None:
        track: Any = Tone(hz) if kind == "audio" else Picture()
        if codec == "H264" and self._sdk.__name__ == "edge_node":
            from tests.support.peers import CodedVideo

            track = await self._stack.enter_async_context(CodedVideo())
        elif codec == "H264":
            only_h264()
        self._peer.add_track(track, self._sdk.MediaStream(id=stream), metadata)
        say("published", kind=kind, stream=stream)

    async def do_send(self, data: Any) -> None:
        await self._peer.send(data)

    async def do_send_to(self, peer: str, data: Any) -> None:
        await self._peer.send_to(peer, data)

    async def do_open(self, peer: str, label: str) -> None:
        remote = next(r for r in self._peer.remote_peers if r.id == peer)
        self._listen(remote.create_data_channel(label))

    async def do_channel_send(self, label: str, text: str) -> None:
        await self._channels[label].send(text)

    # What is heard

    def _watch(self, remote: Any) -> None:
        sdk = self._sdk
        say("peer", peer=remote.id, polite=remote.polite)
        remote.on(sdk.StateChange, lambda e: say("connection", state=e.to))
        remote.on(sdk.Track, lambda e: self._track(remote, e))
        remote.on(sdk.StreamAdded, lambda e: say("stream", stream=e.stream.id, metadata=e.metadata))
        remote.on(sdk.DataChannelOpened, lambda e: self._listen(e.channel))
        remote.on(sdk.NegotiationError, lambda e: say("error", where="negotiation", text=repr(e.err)))
        remote.on(sdk.IceCandidateError, lambda e: say("error", where="candidate", text=repr(e.err)))

    def _listen(self, raw: Any) -> None:
        channel = self._sdk.DataChannel(raw)
        label = channel.label
        self._channels[label] = channel
        channel.on(self._sdk.DCOpen, lambda e: say("channel", label=label))
        channel.on(self._sdk.DCMessage, lambda e: say("channel_data", label=label, text=e.data))
        if channel.ready_state == "open":
            say("channel", label=label)

    def _track(self, remote: Any, event: Any) -> None:
        kind = event.track.kind
        say("track", kind=kind, streams=[s.id for s in event.streams], metadata=event.metadata)
        self._spawn(self._see(remote, event.track) if kind == "video" else self._hear(event.track))

    async def _hear(self, track: Any) -> None:
        blocks: list[Any] = []
        async for frame in received(track):
            blocks.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0])
            if sum(map(len, blocks)) >= REPORT_EVERY_S * frame.sample_rate:
                say("heard", hz=frequency_hz(np.concatenate(blocks), frame.sample_rate))
                blocks.clear()

    async def _see(self, remote: Any, track: Any) -> None:
        frames, since = 0, asyncio.get_running_loop().time()
        async for frame in received(track):
            frames += 1
            now = asyncio.get_running_loop().time()
            if now - since >= REPORT_EVERY_S:
                say("seen", frames=frames, width=frame.width, height=frame.height, codec=codec_of(remote.pc))
                frames, since = 0, now


async def received(track: Any) -> Any:
    """The frames of a track up to its end."""
    while True:
        try:
            yield await track.recv()
        except MediaStreamError:
            return


def codec_of(pc: Any) -> str:
    """The first video format of the local description: what the receiver chose."""
    lines = pc.localDescription.sdp.splitlines()
    formats = next(line for line in lines if line.startswith("m=video")).split()[3:]
    line: str = next(line for line in lines if line.startswith(f"a=rtpmap:{formats[0]} "))
    return line.split()[1].split("/")[0]


async def main() -> None:
    # Stock aiortc asks a public STUN server when it is given none: no packet of a test leaves this machine.
    gatherer: Any = RTCIceGatherer
    gatherer.getDefaultIceServers = classmethod(lambda cls: [])
    await Program(importlib.import_module(sys.argv[1])).run()


if __name__ == "__main__":
    asyncio.run(main())
