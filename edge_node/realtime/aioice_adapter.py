"""The ICE of one peer connection, with the parts of aioice that have no public handle (tests/contract pins them)."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from aioice.candidate import Candidate
from aioice.ice import StunProtocol, relayed_candidate, server_reflexive_candidate
from aioice.stun import TransactionError
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.sdp import candidate_from_sdp

from edge_node.protocol import sdp as text

log = logging.getLogger(__name__)

# A description waits this long for what STUN and TURN servers find; aioice waits 5 s for each silent one.
FIRST_WAIT_S = 0.1
# Without any address of its own, with relayed ones only, there is more to lose by not waiting.
RELAY_ONLY_WAIT_S = 1.0
# What comes later is trickled (RFC 8838), up to this long.
SERVER_TIMEOUT_S = 5.0
# Looks like an RTP packet of nobody (RFC 3550 section 5.1): dropped by every receiver.
GREETING = b"\x80" + bytes(11)

Found = tuple[Candidate, StunProtocol | None]


class IceLink:
    """Gathers this machine's addresses at once and what servers know of it when it comes.

    `on_found(line)` hears of each candidate found after the description was made, and None after the last one.
    """

    def __init__(self, transport: RTCIceTransport, relay_only: bool, on_found: Callable[[str | None], None]) -> None:
        self.transport = transport
        self._connection: Any = transport.iceGatherer._connection
        self._relay_only = relay_only
        self._on_found = on_found
        self._hosting: asyncio.Future[list[Candidate]] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._early: list[Candidate] | None = []
        self._greeting_sent: asyncio.Future[None] | None = None
        self._stock_gather = self._connection.get_component_candidates
        self._connection.get_component_candidates = self._gather  # type: ignore[method-assign]
        transport.on("statechange", self._greet)

    @property
    def gathering(self) -> bool:
        """More candidates may come."""
        return bool(self._asking)

    # Candidates

    async def _gather(self, component: int, addresses: list[str], timeout: float = SERVER_TIMEOUT_S) -> list[Candidate]:
        """What the description starts with."""
        stun, turn = self._connection.stun_server, self._connection.turn_server
        # Cut short, aioice would forget the sockets it has opened so far.
        self._hosting = asyncio.ensure_future(self._hosts(component, addresses))
        candidates = await asyncio.shield(self._hosting)
        for asking in self._questions(component, stun, turn):
            task = asyncio.get_running_loop().create_task(self._ask(asking), name="ice-server")
            self._asking.add(task)
            task.add_done_callback(self._asked)
        if self._asking:
            await asyncio.wait(self._asking, timeout=FIRST_WAIT_S if candidates else RELAY_ONLY_WAIT_S)
        early, self._early = self._early or [], None
        return candidates + early

    async def _hosts(self, component: int, addresses: list[str]) -> list[Candidate]:
        """The addresses of this machine, without asking any server."""
        ice = self._connection
        stun, turn = ice.stun_server, ice.turn_server
        ice.stun_server = ice.turn_server = None
        # A machine without a network still has itself to talk to.
        alone = [] if self._relay_only else ["127.0.0.1"]
        try:
            candidates: list[Candidate] = await self._stock_gather(component, addresses or alone)
        finally:
            ice.stun_server, ice.turn_server = stun, turn
        return candidates

    def _questions(self, component: int, stun: Any, turn: Any) -> list[Coroutine[Any, Any, Found]]:
        ice = self._connection
        questions: list[Coroutine[Any, Any, Found]] = []
        if stun:
            hosts = [p for p in ice._protocols if ipaddress.ip_address(p.local_candidate.host).version == 4]
            questions += [server_reflexive_candidate(host, stun) for host in hosts]
        if turn:
            questions.append(
                relayed_candidate(
                    component=component,
                    hide_related_address=self._relay_only,
                    protocol_factory=partial(StunProtocol, ice),
                    turn_server=turn,
                    turn_username=ice.turn_username,
                    turn_password=ice.turn_password,
                    turn_ssl=ice.turn_ssl,
                    turn_transport=ice.turn_transport,
                )
            )
        return questions

    async def _ask(self, question: Coroutine[Any, Any, Found]) -> None:
        try:
            async with asyncio.timeout(SERVER_TIMEOUT_S):
                candidate, relay = await question
        except Exception as err:
            log.info("an ICE server was of no use: %r", err)
            return
        if relay is not None and self._connection._closing:
            await relay.close()
            return
        if relay is not None:
            self._add_path(relay)
        if self._early is not None:
            self._early.append(candidate)
        else:
            self._connection._local_candidates.append(candidate)
            self._on_found(f"candidate:{candidate.to_sdp()}")

    def _add_path(self, relay: StunProtocol) -> None:
        """Paths over the relay are tried as well, unless there is a better one already."""
        ice = self._connection
        ice._protocols.append(relay)
        if not ice._check_list_done:
            for remote in ice._remote_candidates:
                ice._pair_remote_candidate(remote)
            ice.sort_check_list()

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        if not self._asking and self._early is None and not task.cancelled():
            self._on_found(None)

    async def add_candidate(self, line: str) -> None:
        """Adds a trickled candidate (the attribute's value). Raises ValueError when it cannot be read."""
        if text.is_mdns(line):
            return
        try:
            candidate = candidate_from_sdp(line)
        except (AssertionError, ValueError, IndexError):
            raise ValueError("an ICE candidate that cannot be read") from None
        # Never an end-of-candidates: aioice would give up at once when all candidates had hidden addresses.
        await self.transport.addRemoteCandidate(candidate)

    # The selected path

    def _greet(self) -> None:
        """Sends one meaningless packet over a new path.

        A browser that keeps its side of a connection built anew here goes on sending over the old path, its DTLS
        handshake included (6 s lost), until it gets data, not just checks, over the new one.
        """
        pair = self._connection._nominated.get(1)
        if self.transport.state == "completed" and pair is not None:
            self._greeting_sent = asyncio.ensure_future(pair.protocol.send_data(GREETING, pair.remote_addr))

    async def ping(self, timeout_s: float) -> float | None:
        """Asks the far end of the selected path for a sign of life (RFC 7675): seconds it took, None without one."""
        pair = self._connection._nominated.get(1)
        if pair is None:
            return None
        request = self._connection.build_request(pair, nominate=False)
        key = self._connection.remote_password.encode()
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=2)
        except (TransactionError, TimeoutError, OSError):
            return None
        return time.monotonic() - began

    async def close(self) -> None:
        """Asks no server any more; afterwards aioice knows each socket that is to be closed."""
        if self._hosting is not None:
            await asyncio.wait([self._hosting])
        asking = list(self._asking)
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)
