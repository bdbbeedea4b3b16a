"""Pictures and sound; its public classes are loaded on first use (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_node.media.duplex import DuplexAudio as DuplexAudio
    from edge_node.media.duplex import Microphone as Microphone
    from edge_node.media.duplex import Speaker as Speaker
    from edge_node.media.voice.mixing import MixingCustomAudioStreamTrack as MixingCustomAudioStreamTrack
    from edge_node.media.voice.tee import TeeCustomAudioStreamTrack as TeeCustomAudioStreamTrack
    from edge_node.media.voice.tee import TeeMixingCustomAudioStreamTrack as TeeMixingCustomAudioStreamTrack
    from edge_node.media.voice.track import CustomAudioStreamTrack as CustomAudioStreamTrack

_WHERE = {
    "DuplexAudio": "edge_node.media.duplex",
    "Microphone": "edge_node.media.duplex",
    "Speaker": "edge_node.media.duplex",
    "CustomAudioStreamTrack": "edge_node.media.voice.track",
    "MixingCustomAudioStreamTrack": "edge_node.media.voice.mixing",
    "TeeCustomAudioStreamTrack": "edge_node.media.voice.tee",
    "TeeMixingCustomAudioStreamTrack": "edge_node.media.voice.tee",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'edge_node.media' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
