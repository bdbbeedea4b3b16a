"""Joins the voice agent to a node's sound, call, channel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_node.agent.agent import RealtimeAgent
from edge_node.agent.receptionist import INPUT_FORMAT, OUTPUT_FORMAT, Receptionist
from edge_node.agent.tools import Tool
from edge_node.agent.transport import RealtimeTransport, transport_named
from edge_node.call import messages
from edge_node.call.effects import AGENT, CallView
from edge_node.dsp.pcm import Pcm
from edge_node.errors import SettingsError, UsageError
from edge_node.node.intercom import Intercom
from edge_node.node.supervisor import Part, Report
from edge_node.ports import Clock
from edge_node.protocol.secrets import scrub
from edge_node.settings import Settings

if TYPE_CHECKING:
    from edge_node.media.playback import Playback
    from edge_node.media.voice.track import CustomAudioStreamTrack

log = logging.getLogger(__name__)


def transport(settings: Settings) -> RealtimeTransport:
    """One session with the speech service that the settings name, not yet begun. Raises SettingsError."""
    agent = settings.agent
    try:
        made: RealtimeTransport = transport_named(agent.transport)(**agent.arguments)
    except UsageError as err:
        raise SettingsError(f"agent.transport: {err}") from None
    except (TypeError, ValueError) as err:
        raise SettingsError(
            f"agent.transport {agent.transport!r} does not take these settings: {scrub(str(err))}"
        ) from None
    return made


@dataclass(slots=True)
class _Desk:
    """agent.receptionist.Desk."""

    node_id: str
    clock: Clock
    playback: Playback
    intercom: Intercom
    report: Report | None = None

    def play(self, track: CustomAudioStreamTrack) -> None:
        self.playback.add(AGENT, track)

    def pass_on(self, call: str, text: str) -> None:
        log.info("the voice agent passes on: %r", text, extra={"event": "agent.message", "call_id": call})
        self.intercom.tell(None, messages.agent_message(call, self.node_id, text, self.clock.wall()))

    def done(self, call: str) -> None:
        self.intercom.agent_done(call)

    def able(self, trouble: str | None) -> None:
        if self.report is not None:
            self.report.up() if trouble is None else self.report.down(trouble)


@dataclass(frozen=True, slots=True)
class Reception:
    """`hear` takes the microphone's blocks, from any thread; `part` works while the call machine wants it."""

    part: Part
    hear: Callable[[Pcm], None]
    call_changed: Callable[[CallView], None]


def reception(settings: Settings, clock: Clock, playback: Playback, intercom: Intercom) -> Reception:
    """That which the settings describe; its part is degraded once the service could not be reached."""
    agent, desk = settings.agent, _Desk(settings.node.id, clock, playback, intercom)

    def begin(tools: Iterable[Tool]) -> RealtimeAgent:
        return RealtimeAgent(
            agent.instructions, transport(settings), tools, agent.voice, INPUT_FORMAT, OUTPUT_FORMAT,
            raise_on_error=False,
        )  # fmt: skip

    receptionist = Receptionist(begin, desk)

    async def run(report: Report) -> None:
        desk.report = report
        report.up()
        await receptionist.run()

    return Reception(Part("agent", run), receptionist.hear, receptionist.call_changed)
