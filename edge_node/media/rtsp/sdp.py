"""Finding the picture and the sound in a session description (RFC 8866, RFC 6184 section 8)."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_node.media.rtsp.messages import plain

MAX_MEDIA = 32
# Static payload types (RFC 3551) that cameras use without an rtpmap line: for the sentence that names what is there.
_STATIC = {
    0: "PCMU",
    3: "GSM",
    8: "PCMA",
    9: "G722",
    14: "MPA",
    26: "JPEG",
    31: "H261",
    32: "MPV",
    33: "MP2T",
    34: "H263",
}

_PICTURES = {"H264": ("H264",), "H265": ("H265", "HEVC"), "JPEG": ("JPEG",)}


@dataclass(frozen=True, slots=True)
class Media:
    """One m= section: payload types in order of preference, with their rtpmap and fmtp lines."""

    kind: str
    payload_types: tuple[int, ...]
    rtpmap: Mapping[int, str] = field(default_factory=dict)
    fmtp: Mapping[int, str] = field(default_factory=dict)
    control: str = ""

    def codec(self, payload_type: int) -> str:
        """The encoding name, such as `H264`, or the bare number."""
        return self.rtpmap.get(payload_type, "").partition("/")[0] or _STATIC.get(payload_type, f"type {payload_type}")


@dataclass(frozen=True, slots=True)
class Description:
    """What a server offers."""

    control: str
    media: tuple[Media, ...]


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The picture to set up; `others` names what else is offered, such as `audio PCMA`.

    `codec`: H264, or H265 or JPEG where there is no H264.
    """

    payload_type: int
    control: str
    parameter_sets: tuple[bytes, ...]
    others: tuple[str, ...]
    codec: str = "H264"


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """The sound to set up. `codec`: opus, PCMU, PCMA or MPEG4-GENERIC, the last with its `config` (ISO 14496-3)."""

    payload_type: int
    control: str
    codec: str
    rate_hz: int
    channels: int
    config: bytes = b""


@dataclass(frozen=True, slots=True)
class NoVideo:
    """There is no picture that can be shown; one sentence that says why and what to do."""

    reason: str


def parse_sdp(text: str) -> Description:
    """Reads what we need and skips the rest; total. At most MAX_MEDIA sections are looked at."""
    session, *sections = re.split(r"(?m)^m=", text.replace("\r\n", "\n"))
    media = [found for section in sections[:MAX_MEDIA] if (found := _media(section)) is not None]
    return Description(_attributes(session, "control").get("", ""), tuple(media))


def _media(section: str) -> Media | None:
    words = section.partition("\n")[0].split()
    if len(words) < 4:
        return None
    types = tuple(int(word) for word in words[3:] if re.fullmatch("[0-9]{1,3}", word) and int(word) < 128)
    return Media(
        kind=words[0].lower(),
        payload_types=types,
        rtpmap=_by_type(_attributes(section, "rtpmap")),
        fmtp=_by_type(_attributes(section, "fmtp")),
        control=_attributes(section, "control").get("", ""),
    )


def _attributes(section: str, name: str) -> dict[str, str]:
    """Values of `a=name:` lines, by payload type where one leads the value and by "" otherwise; the first wins."""
    found: dict[str, str] = {}
    for value in re.findall(rf"(?m)^a={name}:[ \t]*(.*)$", section):
        key, _, rest = value.partition(" ") if name != "control" else ("", "", value)
        found.setdefault(key, rest.strip())
    return found


def _by_type(values: Mapping[str, str]) -> dict[int, str]:
    return {int(key): value for key, value in values.items() if re.fullmatch("[0-9]{1,3}", key)}


def choose_video(description: Description) -> VideoTrack | NoVideo:
    """The first H.264 track, else the first that can be decoded here, or the reason why there is none."""
    named = [(m, pt) for m in description.media for pt in m.payload_types]
    for codec, names in _PICTURES.items():
        for media, payload_type in named:
            if media.kind == "video" and media.codec(payload_type).upper() in names:
                others = tuple(_name(m, p) for m, p in named if (m, p) != (media, payload_type))
                return _track(codec, media, payload_type, others)
    if not named:
        return NoVideo("its description names no stream: check the path in video.url")
    offered = ", ".join(_name(m, p) for m, p in named[:8])
    return NoVideo(
        f"it sends neither H.264 nor H.265 nor JPEG ({offered}): set its codec to H.264, or check the path in video.url"
    )


def _name(media: Media, payload_type: int) -> str:
    return plain(f"{media.kind} {media.codec(payload_type)}", 40)


def _track(codec: str, media: Media, payload_type: int, others: tuple[str, ...]) -> VideoTrack | NoVideo:
    rate = media.rtpmap.get(payload_type, "JPEG/90000").split("/")[1:2]  # only JPEG has a number of its own
    if rate != ["90000"]:  # RFC 6184 section 8.2.1 and RFC 7798 section 7.1 allow no other
        return NoVideo("its pictures do not use the 90 kHz clock: update the camera's firmware")
    parameters = _parameters(media, payload_type)
    if parameters.get("packetization-mode") == "2":
        return NoVideo("its H.264 is interleaved (packetization-mode 2): set it to a non-interleaved mode")
    if parameters.get("sprop-max-don-diff", "0") != "0":
        return NoVideo("its H.265 is interleaved (sprop-max-don-diff): set its codec to H.264")
    sets = ("sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps")
    return VideoTrack(
        payload_type=payload_type,
        control=media.control,
        parameter_sets=tuple(found for name in sets for found in _parameter_sets(parameters.get(name, ""))),
        others=others,
        codec=codec,
    )


def _parameters(media: Media, payload_type: int) -> dict[str, str]:
    """Of the fmtp line; names in lower case."""
    pairs = (part.partition("=") for part in media.fmtp.get(payload_type, "").split(";"))
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def choose_audio(description: Description) -> AudioTrack | None:
    """The first sound that can become Opus; None when there is none."""
    for media in description.media:
        for payload_type in media.payload_types if media.kind == "audio" else ():
            if (track := _sound(media, payload_type)) is not None:
                return track
    return None


def _sound(media: Media, payload_type: int) -> AudioTrack | None:
    codec = media.codec(payload_type).upper()
    words = media.rtpmap.get(payload_type, "").split("/")[1:]
    rate_hz, channels = ([int(w) if re.fullmatch("[0-9]{1,6}", w) else 0 for w in words] + [8000, 1][len(words) :])[:2]
    config = b""
    if codec == "MPEG4-GENERIC":  # RFC 3640: the mode that cameras use
        parameters = _parameters(media, payload_type)
        sizes = (parameters.get("sizelength"), parameters.get("indexlength", "3"))
        if parameters.get("mode", "").lower() != "aac-hbr" or sizes != ("13", "3"):
            return None
        if not re.fullmatch("(?:[0-9a-fA-F]{2}){2,32}", parameters.get("config", "")):
            return None
        config = bytes.fromhex(parameters["config"])
    elif codec not in ("OPUS", "PCMU", "PCMA"):
        return None
    if not 8000 <= rate_hz <= 96_000 or not 1 <= channels <= 8:
        return None
    return AudioTrack(payload_type, media.control, codec, rate_hz, channels, config)


def _parameter_sets(text: str) -> tuple[bytes, ...]:
    sets = []
    for part in text.split(",")[:16]:
        try:
            sets.append(b64decode(part.strip() + "=" * (-len(part.strip()) % 4), validate=True))
        except ValueError:  # a camera's slip: the sets come in the stream as well
            continue
    return tuple(found for found in sets if found)


def resolve_control(base: str, control: str) -> str:
    """The URL of a control attribute (RFC 2326 section C.1.1), joined as cameras expect it: by a slash, not by path."""
    if control in ("", "*"):
        return base
    if re.match("(?i)rtsps?://", control):
        return control
    return f"{base.removesuffix('/')}/{control.removeprefix('/')}"
