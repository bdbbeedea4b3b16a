"""Nobody answers the bell: the voice agent listens and speaks at the door, until a person takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge_node.call.effects import Phase
from edge_node.dsp.pcm import Pcm, silence
from edge_node.dsp.tone import Tone
from edge_node.media.sound_thread import every_block, in_thread
from edge_node.ports import BLOCK_FRAMES
from edge_node.realtime.events import Data, PeerJoined
from tests.support.house import CHANNEL, Machine, machine
from tests.support.hub_client import running_hub
from tests.support.peers import peer_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

VISITOR_HZ = 700.0
DOOR: dict[str, Any] = {
    "node": {"id": "door", "name": "Front door"},
    "agent": {"enabled": True, "transport": "loopback"},
    "audio": {"prompts": {"press": "none", "ringing": "none", "attended": "none"}},
    "call": {"ring_s": 0.5},
    "gpio": {"driver": "mock", "button": [{"name": "bell", "pin": "GPIO17"}]},
}


class Visitor:
    """Speaks for a second, then listens for two."""

    label = "test"

    def __init__(self) -> None:
        self._tone = Tone(VISITOR_HZ, 0.3)
        self._blocks = 0

    async def run(self, sink: Callable[[Pcm], None]) -> None:
        await in_thread("microphone", lambda stop: every_block(stop, lambda: sink(self._block())))

    def _block(self) -> Pcm:
        self._blocks += 1
        return self._tone.block(BLOCK_FRAMES) if self._blocks % 300 < 100 else silence(BLOCK_FRAMES)


def talks(door: Machine) -> bool:
    return door.node.intercom.view.attended and door.phase is Phase.ACTIVE


async def test_nobody_answers_the_bell() -> None:
    async with running_hub() as hub, machine(hub, DOOR, Visitor()) as door:
        resident = peer_of(hub, "resident-anna")
        heard: list[dict[str, Any]] = []
        resident.on(Data, lambda event: heard.append(event.data))
        met: list[str] = []
        resident.on(PeerJoined, lambda event: met.append(event.peer.id))
        await resident.join(CHANNEL)
        await eventually(lambda: met == ["door"])
        try:
            door.world.press("bell")
            await eventually(lambda: talks(door))
            await eventually(lambda: door.speaker.plays(VISITOR_HZ), 30)
            states = [data for data in heard if data["type"] == "call.state"]
            assert [state["state"] for state in states] == ["ringing", "active"]
            assert (states[-1]["by"], states[-1]["agent"]) == ("door", True)

            await resident.send_to("door", {"type": "call.answer", "call": states[-1]["call"]})
            await eventually(lambda: door.node.intercom.view.peer_id == "resident-anna")
            await eventually(lambda: door.speaker.silent)
            assert not talks(door)
            door.node.intercom.action("hangup", "control socket")
            await eventually(lambda: door.phase is Phase.IDLE)
        finally:
            await resident.close()


async def test_a_service_that_cannot_be_reached_ends_the_call() -> None:
    agent = {"enabled": True, "url": "ws://127.0.0.1:9/none", "api_key": "sk-not-a-real-key"}
    async with running_hub() as hub, machine(hub, {**DOOR, "agent": agent}, Visitor()) as door:
        door.world.press("bell")
        await eventually(lambda: door.node.intercom.view.attended)
        await eventually(lambda: door.phase is Phase.IDLE)
        await eventually(lambda: any("could not be talked to" in text for text in door.node.status()["degraded"]))
