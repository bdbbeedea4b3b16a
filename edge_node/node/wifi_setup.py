"""Wi-Fi without a screen: a QR code held to the camera after a long press."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from edge_node.errors import EdgeNodeError
from edge_node.node.supervisor import Report
from edge_node.ports import Clock
from edge_node.protocol.wifi_code import WifiNetwork, parse_wifi

log = logging.getLogger(__name__)

ARMED_S = 60.0
LOOK_EVERY_S = 0.5


class WifiSetup:
    """Looks for ARMED_S after arm(), which does nothing while the node is online: visitors can press buttons, too.

    `look` gives the texts of the codes in the picture of this moment, `join` enters a network; both may raise
    EdgeNodeError.
    """

    def __init__(
        self,
        clock: Clock,
        online: Callable[[], bool],
        look: Callable[[], Awaitable[tuple[str, ...]]],
        join: Callable[[WifiNetwork], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._online = online
        self._look = look
        self._join = join
        self._wanted = asyncio.Event()
        self.armed = False

    def arm(self) -> None:
        """Begins to look, or begins anew."""
        if self._online():
            log.warning("no Wi-Fi code is looked for while the node is online: nobody can move it to another network")
            return
        self._wanted.set()

    async def run(self, report: Report) -> None:
        """Until cancelled."""
        report.up()
        while True:
            await self._wanted.wait()
            self.armed = True
            try:
                await self._search()
            finally:
                self.armed = False

    async def _search(self) -> None:
        log.info("hold the Wi-Fi code to the camera within %g s", ARMED_S)
        until, told = self._clock.monotonic() + ARMED_S, ""
        self._wanted.clear()
        while self._clock.monotonic() < until:
            if self._wanted.is_set():
                return
            problem = await self._once()
            if problem is None:
                return
            if problem and problem != told:
                log.warning("no Wi-Fi yet: %s", problem)
            told = problem or told
            await asyncio.sleep(LOOK_EVERY_S)
        log.info("no Wi-Fi code was seen: hold the button again for another try")

    async def _once(self) -> str | None:
        """None: joined. Otherwise what was wrong, nothing when there simply was no code."""
        try:
            for text in await self._look():
                network = parse_wifi(text)
                if isinstance(network, str):
                    return network
                log.info("joining the network %r", network.ssid)
                await self._join(network)
                log.info("the node is on the network %r", network.ssid)
                return None
        except EdgeNodeError as err:
            return str(err)
        return ""
