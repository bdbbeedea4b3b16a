"""A Raspberry Pi as a WebRTC intercom: the public SDK, loaded piece by piece on first use (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_node.version import __version__

if TYPE_CHECKING:
    from edge_node.errors import *  # noqa: F403
    from edge_node.media.audio_source import AudioSource as AudioSource
    from edge_node.media.helpers import from_camera as from_camera
    from edge_node.media.helpers import from_file as from_file
    from edge_node.media.helpers import from_microphone as from_microphone
    from edge_node.media.helpers import from_rtsp as from_rtsp
    from edge_node.media.helpers import screen_share as screen_share
    from edge_node.media.iter_frames import iter_frames as iter_frames
    from edge_node.media.player import MediaSource as MediaSource
    from edge_node.realtime.client import SignallingClient as SignallingClient
    from edge_node.realtime.credential import TokenProviderFn as TokenProviderFn
    from edge_node.realtime.data_channel import DataChannel as DataChannel
    from edge_node.realtime.encoding import EncodePolicy as EncodePolicy
    from edge_node.realtime.events import *  # noqa: F403
    from edge_node.realtime.logger import Logger as Logger
    from edge_node.realtime.logger import NoopLogger as NoopLogger
    from edge_node.realtime.logger import StdlibLogger as StdlibLogger
    from edge_node.realtime.options import ReconnectOptions as ReconnectOptions
    from edge_node.realtime.options import SignallingClientOptions as SignallingClientOptions
    from edge_node.realtime.options import SubscribeOptions as SubscribeOptions
    from edge_node.realtime.peer import MeteredPeer as MeteredPeer
    from edge_node.realtime.remote import RemotePeer as RemotePeer
    from edge_node.realtime.streams import MediaStream as MediaStream
    from edge_node.realtime.streams import StreamMetadata as StreamMetadata

_EVENTS = (
    "Connected ConnectionReset DCClose DCError DCMessage DCOpen Data DataChannelOpened Direct Disconnected Event "
    "FatalError GoingAway IceCandidateError IceServerConfig Joined Left Message MetadataChanged MeteredPeerState "
    "NegotiationError PeerConnectionState PeerJoined PeerLeft Presence PresencePeer ServerError SignallingClientState "
    "StateChange StreamAdded StreamRemoved TokenProviderError Track"
)
_ERRORS = (
    "AckTimeoutError DataChannelOverflowError DisconnectedError MeteredPeerOversizedError "
    "MeteredPeerReplaceTrackError MeteredPeerSendError MeteredPeerStateError MeteredRealtimeError NotConnectedError "
    "ReconcileTimeoutError ReplaceTrackFailure ServerRequestError SignallingConnectError SignallingError"
)
_WHERE = {
    "edge_node.realtime.client": "SignallingClient",
    "edge_node.realtime.peer": "MeteredPeer",
    "edge_node.realtime.remote": "RemotePeer",
    "edge_node.realtime.data_channel": "DataChannel",
    "edge_node.realtime.encoding": "EncodePolicy",
    "edge_node.realtime.streams": "MediaStream StreamMetadata",
    "edge_node.realtime.options": "ReconnectOptions SignallingClientOptions SubscribeOptions",
    "edge_node.realtime.credential": "TokenProviderFn",
    "edge_node.realtime.logger": "Logger NoopLogger StdlibLogger",
    "edge_node.realtime.events": _EVENTS,
    "edge_node.errors": _ERRORS,
    "edge_node.protocol.names": "ErrorCode WsCloseCode",
    "edge_node.media.audio_source": "AudioSource",
    "edge_node.media.helpers": "from_camera from_file from_microphone from_rtsp screen_share",
    "edge_node.media.iter_frames": "iter_frames",
    "edge_node.media.player": "MediaSource",
}
_EXPORTS = {name: module for module, names in _WHERE.items() for name in names.split()}
_MEDIA_STACK = ("aiortc", "aioice", "av", "numpy")

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'edge_node' has no attribute {name!r}")
    try:
        value = getattr(import_module(module), name)
    except ModuleNotFoundError as err:
        if err.name is None or err.name.split(".")[0] not in _MEDIA_STACK:
            raise
        text = f"edge_node.{name} needs {err.name}: install it with pip install 'edge-node[webrtc]'"
        raise ImportError(text, name=err.name) from err
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
