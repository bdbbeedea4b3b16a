"""What peers say to each other inside `data`: session descriptions, ICE candidates, track metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_node.protocol.frames import Json

RTC_DESCRIPTION = "rtc-description"
RTC_ICE = "rtc-ice"
TRACK_META_KEY = "__meteredTrackMeta"
# Our own control message is the clearing of a track that nobody has: the official SDKs forget what they never knew.
EPOCH_TRACK = "edge-node/epoch"
MAX_CANDIDATE_CHARS = 1000
MAX_ID_CHARS = 256
MAX_ICE_SERVERS = 16
MAX_ICE_URL_CHARS = 512
MAX_ICE_SECRET_CHARS = 1024
# RFC 7064 and 7065, section 3.1: no user and no password; one address that cannot be read stops a whole connection.
_ICE_URL = re.compile(r"(stuns?|turns?):([^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?(\?transport=\w+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Description:
    """One side of the offer/answer exchange."""

    type: Literal["offer", "answer"]
    sdp: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One trickled ICE candidate; `line` is the candidate attribute without `a=`."""

    line: str
    mid: str | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class EndOfCandidates:
    """The sender knows of no more candidates."""


@dataclass(frozen=True, slots=True)
class TrackMeta:
    """Metadata for a track of the sender's; None clears it."""

    track_id: str
    metadata: Mapping[str, Json] | None = None
    stream_id: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """Which beginning of its sender's end of the pair this is; `of`: the one it knows of the receiver's."""

    epoch: str
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A signal that is dropped: neither acted upon nor shown to the user."""

    reason: str


Payload = Description | Candidate | EndOfCandidates | TrackMeta | Hello | Unusable


@dataclass(frozen=True, slots=True)
class IceServerConfig:
    """One STUN or TURN server, as in RTCIceServer."""

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None

    def __repr__(self) -> str:
        return f"IceServerConfig(urls={self.urls!r}, username=<hidden>, credential=<hidden>)"


def read(data: Json) -> Payload | None:
    """The signal in `data`, or None when it is the user's own data. Total."""
    if not isinstance(data, dict):
        return None
    kind = data.get("type")
    if kind == RTC_DESCRIPTION:
        return _description(data.get("description"))
    if kind == RTC_ICE and "candidate" in data:
        return _candidate(data["candidate"])
    return _about_track(data.get(TRACK_META_KEY))


def _description(value: Any) -> Description | None:
    if not isinstance(value, dict):
        return None
    kind, sdp = value.get("type"), value.get("sdp")
    if kind not in ("offer", "answer") or not isinstance(sdp, str):
        return None
    return Description(kind, sdp)


def _candidate(value: Any) -> Candidate | EndOfCandidates | Unusable | None:
    if value is None:
        return EndOfCandidates()
    if not isinstance(value, dict):
        return None
    line = value.get("candidate")
    if not isinstance(line, str) or len(line) > MAX_CANDIDATE_CHARS:
        return Unusable("an ICE candidate without text, or too long")
    line = line.removeprefix("a=").removeprefix("candidate:").strip()
    if not line:
        return EndOfCandidates()
    mid, index = value.get("sdpMid"), value.get("sdpMLineIndex")
    mid = mid if isinstance(mid, str) and len(mid) <= MAX_ID_CHARS else None
    index = index if isinstance(index, int) and not isinstance(index, bool) else None
    return Candidate(line, mid, index)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS


def _about_track(value: Any) -> TrackMeta | Hello | None:
    if not isinstance(value, dict):
        return None
    if value.get("trackId") == EPOCH_TRACK and _is_id(value.get("epoch")):
        of = value.get("of")
        return Hello(value["epoch"], of if _is_id(of) else None)
    track_id, stream_id, kind = value.get("trackId"), value.get("streamId"), value.get("kind")
    metadata = value.get("metadata")
    optional_ids = all(v is None or _is_id(v) for v in (stream_id, kind))
    if not isinstance(track_id, str) or not track_id or not optional_ids:
        return None
    if metadata is not None and not isinstance(metadata, dict):
        return None
    return TrackMeta(track_id, metadata, stream_id, kind)


def description(kind: str, sdp: str) -> dict[str, Json]:
    """The payload that carries an offer or an answer."""
    return {"type": RTC_DESCRIPTION, "description": {"type": kind, "sdp": sdp}}


def candidate(line: str, mid: str | None, fragment: str | None) -> dict[str, Json]:
    """The payload that carries one candidate for the section `mid`, found after the description went out."""
    index = 0 if mid is None else None
    body: dict[str, Json] = {"candidate": line, "sdpMid": mid, "sdpMLineIndex": index, "usernameFragment": fragment}
    return {"type": RTC_ICE, "candidate": body}


def end_of_candidates() -> dict[str, Json]:
    """The payload after the last candidate."""
    return {"type": RTC_ICE, "candidate": None}


def track_meta(meta: TrackMeta) -> dict[str, Json]:
    """The payload that sets or clears a track's metadata; a clear has no `metadata` key (the JS SDK wants that)."""
    body: dict[str, Json] = {"trackId": meta.track_id}
    if meta.metadata is not None:
        body["metadata"] = dict(meta.metadata)
        body |= {k: v for k, v in (("streamId", meta.stream_id), ("kind", meta.kind)) if v}
    return {TRACK_META_KEY: body}


def hello(said: Hello) -> dict[str, Json]:
    """The payload that carries an epoch; without a `metadata` key, as a clear."""
    body: dict[str, Json] = {"trackId": EPOCH_TRACK, "epoch": said.epoch}
    return {TRACK_META_KEY: body if said.of is None else body | {"of": said.of}}


def ice_servers(metadata: Mapping[str, Json] | None) -> tuple[list[IceServerConfig] | None, list[str]]:
    """The ICE servers of `welcome.metadata` (None: it names none), and one reason for each entry left out."""
    raw = (metadata or {}).get("iceServers")
    if not isinstance(raw, list):
        return None, []
    servers: list[IceServerConfig] = []
    problems = [f"{len(raw) - MAX_ICE_SERVERS} ICE servers too many"] if len(raw) > MAX_ICE_SERVERS else []
    for number, entry in enumerate(raw[:MAX_ICE_SERVERS]):
        server = _ice_server(entry)
        if server is None:
            problems.append(f"ICE server {number} is malformed")
        else:
            servers.append(server)
    return servers, problems


def _ice_server(entry: Any) -> IceServerConfig | None:
    if not isinstance(entry, dict):
        return None
    urls = entry.get("urls")
    each = [urls] if isinstance(urls, str) else urls
    if not isinstance(each, list) or not each or not all(_is_ice_url(u) for u in each):
        return None
    secrets = [entry.get("username"), entry.get("credential")]
    if any(isinstance(s, str) and len(s) > MAX_ICE_SECRET_CHARS for s in secrets):
        return None
    username, credential = (s if isinstance(s, str) else None for s in secrets)
    return IceServerConfig(urls if isinstance(urls, str) else list(each), username, credential)


def _is_ice_url(url: Any) -> bool:
    return isinstance(url, str) and len(url) <= MAX_ICE_URL_CHARS and _ICE_URL.fullmatch(url) is not None
