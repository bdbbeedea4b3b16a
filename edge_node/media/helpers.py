"""Sources of sound or pictures for programs that use the SDK."""

from __future__ import annotations

import os
import sys

from edge_node.media.microphone import CardMicrophone
from edge_node.media.player import Feeding, MediaSource, PlayClock, PlayerTrack
from edge_node.media.player_input import BOTH, MediaInput, capture, media_file, network_stream
from edge_node.media.player_reader import CardReader, FileReader, LiveReader, Reader


def from_file(file: str | os.PathLike[str], *, loop: bool = False) -> MediaSource:
    """A film or a sound on disk, or behind an http(s) address; with `loop` it starts again at its end.

    It is played at its own pace while it is read, and waits meanwhile. A file is looked into at once, which takes
    milliseconds; on a slow disk call this by asyncio.to_thread(). Raises FileNotFoundError, PermissionError, another
    OSError, or ValueError when there is nothing to play in it.
    """
    source = media_file(os.fspath(file))
    clock = PlayClock()
    parts = [(FileReader(source, kind, loop), PlayerTrack(kind, clock)) for kind in source.kinds or BOTH]
    return MediaSource(source.label, [Feeding(source.label, reader, [track], clock) for reader, track in parts])


def from_rtsp(url: str, *, transport: str = "tcp") -> MediaSource:
    """A camera in the network: rtsp://, rtsps://, or MJPEG and the like by http(s)://.

    `transport` of RTSP: tcp, udp, udp_multicast or http. Whether there is sound is known once it was reached, see
    MediaSource.opened(). Raises ValueError for another transport or no address.
    """
    return _live(network_stream(url, transport))


def from_camera(device: str | None = None, *, width: int = 640, height: int = 480, fps: int = 30) -> MediaSource:
    """A camera of this machine, the first one without a name; sizes in px. Raises RuntimeError on an unknown system."""
    return _live(capture("camera", device, sys.platform, width=width, height=height, fps=fps))


def from_microphone(device: str | None = None) -> MediaSource:
    """A microphone of this machine, the system's default without a name. Raises RuntimeError on an unknown system."""
    source = capture("microphone", device, sys.platform, width=0, height=0, fps=0)
    if source.format == "alsa":
        return _live(source, CardReader(CardMicrophone(source.file)))
    return _live(source)


def screen_share(device: str | None = None, *, width: int = 0, height: int = 0, fps: int = 30) -> MediaSource:
    """The screen of this machine (X11, macOS or Windows), all of it without a size in px.

    Raises RuntimeError on an unknown system.
    """
    return _live(capture("screen", device, sys.platform, width=width, height=height, fps=fps))


def _live(source: MediaInput, reader: Reader | None = None) -> MediaSource:
    tracks = [PlayerTrack(kind, None) for kind in source.kinds or BOTH]
    return MediaSource(source.label, [Feeding(source.label, reader or LiveReader(source), tracks, None)])
