"""One call of the interop matrix: a sender, a receiver, and what came across."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from edge_node.protocol.payloads import TRACK_META_KEY
from tests.support.hub_client import running_hub
from tests.support.interop_programs import OURS, Program, program
from tests.support.interop_wire import Line
from tests.support.peers import token

CHANNEL = "interop"
SENDER_HZ = 440
RECEIVER_HZ = 1000
TOLERANCE_HZ = 12
METADATA = {
    "audio": {"role": "microphone", "label": "Tür"},
    "video": {"role": "camera", "label": "Tür"},
}
CODEC_NAMES = {"H264": "H.264", "VP8": "VP8"}
MIN_FRAMES = 5
# Reports come every 0.4 s: so many mean sound for longer than any departure grace (3 s) after a reconnect.
LASTING_REPORTS = 12
RECONNECT_TIMEOUT_S = 40.0
RECOVERY_TIMEOUT_S = 40.0

FEATURES = (
    "meet", "audio", "H.264", "VP8", "streams, metadata", "data channel", "broadcast", "direct",
    "sender reconnects", "receiver reconnects", "audio both ways", "metadata both ways",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """Who calls whom. `both_ways`: the receiver sends sound as well, at the same time, and nobody sends pictures."""

    sender: str
    receiver: str
    sender_id_is_smaller: bool
    codec: str = ""
    reconnects: bool = False
    both_ways: bool = False

    @property
    def has_ours(self) -> bool:
        return OURS in (self.sender, self.receiver)

    @property
    def pair(self) -> str:
        return f"{self.sender} {'<' if self.sender_id_is_smaller else '>'} {self.receiver}"

    def __str__(self) -> str:
        return f"{self.pair} {'both ways' if self.both_ways else self.codec}"


@dataclass(slots=True)
class Outcome:
    """What became of each feature: `ok`, `n/a: why` or `failed: how`."""

    case: Case
    features: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, str]:
        return {name: text for name, text in self.features.items() if text.startswith("failed")}

    async def check(self, feature: str, work: Awaitable[None]) -> bool:
        """Awaits the work and keeps how it went; an AssertionError is a failure of the feature only."""
        try:
            await work
        except AssertionError as err:
            self.features[feature] = f"failed: {err}"
            return False
        self.features[feature] = "ok"
        return True


async def play(case: Case) -> Outcome:
    """Plays a case through a hub of its own; a program that cannot run here skips the test."""
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub())
        programs = [await stack.enter_async_context(program(kind)) for kind in (case.sender, case.receiver)]
        ids = ("aa-sender", "zz-receiver") if case.sender_id_is_smaller else ("zz-sender", "aa-receiver")
        lines = []
        for one, peer_id in zip(programs, ids, strict=True):
            one.peer_id = peer_id
            lines.append(await stack.enter_async_context(Line(hub.port)))
            await one.tell("start", url=lines[-1].url, token=token(peer_id))
        call = _Call(case, *programs)
        await call.play(*lines)
        return call.outcome


class _Call:
    def __init__(self, case: Case, sender: Program, receiver: Program) -> None:
        self.outcome = Outcome(case)
        self._case = case
        self._sender = sender
        self._receiver = receiver
        self._pairs = ((sender, receiver), (receiver, sender))

    async def play(self, sender_line: Line, receiver_line: Line) -> None:
        case, check = self._case, self.outcome.check
        if not await check("meet", self._meet()):
            return
        if case.both_ways:
            await check("audio both ways", self._both_ways(self._audio))
            await check("metadata both ways", self._both_ways(self._names))
            return
        await check("audio", self._audio(self._sender, self._receiver))
        sees = await self._video()
        await check("streams, metadata", self._names(self._sender, self._receiver))
        await check("data channel", self._data_channel())
        await check("broadcast", self._exchange("broadcast", "at first"))
        await check("direct", self._exchange("direct", "at first"))
        if case.reconnects:
            await check("sender reconnects", self._reconnect(self._sender, sender_line, sees))
            await check("receiver reconnects", self._reconnect(self._receiver, receiver_line, sees))

    async def _meet(self) -> None:
        sender, receiver = self._sender, self._receiver
        await self._publish(sender, "audio", stream="door", hz=SENDER_HZ)
        if self._case.both_ways:
            await self._publish(receiver, "audio", stream="visitor", hz=RECEIVER_HZ)
        elif not self._lacking():
            await self._publish(sender, "video", stream="door", codec=self._case.codec)
        for one in (receiver, sender):
            await one.tell("join", channel=CHANNEL)
            await one.event("state", state="joined")
        for one, other in self._pairs:
            await one.event("peer", peer=other.peer_id)

    async def _publish(self, one: Program, kind: str, **fields: Any) -> None:
        await one.tell("publish", kind=kind, metadata=METADATA[kind], **fields)
        await one.event("published", kind=kind)

    def _lacking(self) -> str | None:
        """Who cannot do this codec at all."""
        return next((one.kind for one, _ in self._pairs if not one.can(self._case.codec)), None)

    async def _both_ways(self, work: Callable[[Program, Program], Awaitable[None]]) -> None:
        for one, other in self._pairs:
            await work(one, other)

    async def _audio(self, sender: Program, receiver: Program) -> None:
        hz = SENDER_HZ if sender is self._sender else RECEIVER_HZ
        await receiver.event("heard", lambda e: near(e["hz"], hz))

    async def _video(self) -> bool:
        name, lacking = CODEC_NAMES[self._case.codec], self._lacking()
        if lacking is not None:
            self.outcome.features[name] = f"n/a: {lacking} has no {name}"
            return False
        return await self.outcome.check(name, self._see())

    async def _see(self) -> None:
        await self._receiver.event("seen", lambda e: bool(e["frames"] >= MIN_FRAMES), codec=self._case.codec)

    async def _names(self, sender: Program, receiver: Program) -> None:
        """The ids of streams, and what was said about each track."""
        for published in sender.found("published"):
            kind, stream = published["kind"], published["stream"]
            track = await receiver.event("track", kind=kind)
            assert track["streams"] == [stream], f"{receiver.kind}: {kind} in {track['streams']}, not [{stream!r}]"
            assert track["metadata"] == METADATA[kind], f"{receiver.kind}: {kind} with metadata {track['metadata']}"
            await receiver.event("stream", stream=stream)

    async def _data_channel(self) -> None:
        await self._sender.tell("open", peer=self._receiver.peer_id, label="chat")
        for one, _ in self._pairs:
            await one.event("channel", label="chat")
        for one, other in self._pairs:
            text = f"from {one.peer_id}: ✓"
            await one.tell("channel_send", label="chat", text=text)
            await other.event("channel_data", label="chat", text=text)

    async def _exchange(self, kind: str, when: str) -> None:
        for one, other in self._pairs:
            data = {"kind": kind, "when": when, "from": one.peer_id, "list": [1, None, "é"]}
            if kind == "broadcast":
                await one.tell("send", data=data)
            else:
                await one.tell("send_to", peer=other.peer_id, data=data)
            got = await other.event("data", data=data)
            assert (got["kind"], got["sender"]) == (kind, one.peer_id), f"it came as {got}"
            assert not other.found("data", lambda e: TRACK_META_KEY in str(e["data"])), "a control message came as Data"

    async def _reconnect(self, one: Program, line: Line, sees: bool) -> None:
        """Its signalling breaks: it comes back, messages pass both ways, sound lasts and pictures come."""
        for each, _ in self._pairs:
            each.mark()
        line.cut()
        await one.event("state", state="reconnecting")
        await one.event("state", state="joined", timeout_s=RECONNECT_TIMEOUT_S)
        self._receiver.mark()
        for kind in ("broadcast", "direct"):
            await self._exchange(kind, f"after {one.peer_id} was away")
        await self._receiver.event(
            "heard", lambda e: near(e["hz"], SENDER_HZ), count=LASTING_REPORTS, timeout_s=RECOVERY_TIMEOUT_S
        )
        if sees:
            self._receiver.mark()
            await self._see()


def near(hz: float, wanted_hz: float) -> bool:
    return abs(hz - wanted_hz) <= TOLERANCE_HZ
