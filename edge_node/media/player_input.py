"""What FFmpeg is told to open, for each kind of source."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import av
from av.stream import Disposition

from edge_node.errors import DeviceMissing, LoginRefused, SettingsError, SourceLost
from edge_node.protocol.rtsp_address import parse_address

if TYPE_CHECKING:
    from av.container.input import InputContainer

Kind = Literal["audio", "video"]
Device = Literal["camera", "microphone", "screen"]
BOTH: tuple[Kind, ...] = ("audio", "video")
RTSP_TRANSPORTS = ("tcp", "udp", "udp_multicast", "http")
OPEN_S = 5.0
READ_S = 0.4
"""A reader that waits for the network looks up this often: stop() takes no longer."""
# FFmpeg waits 5 s for the first packet of every track that is announced, also of one that never speaks.
ANALYSE_US = 1_500_000


@dataclass(frozen=True, slots=True)
class MediaInput:
    """FFmpeg's `file`, `format`, `options`; `label` is what may be printed."""

    file: str = field(repr=False)
    label: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[Kind, ...] | None = None
    """What is inside; None as long as nobody has looked."""
    live: bool = True

    def tries(self) -> list[dict[str, str]]:
        """Options to open it with, the best first."""
        options = dict(self.options)
        if self.format != "v4l2":
            return [options]
        # USB 2 carries raw 720p at 10 pictures a second only, so MJPEG first; whatever the camera likes at last.
        return [{**options, "input_format": "mjpeg"}, options, {}]


OpenInput = Callable[[MediaInput, dict[str, str]], "InputContainer"]
"""open(input, options)."""


def capture(kind: Device, device: str | None, platform: str, *, width: int, height: int, fps: int) -> MediaInput:
    """A camera, microphone or screen of this machine; `platform` as in sys.platform.

    A size or rate of 0 is left to the device. Raises RuntimeError for a platform without capture.
    """
    options: dict[str, str] = {}
    if kind != "microphone":
        if width and height:
            options["video_size"] = f"{width}x{height}"
        if fps:
            options["framerate"] = str(fps)
    known = next((place for start, place in _PLACES.items() if platform.startswith(start)), None)
    if known is None:
        raise RuntimeError(f"there is no capture of a {kind} on {platform}: use from_file(), from_rtsp() or your track")
    ffmpeg_format, default, prefix = known[kind]
    file = default if device is None or ffmpeg_format == "gdigrab" else prefix + device
    kinds: tuple[Kind, ...] = ("audio",) if kind == "microphone" else ("video",)
    return MediaInput(file, f"{kind} {file}", ffmpeg_format, options, kinds)


_PLACES: Mapping[str, Mapping[Device, tuple[str, str, str]]] = {
    # FFmpeg's format, the file when no device is named, what comes before a name
    "linux": {
        "camera": ("v4l2", "/dev/video0", ""),
        "microphone": ("alsa", "default", ""),
        "screen": ("x11grab", ":0.0", ""),
    },
    "darwin": {
        "camera": ("avfoundation", "default:none", ""),
        "microphone": ("avfoundation", ":default", ""),
        "screen": ("avfoundation", "Capture screen 0:none", ""),
    },
    "win": {
        "camera": ("dshow", "video=Integrated Camera", "video="),
        "microphone": ("dshow", "audio=Microphone", "audio="),
        "screen": ("gdigrab", "desktop", ""),
    },
}


def network_stream(url: str, transport: str) -> MediaInput:
    """A camera in the network. Raises ValueError for an address or transport that cannot be used."""
    if transport not in RTSP_TRANSPORTS:
        raise ValueError(f"transport is one of {', '.join(RTSP_TRANSPORTS)}, not {transport!r}")
    options = {"analyzeduration": str(ANALYSE_US)}
    if url.lower().startswith(("http://", "https://")):
        parts = urlsplit(url)
        return MediaInput(url, f"{parts.scheme}://{parts.hostname}{parts.path}", options=options)
    try:
        label = str(parse_address(url))
    except SettingsError:
        raise ValueError(
            "this is no address of a stream: write rtsp://user:password@host:554/path, with / ? # @ : "
            "percent-encoded inside the password"
        ) from None
    return MediaInput(url, label, "rtsp", {**options, "rtsp_transport": transport})


def media_file(file: str) -> MediaInput:
    """A film or sound on disk, looked into; or an http(s) address, which is not.

    Raises FileNotFoundError, PermissionError, another OSError, or ValueError when there is nothing to play in it.
    """
    if file.lower().startswith(("http://", "https://")):
        parts = urlsplit(file)
        return MediaInput(file, f"{parts.scheme}://{parts.hostname}{parts.path}", live=False)
    # Without "file:" FFmpeg would take names such as concat:a|b or data:… for more than names.
    source = MediaInput(f"file:{file}", file, live=False)
    try:
        with open_with_ffmpeg(source, {}) as container:
            kinds = kinds_of(container)
    except OSError as err:
        what = {errno.ENOENT: "does not exist", errno.EACCES: "may not be read", errno.EISDIR: "is a folder"}
        why = what.get(err.errno or 0, f"cannot be read ({err.strerror})")
        raise type_of(err)(err.errno, f"{file} {why}: name a film or a sound file") from None
    except (av.FFmpegError, ValueError):
        raise ValueError(f"{file} holds nothing that can be played: name a film or a sound file") from None
    if not kinds:
        raise ValueError(f"{file} holds neither sound nor pictures: name a film or a sound file")
    return MediaInput(source.file, file, kinds=kinds, live=False)


def type_of(err: OSError) -> type[OSError]:
    """The standard library's class for this error."""
    return next((c for c in (FileNotFoundError, PermissionError, IsADirectoryError) if isinstance(err, c)), OSError)


def kinds_of(container: InputContainer) -> tuple[Kind, ...]:
    """What can be decoded in it; the picture on a record's cover is none."""
    found: dict[Kind, Any] = {"audio": container.streams.audio, "video": container.streams.video}
    return tuple(kind for kind in BOTH if any(_plays(stream) for stream in found[kind][:1]))


def _plays(stream: Any) -> bool:
    return stream.codec_context is not None and not stream.disposition & Disposition.attached_pic


def open_with_ffmpeg(source: MediaInput, options: dict[str, str]) -> InputContainer:
    """Blocks, for network streams at most OPEN_S."""
    timeout = (OPEN_S, READ_S) if source.live else None
    return av.open(source.file, format=source.format, options=options, timeout=timeout)


def open_best(source: MediaInput, open_input: OpenInput) -> InputContainer:
    """Opens it with the best options it takes. Raises DeviceMissing, LoginRefused or SourceLost."""
    refused: Exception | None = None
    for options in source.tries():
        try:
            return open_input(source, options)
        except (OSError, av.FFmpegError) as err:
            refused = err
            if getattr(err, "errno", 0) not in (errno.EINVAL, errno.EIO, errno.ENOTTY):
                break
    assert refused is not None
    # FFmpeg's own text names the file, with the password in it.
    raise explain(refused, source) from None


def explain(err: Exception, source: MediaInput) -> DeviceMissing | SourceLost:
    """FFmpeg's error as a sentence."""
    label = source.label
    if isinstance(err, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return LoginRefused(f"{label} refuses the login: check the user name and the password in its address")
    if isinstance(err, av.error.ExitError):
        return SourceLost(f"{label} did not answer within {OPEN_S:g} s: check its address and the network")
    match getattr(err, "errno", None):
        case errno.EBUSY:
            return SourceLost(f"{label} is in use by another program: end that one")
        case errno.EACCES | errno.EPERM:
            return DeviceMissing(f"{label} may not be opened: give this user the right to (on Linux, the group video)")
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return DeviceMissing(f"{label} is not there: plug it in, or name another device")
    why = getattr(err, "strerror", None) or type(err).__name__
    return SourceLost(f"{label} cannot be played ({why}): check the source and what it is connected to")
