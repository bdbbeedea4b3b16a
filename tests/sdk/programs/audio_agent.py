"""A voice agent and somebody who talks to it: `audio_agent.py [agent|caller]`, both in one process without a word.

The agent listens to everybody's sound and answers when somebody has finished; who speaks while it answers interrupts
it. METERED_KEY is the publishable key, METERED_URL the signalling server, METERED_CHANNEL the channel, TURNS how many
answers the caller wants to hear (it interrupts all but the last). Ends with 0 once sound flows, with 1 when none came
for 30 s, with 2 without a key.
"""

import asyncio
import os
import sys

import numpy as np

from edge_node import (
    AudioSource,
    Data,
    FatalError,
    MediaStream,
    MeteredPeer,
    PeerJoined,
    ReconnectOptions,
    Track,
    iter_frames,
)

RATE = 24_000
TIMEOUT_S = 60.0
LOUD = 500
SAID_FRAMES = 10  # 0.2 s of sound is something that was said,
PAUSE_FRAMES = 15  # 0.3 s of silence the end of it
ANSWER_S = 4.0
HEARD_FRAMES = 25


def member(key: str) -> MeteredPeer:
    """Somebody who stays for good, however often the network goes."""
    for_ever = ReconnectOptions(max_attempts=float("inf"), max_delay=60.0)
    return MeteredPeer(api_key=key, url=os.environ.get("METERED_URL"), reconnect=for_ever)


def synthesise(hz: float, begin_s: float, duration_s: float) -> bytes:
    """The model that makes speech: slow, so it runs in a thread."""
    at = begin_s + np.arange(int(duration_s * RATE)) / RATE
    return bytes((8000 * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes())


def is_loud(frame: object) -> bool:
    return float(np.abs(frame.to_ndarray()).mean()) > LOUD  # type: ignore[attr-defined]


class Agent:
    def __init__(self, me: MeteredPeer) -> None:
        self.me = me
        self.stream = MediaStream(id="agent-voice")
        self.utterance: asyncio.Task[None] | None = None
        self.answers = self.interruptions = 0

    async def converse(self, event: Track) -> None:
        """One conversation for each sound that somebody sends, until it ends."""
        if event.track.kind != "audio":
            return
        loud = quiet = 0
        async for frame in iter_frames(event.track):
            if is_loud(frame):
                loud, quiet = loud + 1, 0
                if loud == SAID_FRAMES:
                    self.interruptions += self.hush()
            else:
                quiet += 1
                if quiet >= PAUSE_FRAMES:
                    if loud >= SAID_FRAMES:
                        self.answer()
                    loud = 0

    def hush(self) -> bool:
        """Ends what is being said; whether there was anything."""
        return self.utterance is not None and self.utterance.cancel()

    def answer(self) -> None:
        self.hush()
        self.answers += 1
        self.utterance = asyncio.get_running_loop().create_task(self.speak(660.0))

    async def speak(self, hz: float) -> None:
        """Each utterance is a source of its own, in the one stream that is the agent's."""
        voice, ended = AudioSource(input_rate=RATE, max_buffered_seconds=1.0), asyncio.Event()
        voice.on("ended", ended.set)
        self.me.add_track(voice, self.stream, {"role": "agent"})
        try:
            await self.me.send({"transcript": f"{hz:g} Hz"})
            for number in range(int(ANSWER_S / 0.1)):
                await voice.push(await asyncio.to_thread(synthesise, hz, number * 0.1, 0.1))
            voice.end()
            await ended.wait()
        finally:
            voice.end()
            self.me.remove_track(voice)

    async def close(self) -> None:
        if self.hush() and self.utterance is not None:
            await asyncio.wait([self.utterance])


async def agent(key: str, channel: str) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    me = member(key)
    bot = Agent(me)

    def told(event: Data) -> None:
        if event.data == {"hangup": True} and not over.done():
            over.set_result(None)

    def failed(event: FatalError) -> None:
        if not over.done():
            over.set_exception(event.err)

    me.on(PeerJoined, lambda event: event.peer.on(Track, bot.converse))
    me.on(Data, told)
    me.on(FatalError, failed)
    try:
        await me.join(channel)
        await over
    finally:
        await bot.close()
        await me.close()
    print(f"answered {bot.answers} times, interrupted {bot.interruptions} times")


class Caller:
    def __init__(self) -> None:
        self.mouth = AudioSource(input_rate=RATE, max_buffered_seconds=0.2)
        self.speaks, self.heard, self.company = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.frames = self.transcripts = 0
        self.streams: set[str] = set()

    def meet(self, event: PeerJoined) -> None:
        event.peer.on(Track, self.listen)
        self.company.set()

    def read(self, event: Data) -> None:
        self.transcripts += "transcript" in event.data

    async def speak(self) -> None:
        for number in range(1_000_000):
            await self.speaks.wait()
            await self.mouth.push(synthesise(440.0, number * 0.1, 0.1))

    async def listen(self, event: Track) -> None:
        if event.track.kind != "audio":
            return
        self.streams.update(stream.id for stream in event.streams)
        async for frame in iter_frames(event.track):
            if is_loud(frame):
                self.frames += 1
                self.heard.set()

    async def say_something(self) -> None:
        """At least half a second, and until nobody else speaks."""
        self.speaks.set()
        await asyncio.sleep(0.5)
        try:
            while True:
                self.heard.clear()
                async with asyncio.timeout(0.3):
                    await self.heard.wait()
        except TimeoutError:
            self.speaks.clear()

    async def hear_something(self) -> None:
        wanted = self.frames + HEARD_FRAMES
        while self.frames < wanted:
            self.heard.clear()
            await self.heard.wait()


async def caller(key: str, channel: str) -> None:
    turns = int(os.environ.get("TURNS", "1"))
    me, person = member(key), Caller()
    me.add_track(person.mouth, MediaStream(id="caller"), {"role": "voice"})
    me.on(PeerJoined, person.meet)
    me.on(Data, person.read)
    speech = asyncio.get_running_loop().create_task(person.speak())
    try:
        await me.join(channel)
        await person.company.wait()
        for _ in range(turns):
            await person.say_something()
            await person.hear_something()
        await me.send({"hangup": True})
    finally:
        speech.cancel()
        await asyncio.gather(speech, return_exceptions=True)
        person.mouth.end()
        await me.close()
    print(f"heard {person.frames} frames of {turns} answers in {', '.join(sorted(person.streams))}")
    print(f"read {person.transcripts} transcripts")


async def run(role: str, key: str) -> None:
    channel = os.environ.get("METERED_CHANNEL", "demo/agent")
    roles = {"agent": agent, "caller": caller}
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
        print(f"no sound came for {TIMEOUT_S:g} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
