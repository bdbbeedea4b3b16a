"""Candidates of this machine at once, those of servers when they come."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aioice import stun
from aioice.candidate import Candidate
from aioice.ice import StunProtocol

from edge_node.protocol import sdp
from edge_node.protocol.payloads import IceServerConfig
from edge_node.realtime import aioice_adapter as module
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.feed import Outgoing
from edge_node.realtime.relay import Relay
from tests.support.peers import Tone
from tests.support.waiting import eventually

OUTSIDE = ("203.0.113.7", 4242)


class StunServer(asyncio.DatagramProtocol):
    """Tells everybody one address, as long as it `answers`."""

    def __init__(self, answers: bool) -> None:
        self.answers = answers
        self.asked = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.set()
        if not self.answers:
            return
        request = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = OUTSIDE
        self._transport.sendto(bytes(answer), addr)


@asynccontextmanager
async def stun_server(answers: bool = False) -> AsyncIterator[tuple[StunServer, str]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: StunServer(answers), local_addr=("127.0.0.1", 0)
    )
    yield server, f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    transport.close()


class Found:
    """What was found after the description."""

    def __init__(self) -> None:
        self.lines: list[str | None] = []

    def __call__(self, link: PeerLink, line: str | None) -> None:
        self.lines.append(line)


def link(found: Callable[[PeerLink, str | None], None], *servers: str, relay_only: bool = False) -> PeerLink:
    configs = [IceServerConfig(url, "user", "secret") for url in servers]
    one = PeerLink(configs, relay_only, lambda *_: None, lambda _: None, found)
    one.add(Outgoing("t", "audio", Relay(Tone()).view), None, receive=True)
    return one


async def test_a_server_that_answers_at_once_is_in_the_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 10.0)  # `at once`, on any machine
    found = Found()
    async with stun_server(answers=True) as (_, address):
        one = link(found, f"stun:{address}")
        text = await one.offer()
        assert " 203.0.113.7 4242 typ srflx " in text and sdp.names_all_candidates(text)
        assert found.lines == [] and not one.gathering
        await one.close()


async def test_a_server_whose_address_cannot_be_read_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 10.0)
    async with stun_server(answers=True) as (_, address):
        one = link(Found(), "turn:[2001:db8::1]:3478", "turn:user:s3cret@host", f"STUN:{address}")
        assert " 203.0.113.7 4242 typ srflx " in await one.offer()
        await one.close()
    assert caplog.text.count("an ICE server is left out") == 2 and "s3cret" not in caplog.text


async def test_a_slow_server_is_not_waited_for_and_trickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    found = Found()
    async with stun_server() as (server, address):
        one = link(found, f"stun:{address}")
        text = await one.offer()
        assert one.gathering and " typ host" in text and "srflx" not in text and not sdp.names_all_candidates(text)
        server.answers = True  # when it is asked again
        await eventually(lambda: None in found.lines)
        line = found.lines[0]
        assert line is not None and line.startswith("candidate:") and " 203.0.113.7 4242 typ srflx " in line
        assert not one.gathering
        again = await one.offer()
        assert " typ srflx " in again and sdp.names_all_candidates(again)
        await one.close()


async def test_silent_servers_cost_nothing_and_are_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "SERVER_TIMEOUT_S", 1.0)
    found = Found()
    async with stun_server() as (server, address):
        one = link(found, f"stun:{address}", f"turn:{address}")
        assert not sdp.names_all_candidates(await one.offer())
        await server.asked.wait()
        await eventually(lambda: found.lines)
        assert found.lines == [None] and not one.gathering
        await one.close()
        monkeypatch.setattr(module, "SERVER_TIMEOUT_S", 60.0)
        two = link(found, f"turn:{address}")
        await two.offer()
        assert two.gathering
        await two.close()
        assert not two.gathering and found.lines == [None]


async def test_d23_relayed_only_means_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERVER_TIMEOUT_S", 0.2)
    async with stun_server() as (_, address):
        one = link(Found(), f"stun:{address}", f"turn:{address}", relay_only=True)
        assert "a=candidate" not in await one.offer()
        await one.close()


async def test_a_relay_that_comes_late_is_one_more_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.0)
    ready = asyncio.Event()
    relays: list[StunProtocol] = []

    async def relayed(*, protocol_factory: Callable[[], StunProtocol], **_: Any) -> tuple[Candidate, StunProtocol]:
        await ready.wait()
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            protocol_factory, local_addr=("127.0.0.1", 0)
        )
        host, port = transport.get_extra_info("sockname")
        protocol.local_candidate = Candidate("r", 1, "udp", 1, host, port, "relay", "0.0.0.0", 9)
        relays.append(protocol)
        return protocol.local_candidate, protocol

    monkeypatch.setattr(module, "relayed_candidate", relayed)
    found = Found()
    one, other = link(found, "turn:127.0.0.1:9"), link(Found())
    offer = await one.offer()
    ready.set()
    await eventually(lambda: None in found.lines)
    assert found.lines[0] is not None and " typ relay " in found.lines[0]
    only_relay = "\r\n".join(line for line in offer.split("\r\n") if not line.startswith("a=candidate"))
    await other.apply_offer(only_relay)
    answer = await other.answer()
    await other.add_candidate(found.lines[0].removeprefix("candidate:"))
    await one.apply_answer(answer)
    await eventually(lambda: one.pc.connectionState == other.pc.connectionState == "connected")
    ice: Any = one._ice()
    for late in (True, False):  # one more after all is settled, one after the end
        pairs = len(ice._connection._check_list)
        if not late:
            await one.close()
        await ice._ask(relayed(protocol_factory=lambda: StunProtocol(ice._connection)))
        assert len(ice._connection._check_list) == pairs
        assert relays[-1].transport.is_closing() is not late
    await other.close()


def udp_sockets() -> int:
    """How many UDP sockets of 127.0.0.0/8 this process has open."""
    mine = {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    rows = [line.split() for line in Path("/proc/self/net/udp").read_text().splitlines()[1:]]
    return sum(f"socket:[{row[9]}]" in mine and row[1].split(":")[0].endswith("7F") for row in rows)


@pytest.mark.parametrize("turns", range(12))
async def test_closing_amid_the_gathering_leaves_no_socket(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
    before = udp_sockets()
    async with stun_server() as (_, address):
        one = link(Found(), f"stun:{address}")
        offering = asyncio.create_task(one.offer())
        for _ in range(turns):
            await asyncio.sleep(0)
        offering.cancel()
        await asyncio.gather(offering, return_exceptions=True)
        await one.close()
    await eventually(lambda: udp_sockets() == before)
