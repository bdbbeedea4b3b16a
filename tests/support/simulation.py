"""`edge-node simulate` as a child process, for journeys through its console."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.process import Child

READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Simulation:
    """The running appliance; `url` is the console's, with its access code."""

    child: Child
    url: str

    @property
    def mark(self) -> int:
        """Where the events that come from now on begin."""
        return len(self.child.events)


@asynccontextmanager
async def simulate(*words: str) -> AsyncIterator[Simulation]:
    """Runs the whole appliance on a free port."""
    async with Child.edge_node("simulate", "--port", "0", "--json", *words) as child:
        ready = await child.event(lambda event: event["event"] == "ready", timeout_s=READY_S)
        yield Simulation(child, ready["console"])
