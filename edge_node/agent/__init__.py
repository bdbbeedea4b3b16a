"""A voice in a call that a realtime speech service speaks with; its public names are loaded on first use (PEP 562).

A door station that talks, and falls silent when somebody breaks in:

    async with DuplexAudio(24_000, echo_cancel="auto") as audio:
        agent = RealtimeAgent(
            "You greet visitors.", transport, tools=[opening_hours],
            input_audio_format="audio/pcm;rate=24000", output_audio_format="audio/pcm;rate=24000",
        )
        async with agent, asyncio.TaskGroup() as both:
            both.create_task(play(agent, audio.speaker))
            async for chunk in audio.mic_chunks():
                await agent.send(chunk)

Whoever stands before the microphone steers the model: an agent never opens a door by itself, a person does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_node.agent.agent import RealtimeAgent as RealtimeAgent
    from edge_node.agent.agent import play as play
    from edge_node.agent.loopback import LoopbackTransport as LoopbackTransport
    from edge_node.agent.realtime_events import RealtimeEventsTransport as RealtimeEventsTransport
    from edge_node.agent.tools import Tool as Tool
    from edge_node.agent.transport import AudioOutputDelta as AudioOutputDelta
    from edge_node.agent.transport import Error as Error
    from edge_node.agent.transport import RealtimeTransport as RealtimeTransport
    from edge_node.agent.transport import Session as Session
    from edge_node.agent.transport import SpeechStarted as SpeechStarted
    from edge_node.agent.transport import ToolCall as ToolCall
    from edge_node.agent.transport import TurnComplete as TurnComplete
    from edge_node.agent.transport import transport_named as transport_named
    from edge_node.errors import RealtimeAgentError as RealtimeAgentError

_WHERE = {
    "edge_node.agent.agent": "RealtimeAgent play",
    "edge_node.agent.loopback": "LoopbackTransport",
    "edge_node.agent.realtime_events": "RealtimeEventsTransport",
    "edge_node.agent.tools": "Tool",
    "edge_node.agent.transport": (
        "AudioOutputDelta Error RealtimeTransport Session SpeechStarted ToolCall TurnComplete transport_named"
    ),
    "edge_node.errors": "RealtimeAgentError",
}
_EXPORTS = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = [*_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'edge_node.agent' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
