"""The other side's trickled candidates, which may come before what they belong to."""

from __future__ import annotations

from collections.abc import Callable

from edge_node.protocol import payloads, sdp
from edge_node.realtime.aiortc_adapter import PeerLink

CANDIDATES_PER_GENERATION = 200


class Candidates:
    """Candidates wait until there is a description to add them to; beyond CANDIDATES_PER_GENERATION they are dropped.

    `on_error(error)` hears of those that cannot be read.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._early: list[payloads.Candidate] = []
        self._count = 0
        self._primary_mid: str | None = None
        # Those that follow an ignored offer count as well: a browser that takes its offer back keeps its transport.
        self.waiting = False

    def described(self, text: str) -> None:
        """A new description of the other side was applied."""
        self._count = 0
        self._primary_mid = sdp.primary_mid(text)

    def forget(self) -> None:
        """The connection they were for is over."""
        self._early = []

    async def take(self, link: PeerLink | None, candidate: payloads.Candidate) -> None:
        """Adds one to the connection, or keeps it."""
        if self._count >= CANDIDATES_PER_GENERATION:
            return
        self._count += 1
        if self.waiting or link is None or link.pc.remoteDescription is None:
            self._early.append(candidate)
        else:
            await self._add(link, candidate)

    async def flush(self, link: PeerLink) -> None:
        """Adds those that were kept."""
        early, self._early = self._early, []
        for candidate in early:
            await self._add(link, candidate)

    async def _add(self, link: PeerLink, candidate: payloads.Candidate) -> None:
        other = candidate.mid is not None and self._primary_mid is not None and candidate.mid != self._primary_mid
        if other or (candidate.mid is None and candidate.index not in (None, 0)):
            return  # of a transport that bundling gave up
        try:
            await link.add_candidate(candidate.line)
        except Exception as err:
            self._on_error(err)
