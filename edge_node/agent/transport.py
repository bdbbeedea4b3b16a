"""What a realtime speech service is to an agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol

from edge_node.errors import UsageError

if TYPE_CHECKING:
    from edge_node.agent.tools import Tool

GROUP = "edge_node.realtime_transports"
"""The entry point group by which a package brings a transport: a class, or a function that makes one."""
_OURS = {
    "loopback": "edge_node.agent.loopback:LoopbackTransport",
    "realtime-events": "edge_node.agent.realtime_events:RealtimeEventsTransport",
}


@dataclass(frozen=True, slots=True)
class AudioOutputDelta:
    """The next piece of what the agent says: 16-bit mono PCM, little endian."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TurnComplete:
    """The agent has said all of its answer."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A person began to speak: time to fall silent."""


@dataclass(frozen=True, slots=True)
class Error:
    """What went wrong; after a `fatal` one the session is over."""

    message: str
    code: str | None = None
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool called; `arguments` is the text of a JSON object, unchecked."""

    id: str
    name: str
    arguments: str


AgentEvent = AudioOutputDelta | TurnComplete | SpeechStarted | Error
TransportEvent = AgentEvent | ToolCall


@dataclass(frozen=True, slots=True)
class Session:
    """What the service is told when the session begins; `voice` is a name that it knows, None its own choice."""

    system: str
    tools: tuple[Tool, ...] = ()
    voice: str | None = None


class RealtimeTransport(Protocol):
    """One session with a service: sound both ways, tools, interruptions.

    All sound is 16-bit mono PCM, little endian, whole samples. Methods are called on one event loop, connect() once and
    first; whoever calls sets the deadlines. What ends the session is raised, as RealtimeAgentError; a transport never
    connects again by itself.
    """

    @property
    def input_rate(self) -> int:
        """Samples per second that send_audio() wants."""
        ...

    @property
    def output_rate(self) -> int:
        """Samples per second of AudioOutputDelta."""
        ...

    async def connect(self, session: Session) -> None:
        """Opens the session. Raises RealtimeAgentError."""
        ...

    async def send_audio(self, pcm: bytes) -> None:
        """The next sound from the microphone, of any length. Raises RealtimeAgentError."""
        ...

    async def send_tool_result(self, call_id: str, text: str) -> None:
        """Answers a ToolCall, once; for one that cancel() has ended nothing happens. Raises RealtimeAgentError."""
        ...

    async def cancel(self) -> None:
        """Ends what is being generated, its tool calls included; nothing when nothing is. Raises RealtimeAgentError.

        Once it has returned, receive() gives neither sound nor TurnComplete nor ToolCall of what was ended.
        """
        ...

    def receive(self) -> AsyncIterator[TransportEvent]:
        """What comes, until close(); iterated once. Raises RealtimeAgentError when the session is lost.

        An Error that it gives is one after which the session goes on.
        """
        ...

    async def close(self) -> None:
        """Ends the session and receive(). Idempotent, also without connect()."""
        ...


def transport_named(name: str) -> Callable[..., Any]:
    """What makes the transport of this name: `transport_named("loopback")(…)`.

    Raises UsageError, which lists those that are installed, for another name, and for one that cannot be loaded.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    found |= {ours: EntryPoint(ours, where, GROUP) for ours, where in _OURS.items()}
    if name not in found:
        raise UsageError(
            f"there is no realtime transport {name!r}, only {', '.join(sorted(found))}: "
            f"install a package that brings it (entry point group {GROUP})"
        )
    try:
        factory: Callable[..., Any] = found[name].load()
    except Exception as err:  # somebody else's module
        raise UsageError(f"the realtime transport {name!r} cannot be loaded ({err}): repair its package") from err
    return factory
