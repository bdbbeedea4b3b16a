"""Counts published messages: `pubsub_smoke.py [subscriber|publisher]`, both in one process without a word.

METERED_KEY is the publishable key, METERED_URL the signalling server, METERED_CHANNEL the channel. Ends with 0 once
messages flow, with 1 when none came for 30 s, with 2 without a key.
"""

import asyncio
import os
import sys

from edge_node import Direct, Message, Presence, SignallingClient

ENOUGH = 20
TIMEOUT_S = 60.0


def client(key: str) -> SignallingClient:
    return SignallingClient(api_key=key, url=os.environ.get("METERED_URL"))


async def subscriber(key: str, channel: str) -> None:
    count = 0
    me = client(key)
    messages = me.events(Message)
    try:
        await me.connect()
        await me.subscribe(channel)
        async for message in messages:
            assert message.data["number"] >= count, "out of order"
            count += 1
            if count == ENOUGH:
                await me.send(message.sender_peer_id, {"enough": count})
                break
    finally:
        await me.close()
    print(f"received {count} messages")


async def publisher(key: str, channel: str) -> None:
    enough, company = asyncio.Event(), asyncio.Event()
    me = client(key)
    me.on(Direct, lambda event: enough.set())
    me.on(Presence, lambda event: company.set() if event.joined else None)
    number = 0
    try:
        await me.connect()
        await me.subscribe(channel)
        await company.wait()
        while not enough.is_set():
            await me.publish(channel, {"number": number})
            number += 1
            await asyncio.sleep(0.02)
    finally:
        await me.close()
    print(f"published {number} messages")


async def run(role: str, key: str) -> None:
    channel = os.environ.get("METERED_CHANNEL", "demo/smoke")
    roles = {"subscriber": subscriber, "publisher": publisher}
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
        print(f"nothing came for {TIMEOUT_S:g} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
