"""Two connections with nothing but a pipe between them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edge_node.errors import NotConnectedError
from edge_node.protocol import negotiation as n
from edge_node.protocol import payloads, sdp
from edge_node.realtime import candidates
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.connection import INBOX_SIZE, Connection, RtcOptions
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.received import ReceivedTrack
from edge_node.realtime.relay import Relay
from tests.support.peers import Tone, hears
from tests.support.waiting import eventually


class Side:
    """One end: its connection, what it sends and what it hears."""

    def __init__(self, *, polite: bool, receive: frozenset[str] = frozenset({"audio", "video"})) -> None:
        self.sending: list[Outgoing] = []
        self.tracks: list[ReceivedTrack] = []
        self.gone: list[ReceivedTrack] = []
        self.states: list[str] = []
        self.errors: list[str] = []
        self.channels: list[Any] = []
        self.sent: list[Mapping[str, Any]] = []
        self.rebuilt = 0
        self.strangers = 0
        self.is_offline = False
        self.loses = False
        self.other: Side
        self.connection = Connection(
            polite=polite,
            options=lambda: RtcOptions(receive=receive),
            tracks=lambda: list(self.sending),
            send=self._send,
            listener=self,
            name="polite" if polite else "impolite",
        )

    async def _send(self, payload: Mapping[str, Any]) -> None:
        if self.is_offline:
            raise NotConnectedError("offline")
        self.sent.append(payload)
        signal = payloads.read(payload)
        assert isinstance(signal, payloads.Description | payloads.EndOfCandidates)
        if not self.loses:
            self.other.connection.signal(signal)

    def send_tone(self, hz: float, name: str) -> None:
        self.sending.append(Outgoing(name, "audio", Relay(Tone(hz)).view, "stream"))
        self.connection.changed()

    # ConnectionListener

    def on_state(self, state: str) -> None:
        self.states.append(state)

    def on_track(self, track: ReceivedTrack, section: sdp.Section, sections: Sequence[sdp.Section]) -> None:
        self.tracks.append(track)

    def on_track_gone(self, track: ReceivedTrack) -> None:
        self.gone.append(track)

    def on_rebuilt(self, was_up: bool) -> None:
        self.rebuilt += 1

    def on_stranger(self) -> None:
        self.strangers += 1

    def on_data_channel(self, channel: Any) -> None:
        self.channels.append(channel)

    def on_negotiation_error(self, error: Exception) -> None:
        self.errors.append(str(error))

    def on_candidate_error(self, error: Exception) -> None:
        self.errors.append(f"candidate: {error}")


def sides(**options: Any) -> tuple[Side, Side]:
    polite, impolite = Side(polite=True, **options), Side(polite=False, **options)
    polite.other, impolite.other = impolite, polite
    return polite, impolite


async def close(*ends: Side) -> None:
    for end in ends:
        await end.connection.close()
        await end.connection.close()
        end.connection.changed()  # nothing happens any more
        assert end.connection.state == "closed" and end.connection.pc is None


async def up(sender: Side, receiver: Side, hz: float = 440) -> None:
    sender.send_tone(hz, f"t{hz}")
    await eventually(lambda: receiver.tracks)
    await hears(receiver.tracks[-1], hz)


@pytest.mark.parametrize("from_polite", [True, False])
async def test_a_connection_built_anew_carries_all_again(from_polite: bool) -> None:
    polite, impolite = sides()
    sender, receiver = (polite, impolite) if from_polite else (impolite, polite)
    await up(sender, receiver)
    channel = receiver.connection.create_data_channel("x")
    await eventually(lambda: sender.channels and channel.readyState == "open")
    for number, who in enumerate((polite, impolite), 1):
        old = receiver.tracks[-1]
        who.connection.renew()
        await eventually(lambda: len(receiver.tracks) == number + 1, 30)  # noqa: B023
        await hears(receiver.tracks[-1], 440)
        assert old.readyState == "ended" and receiver.gone == []
        assert sender.states[-1] == receiver.states[-1] == "connected"
    assert sender.rebuilt >= 2 and "reconnecting" in sender.states and sender.errors == receiver.errors == []
    await close(sender, receiver)


async def test_the_other_side_died() -> None:
    polite, impolite = sides()
    await up(impolite, polite)
    await polite.connection.close()
    reborn = Side(polite=True)
    reborn.other, impolite.other = impolite, reborn
    await eventually(lambda: reborn.tracks, 30)
    await hears(reborn.tracks[0], 440)
    assert impolite.rebuilt == 1
    await close(reborn, impolite)


def say_hello(source: Side) -> None:
    hello = payloads.read(source.connection.hello())
    assert isinstance(hello, payloads.Hello)
    source.other.connection.signal(hello)


@pytest.mark.parametrize("survivor_sends", [True, False])
async def test_the_other_side_died_and_says_hello(survivor_sends: bool) -> None:
    polite, impolite = sides()
    sender, receiver = (impolite, polite) if survivor_sends else (polite, impolite)
    for side in (polite, impolite):
        say_hello(side)
    await up(sender, receiver)
    pc = impolite.connection.pc
    for side in (polite, impolite):
        say_hello(side)  # as after a drop of the signalling
    await hears(receiver.tracks[-1], 440)
    assert impolite.connection.pc is pc and impolite.rebuilt == impolite.strangers == 0
    link, polite.connection._link = polite.connection._link, None  # as a killed process: no goodbye
    reborn = Side(polite=True)
    reborn.other, impolite.other = impolite, reborn
    say_hello(reborn)
    await eventually(lambda: impolite.strangers == 1 and impolite.rebuilt == 1)
    if survivor_sends:
        await eventually(lambda: reborn.tracks)
        await hears(reborn.tracks[0], 440)
    else:
        reborn.send_tone(900, "t900")
        await eventually(lambda: len(impolite.tracks) == 2)
        await hears(impolite.tracks[1], 900)
    assert impolite.rebuilt == 1 and impolite.errors == []
    assert link is not None
    await link.close()
    await close(polite, reborn, impolite)


async def test_a_first_hello_in_the_middle_of_a_call_is_looked_into() -> None:
    polite, impolite = sides()
    await up(impolite, polite)
    pc = impolite.connection.pc
    say_hello(polite)
    await eventually(lambda: impolite.strangers == 1)
    await hears(polite.tracks[-1], 440)
    assert impolite.connection.pc is pc and impolite.rebuilt == 0
    await close(polite, impolite)


async def test_a_check_keeps_what_works_and_rebuilds_what_does_not() -> None:
    polite, impolite = sides()
    polite.connection.check()
    impolite.connection.check()
    await asyncio.sleep(0)
    assert polite.connection.pc is None  # nothing to send, nothing to lose
    await up(impolite, polite)
    pc = impolite.connection.pc
    impolite.connection.check()
    impolite.sending.append(Outgoing("late", "audio", Relay(Tone(900)).view))
    impolite.connection.check()  # works, but something is not sent yet
    await eventually(lambda: len(polite.tracks) == 2)
    assert impolite.connection.pc is pc and polite.rebuilt == 0
    link = polite.connection._link
    assert link is not None
    for protocol in link._ice()._connection._protocols:  # type: ignore[union-attr]
        protocol.transport.abort()
    impolite.connection.check()
    await eventually(lambda: len(polite.tracks) == 4, 30)
    assert impolite.rebuilt == 1 and impolite.connection.pc is not pc
    await close(polite, impolite)


async def test_offline_for_a_while() -> None:
    polite, impolite = sides()
    impolite.is_offline = True
    impolite.send_tone(440, "t")
    await eventually(lambda: impolite.rebuilt == 1)
    impolite.is_offline = False
    impolite.connection.check()
    await eventually(lambda: polite.tracks, 30)
    assert impolite.errors == []  # being away is no news
    await close(polite, impolite)


async def test_answers_that_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(n, "ANSWER_TIMEOUT_S", 0.1)
    polite, impolite = sides()
    polite.loses = True
    impolite.send_tone(440, "t")
    await eventually(lambda: len([s for s in impolite.sent if s["type"] == "rtc-description"]) >= 2)
    polite.loses = False
    monkeypatch.setattr(n, "ANSWER_TIMEOUT_S", 10.0)
    await eventually(lambda: impolite.connection.is_up, 60)
    await close(polite, impolite)


async def test_it_gives_up_once_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(n, "ANSWER_TIMEOUT_S", 0.01)
    monkeypatch.setattr(n, "LADDER_S", (0.0, 0.01, 0.01))
    polite, impolite = sides()
    impolite.loses = True
    impolite.send_tone(440, "t")
    await eventually(lambda: impolite.errors)
    assert len(impolite.errors) == 1 and "3 attempts" in impolite.errors[0]
    impolite.loses = False
    monkeypatch.setattr(n, "ANSWER_TIMEOUT_S", 10.0)
    impolite.connection.renew()
    await eventually(lambda: polite.tracks, 30)
    await close(polite, impolite)


GARBAGE = ["", "v=0", "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", "\x00" * 50, "m=video x y z\r\na=mid:0\r\n"]


@pytest.mark.parametrize("text", GARBAGE, ids=repr)
async def test_garbage_does_not_hurt_a_live_connection(text: str) -> None:
    polite, impolite = sides()
    await up(impolite, polite)
    for end in (polite, impolite):
        end.connection.signal(payloads.Description("offer", text))
        end.connection.signal(payloads.Description("answer", text))
        for line in ("", "x", "1 1 udp 9 not-an-address 5 typ host", "1 1 udp 9 a.local 5 typ host"):
            end.connection.signal(payloads.Candidate(line, "0", 0))
        end.connection.signal(payloads.Candidate("1 1 udp 9 10.0.0.1 5 typ host", "7"))
        end.connection.signal(payloads.Candidate("1 1 udp 9 10.0.0.1 5 typ host", None, 7))
        end.connection.signal(payloads.EndOfCandidates())
    await eventually(lambda: all(not end.connection._inbox for end in (polite, impolite)))
    await hears(polite.tracks[0], 440)
    polite.send_tone(700, "more")
    await eventually(lambda: impolite.tracks, 30)
    await hears(impolite.tracks[-1], 700)
    assert any("candidate" in e for e in polite.errors)
    await close(polite, impolite)


async def test_garbage_before_anything_else() -> None:
    polite, impolite = sides()
    polite.connection.signal(payloads.Description("offer", "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"))
    await eventually(lambda: polite.errors)
    await up(impolite, polite)
    await close(polite, impolite)


async def test_candidates_before_the_description_and_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES_PER_GENERATION", 3)
    polite, impolite = sides()
    for number in range(5):
        polite.connection.signal(payloads.Candidate(f"{number} 1 udp 9 192.0.2.9 {5000 + number} typ host", "0"))
    await eventually(lambda: len(polite.connection._candidates._early) == 3)
    await up(impolite, polite)
    assert polite.connection._candidates._early == [] and polite.errors == []
    await close(polite, impolite)


async def test_the_inbox_is_bounded() -> None:
    polite, impolite = sides()
    for _ in range(INBOX_SIZE + 7):
        polite.connection.signal(payloads.EndOfCandidates())
    assert polite.connection.dropped == 7
    for _ in range(5):
        impolite.connection.changed()
    assert len(impolite.connection._inbox) == 1
    await close(polite, impolite)


async def test_a_bug_in_the_worker_is_survived(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    polite, impolite = sides()
    await up(impolite, polite)

    async def broken(link: Any, candidate: payloads.Candidate) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(polite.connection._candidates, "take", broken)
    polite.connection.signal(payloads.Candidate("x"))
    await eventually(lambda: len(polite.tracks) == 2, 30)
    await hears(polite.tracks[1], 440)
    assert "a bug" in caplog.text
    await close(polite, impolite)


async def test_figures() -> None:
    polite, impolite = sides()
    assert await polite.connection.stats() == {}
    await up(impolite, polite)
    figures = await polite.connection.stats()
    assert figures["received_bytes"] > 0 and figures["rtt_ms"] is not None
    await close(polite, impolite)


async def test_replacing_what_is_not_sent_yet() -> None:
    polite, impolite = sides()
    new = Outgoing("new", "audio", Relay(Tone(500)).view)
    impolite.sending.append(new)
    impolite.connection.replace("old", new)
    await eventually(lambda: polite.tracks)
    await hears(polite.tracks[0], 500)
    await close(polite, impolite)


async def test_what_changes_while_offline_goes_out_later_and_nothing_breaks() -> None:
    polite, impolite = sides()
    await up(impolite, polite)
    pc, states = impolite.connection.pc, list(impolite.states)
    impolite.is_offline = True
    impolite.send_tone(900, "later")
    await eventually(lambda: impolite.connection._negotiation.deadline is not None)
    await hears(polite.tracks[0], 440)
    impolite.is_offline = False
    impolite.connection.check()
    await eventually(lambda: len(polite.tracks) == 2)
    await hears(polite.tracks[1], 900)
    await hears(polite.tracks[0], 440)
    assert impolite.connection.pc is pc and impolite.rebuilt == polite.rebuilt == 0
    assert impolite.states == states and impolite.errors == polite.errors == []
    await close(polite, impolite)


class Refusal:
    """Makes all answers reject everything, as a browser writes it: no transport, no group; until `over`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = False
        stock = PeerLink.answer

        async def answer(link: PeerLink) -> str:
            session, sections = sdp.split(await stock(link))
            if self.over:
                return sdp.join(session, sections)
            rejected = [re.sub(r"^(m=\w+) \d+", r"\1 0", lines[0]) for lines in sections]
            session = [line for line in session if not line.startswith("a=")]
            return sdp.join(session, [[line, "c=IN IP4 0.0.0.0", f"a=mid:{n}"] for n, line in enumerate(rejected)])

        monkeypatch.setattr(PeerLink, "answer", answer)


def offers(side: Side) -> list[str]:
    signals = [payloads.read(payload) for payload in side.sent]
    return [s.sdp for s in signals if isinstance(s, payloads.Description) and s.type == "offer"]


REFUSED = "takes nothing of the audio it is offered: offer it other tracks or codecs"


@pytest.mark.parametrize("from_polite", [True, False])
async def test_an_answer_that_refuses_all_is_told_once_and_later_offers_are_taken(
    from_polite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Refusal(monkeypatch)
    polite, impolite = sides()
    sender, receiver = (polite, impolite) if from_polite else (impolite, polite)
    for number in range(4):
        sender.sending.clear()
        sender.send_tone(440, f"try-{number}")
        await eventually(lambda number=number: len(offers(sender)) == number + 1)  # type: ignore[misc]
        await eventually(lambda: sender.connection.state == "idle" and not sender.connection._negotiation._offered)
        assert sender.connection._negotiation.deadline is None, "nothing is waited for"
        assert len(sdp.read(offers(sender)[-1])) == 1, "what was refused leaves no section"
        link = sender.connection._link
        assert link is not None
        sender.connection._on_found(link, "1 1 udp 9 10.0.0.1 5 typ host")  # gathering goes on meanwhile
    assert len(sender.errors) == 1 and sender.errors[0].endswith(REFUSED)
    assert sender.rebuilt == 0
    refusal.over = True
    sender.send_tone(700, "more")
    await eventually(lambda: len(receiver.tracks) == 5)
    await hears(receiver.tracks[-2], 440)
    await hears(receiver.tracks[-1], 700)
    assert len(sender.errors) == 1 and sender.connection.state == "connected"
    await close(polite, impolite)


async def test_a_live_connection_goes_on_after_an_answer_that_refuses_all(monkeypatch: pytest.MonkeyPatch) -> None:
    polite, impolite = sides()
    await up(impolite, polite)
    polite.send_tone(300, "back")
    await eventually(lambda: impolite.tracks)
    refusal, pc = Refusal(monkeypatch), impolite.connection.pc
    for number in (1, 2):
        impolite.send_tone(700, f"refused-{number}")
        await eventually(lambda number=number: len(impolite.errors) == 1 and len(offers(impolite)) > number)  # type: ignore[misc]
        await eventually(lambda: impolite.connection._negotiation.deadline is None)
    link = impolite.connection._link
    assert link is not None and not any(outlet.sends for outlet in link.outlets)
    assert impolite.gone == impolite.tracks, "the other side said that it sends nothing"
    refusal.over = True
    impolite.send_tone(900, "taken")
    await eventually(lambda: len(polite.tracks) == 4)
    for track, hz in zip(polite.tracks, (440, 700, 700, 900), strict=True):
        await hears(track, hz)
    await hears(impolite.tracks[-1], 300)
    assert impolite.connection.pc is pc and impolite.rebuilt == polite.rebuilt == 0
    assert len(impolite.errors) == 1 and polite.errors == []
    await close(polite, impolite)


@pytest.mark.parametrize("lost", ["offer", "answer"])
async def test_what_was_lost_on_the_way_is_asked_for_again(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(n, "RESUMED_ANSWER_S", 0.1)
    polite, impolite = sides()
    await up(impolite, polite)
    pc = impolite.connection.pc
    losing = impolite if lost == "offer" else polite
    losing.loses = True
    sent = len(losing.sent)
    impolite.send_tone(900, "later")
    await eventually(lambda: len(losing.sent) >= sent + 2)
    losing.loses = False
    impolite.connection.check()
    await eventually(lambda: impolite.connection._negotiation.deadline is None)
    await hears(polite.tracks[1], 900)
    await hears(polite.tracks[0], 440)
    assert impolite.connection.pc is pc and impolite.rebuilt == polite.rebuilt == 0 and len(polite.tracks) == 2
    await close(polite, impolite)
