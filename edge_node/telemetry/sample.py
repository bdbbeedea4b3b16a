"""The telemetry sample, as published on the telemetry channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from typing import Any, TypeVar, get_type_hints

TYPE = "telemetry"
VERSION = 1
MAX_PEERS = 64
"""More peers than this are left out: a message stays far below the server's 64 KiB."""
MAX_TEXT_CHARS = 200
MAX_WORDS = 32
_LIMIT = 1 << 53  # RFC 8259 section 6: larger integers do not travel unharmed
DEFAULT_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Host:
    """The machine; percentages 0 to 100, `throttled` names what the firmware holds back."""

    cpu_percent: float | None = None
    load_1m: float | None = None
    memory_used_percent: float | None = None
    disk_used_percent: float | None = None
    soc_temp_c: float | None = None
    throttled: tuple[str, ...] | None = None
    wifi_rssi_dbm: float | None = None
    clock_synced: bool | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """The signalling channel; `peers` without the node itself."""

    state: str | None = None
    peers: int | None = None
    reconnects: int | None = None


@dataclass(frozen=True, slots=True)
class Video:
    """What goes out; counters since the start; `warning` what to change at the camera, as a sentence."""

    state: str | None = None
    source: str | None = None
    encoder: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    kbps: float | None = None
    viewers: int | None = None
    keyframes: int | None = None
    dropped_frames: int | None = None
    limited_by: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound both ways; `xruns` since the start, `echo_cancel` what keeps the echo away now, `device_ms` its buffers."""

    state: str | None = None
    xruns: int | None = None
    playout_ms: float | None = None
    echo_cancel: str | None = None
    echo_return_loss_db: float | None = None
    mic_level_dbfs: float | None = None
    speaker_level_dbfs: float | None = None
    device_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """The call's state, its id while there is one."""

    state: str | None = None
    call: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One WebRTC connection."""

    id: str | None = None
    rtt_ms: float | None = None
    loss_percent: float | None = None
    jitter_ms: float | None = None
    kbps: float | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """The daemon; `restarts` of its parts since the start; `update` what became of the last one, told once."""

    version: str | None = None
    rss_mb: float | None = None
    restarts: int | None = None
    degraded: tuple[str, ...] | None = None
    update: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of everything; `at` in unix seconds, None for whatever this machine cannot know.

    `interval_s` says when to expect the next one; `late` marks a sample that waited for the network.
    """

    node: str
    at: float
    seq: int
    uptime_s: float
    interval_s: float = DEFAULT_INTERVAL_S
    host: Host = field(default_factory=Host)
    channel: Channel = field(default_factory=Channel)
    video: Video = field(default_factory=Video)
    audio: Audio = field(default_factory=Audio)
    call: Call = field(default_factory=Call)
    peers: tuple[Peer, ...] = ()
    service: Service = field(default_factory=Service)
    late: bool = False


@dataclass(frozen=True, slots=True)
class NoSample:
    """What could not be read as a sample, with the reason."""

    reason: str


_SECTIONS: dict[str, type[Any]] = {
    "host": Host,
    "channel": Channel,
    "video": Video,
    "audio": Audio,
    "call": Call,
    "service": Service,
}
_KINDS = {
    section: {name: str(hint).removesuffix(" | None") for name, hint in get_type_hints(section).items()}
    for section in (*_SECTIONS.values(), Peer)
}
Part = TypeVar("Part")


def build(
    *,
    node: str,
    at: float,
    seq: int,
    uptime_s: float,
    interval_s: float = DEFAULT_INTERVAL_S,
    peers: Iterable[Mapping[str, Any]] = (),
    **sections: Mapping[str, Any],
) -> Sample:
    """A sample from parts: `host`, `channel`, `video`, `audio`, `call`, `service`, each a mapping.

    Absent, non-finite and mistyped values become None. Raises ValueError for a name the schema lacks.
    """
    for name, values in sections.items():
        if name not in _SECTIONS:
            raise ValueError(f"a telemetry sample has no part {name!r}")
        if unknown := set(values) - {f.name for f in fields(_SECTIONS[name])}:
            raise ValueError(f"the part {name!r} of a telemetry sample has no field {sorted(unknown)[0]!r}")
    parts = {name: _part(section, sections.get(name, {})) for name, section in _SECTIONS.items()}
    return Sample(
        node=node,
        at=round(at, 3),
        seq=seq,
        uptime_s=round(uptime_s, 1),
        interval_s=interval_s,
        peers=_peers(peers),
        **parts,
    )


def to_message(sample: Sample) -> dict[str, Any]:
    """The JSON object that is published: every key of the contract, null where unknown."""
    message = {"type": TYPE, "v": VERSION, **_plain(asdict(sample))}
    if not sample.late:
        del message["late"]
    return message


def parse(message: Any) -> Sample | NoSample:
    """Reads what came from a channel; never raises, ignores unknown fields."""
    if not isinstance(message, Mapping) or message.get("type") != TYPE:
        return NoSample("this is no telemetry message")
    if message.get("v") != VERSION:
        return NoSample(f"version {str(message.get('v'))[:20]} is unknown, {VERSION} is understood")
    node = _value("str", message.get("node"))
    at, uptime_s = _value("float", message.get("at")), _value("float", message.get("uptime_s"))
    seq = _value("int", message.get("seq"))
    interval_s = _value("float", message.get("interval_s"))
    if not node or at is None or seq is None:
        return NoSample("node, at or seq is missing")
    parts = {name: _part(section, message.get(name)) for name, section in _SECTIONS.items()}
    found = message.get("peers")
    return Sample(
        node=node,
        at=at,
        seq=seq,
        uptime_s=uptime_s or 0.0,
        interval_s=interval_s if interval_s and interval_s > 0 else DEFAULT_INTERVAL_S,
        peers=_peers(found if isinstance(found, list) else ()),
        late=message.get("late") is True,
        **parts,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _peers(found: Iterable[Any]) -> tuple[Peer, ...]:
    peers = (_part(Peer, one) for one in found if isinstance(one, Mapping))
    return tuple(islice((peer for peer in peers if peer.id), MAX_PEERS))


def _part(section: type[Part], values: Any) -> Part:
    given = values if isinstance(values, Mapping) else {}
    return section(**{name: _value(kind, given.get(name)) for name, kind in _KINDS[section].items()})


def _value(kind: str, value: Any) -> Any:
    """The value when it is of that kind, else None: numbers finite, text and lists cut to a bound."""
    match kind, value:
        case ("float", bool()) | ("int", bool()):
            return None
        case "float", int() | float() if -_LIMIT < value < _LIMIT:  # false for NaN as well
            return round(float(value), 3)
        case "int", int() | float() if -_LIMIT < value < _LIMIT:
            return int(value)
        case "bool", bool():
            return value
        case "str", str():
            return value[:MAX_TEXT_CHARS]
        case "tuple[str, ...]", list() | tuple() | set() | frozenset():
            words = sorted(value) if isinstance(value, set | frozenset) else value
            return tuple(word[:MAX_TEXT_CHARS] for word in words if isinstance(word, str))[:MAX_WORDS]
        case _:
            return None
