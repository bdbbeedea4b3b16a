"""Sends messages there and back: `data_channel_echo.py [echo|caller]`, both in one process without a word.

METERED_KEY is the publishable key, METERED_URL the signalling server, METERED_CHANNEL the channel. Ends with 0 once
messages come back, with 1 when they do not within 30 s, with 2 without a key.
"""

import asyncio
import os
import sys

from edge_node import DataChannel, DataChannelOpened, DCMessage, DCOpen, MeteredPeer, PeerJoined, PeerLeft, RemotePeer

COUNT = 50
TIMEOUT_S = 60.0


def member(key: str) -> MeteredPeer:
    return MeteredPeer(api_key=key, url=os.environ.get("METERED_URL"))


async def echo(key: str, channel: str) -> None:
    count = 0
    gone = asyncio.Event()
    me = member(key)

    def answer(opened: DataChannelOpened) -> None:
        wire = DataChannel(opened.channel)

        async def back(message: DCMessage) -> None:
            nonlocal count
            count += 1
            await wire.send(message.data)

        wire.on(DCMessage, back)

    me.on(PeerJoined, lambda event: event.peer.on(DataChannelOpened, answer))
    me.on(PeerLeft, lambda event: gone.set() if count else None)
    try:
        await me.join(channel)
        await gone.wait()
    finally:
        await me.close()
    print(f"echoed {count} messages")


async def caller(key: str, channel: str) -> None:
    returned: list[str | bytes] = []
    complete = asyncio.Event()
    wires: list[DataChannel] = []
    me = member(key)
    sent: list[str | bytes] = [f"message {n}" if n % 2 else bytes([n] * 100) for n in range(COUNT)]

    def call(remote: RemotePeer) -> None:
        wire = DataChannel(remote.create_data_channel("echo"))
        wires.append(wire)

        async def talk(_: DCOpen) -> None:
            for message in sent:
                await wire.send(message)

        def keep(message: DCMessage) -> None:
            returned.append(message.data)
            if len(returned) == COUNT:
                complete.set()

        wire.on(DCOpen, talk)
        wire.on(DCMessage, keep)

    me.on(PeerJoined, lambda event: call(event.peer))
    try:
        await me.join(channel)
        await complete.wait()
        assert returned == sent, "not what was sent"
    finally:
        for wire in wires:
            wire.close()
        await me.close()
    print(f"{len(returned)} messages came back")


async def run(role: str, key: str) -> None:
    channel = os.environ.get("METERED_CHANNEL", "demo/echo")
    roles = {"echo": echo, "caller": caller}
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*(work(key, channel) for name, work in roles.items() if role in (name, "")))


def main() -> int:
    key = os.environ.get("METERED_KEY")
    if not key:
        print("set METERED_KEY to the publishable key of your app", file=sys.stderr)
        return 2
    try:
        asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "", key))
    except TimeoutError:
        print(f"not all came back within {TIMEOUT_S:g} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
