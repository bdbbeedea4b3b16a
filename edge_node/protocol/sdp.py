"""What has to be read from, and rewritten in, session descriptions as text (RFC 8866, RFC 9429)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SECTIONS = 64
MAX_ID_CHARS = 256
MAX_UFRAG_CHARS = 256
_ALL_CANDIDATES = "a=end-of-candidates"
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
# Five digits: no number in a description is larger, and int() refuses more than 4,300.
_EXTMAP = re.compile(r"^a=extmap:(\d{1,5})((?:/\S+)?) (\S+)(.*)$")
_RTPMAP = re.compile(r"^a=rtpmap:(\d{1,5}) (\S+)$")
_PER_FORMAT = re.compile(r"^a=(rtpmap|fmtp|rtcp-fb):(\d{1,5}) (.*)$")
_WITHOUT_LEVEL = len("profile-level-id=42e0")
_LEVELS = (32, 40, 41, 42, 50, 51, 52)  # ITU-T H.264 table A-1, above 3.1
_H264 = re.compile(r"(profile-level-id=42(?:00|e0))1f", re.IGNORECASE)
_APT = re.compile(r"\bapt=(\d{1,5})(?!\d)")
# Ids that libwebrtc does not give to something else, whether it describes sound or pictures first (seen in Chromium
# 156). With others it cannot offer media of its own after a glare: "codec collision for header extension id".
_USUAL_EXTENSION_IDS = {
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time": 2,
    "urn:ietf:params:rtp-hdrext:sdes:mid": 9,
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level": 12,
}
# RFC 8285 section 4.2: the ids a one-byte header extension may have.
_EXTENSION_IDS = range(1, 15)
# RFC 3551 section 6 and RFC 5761 section 4: payload types free for dynamic use next to RTCP.
_DYNAMIC_TYPES = (*range(96, 128), *range(35, 64))


@dataclass(frozen=True, slots=True)
class Section:
    """One m-section as its sender describes it; `stream_id` and `track_id` are its msid (RFC 8830)."""

    mid: str
    kind: str
    direction: str
    rejected: bool
    stream_id: str | None
    track_id: str | None

    @property
    def sends(self) -> bool:
        """Its sender sends media here."""
        return not self.rejected and self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        """Its sender takes media here."""
        return not self.rejected and self.direction in ("sendrecv", "recvonly")


def refuses(answer: str, offer: str) -> bool:
    """The answer rejects every section of the offer (RFC 3264 section 6): it needs no transport, nor names one."""
    given, asked = read(answer), read(offer)
    return bool(given) and [s.kind for s in given] == [s.kind for s in asked] and all(s.rejected for s in given)


def split(sdp: str) -> tuple[list[str], list[list[str]]]:
    """The lines of the session part, and those of each m-section."""
    session: list[str] = []
    sections: list[list[str]] = []
    for line in sdp.replace("\r\n", "\n").split("\n"):
        if line.startswith("m="):
            sections.append([line])
        elif line:
            (sections[-1] if sections else session).append(line)
    return session, sections


def join(session: Iterable[str], sections: Iterable[Iterable[str]]) -> str:
    """The text of a description."""
    lines = [*session, *(line for section in sections for line in section)]
    return "\r\n".join(lines) + "\r\n"


def _value(lines: Iterable[str], name: str) -> str | None:
    prefix = f"a={name}:"
    return next((line[len(prefix) :] for line in lines if line.startswith(prefix)), None)


def ufrag(sdp: str) -> str | None:
    """The first ICE user fragment: it changes when the other side starts ICE anew (RFC 8839 section 4.4.1.1.1)."""
    session, sections = split(sdp)
    value = _value([*session, *(line for section in sections for line in section)], "ice-ufrag")
    return value if value is not None and len(value) <= MAX_UFRAG_CHARS else None


def read(sdp: str) -> list[Section]:
    """The m-sections in order; at most MAX_SECTIONS."""
    return [_section(index, lines) for index, lines in enumerate(split(sdp)[1][:MAX_SECTIONS])]


def _section(index: int, lines: Sequence[str]) -> Section:
    words = lines[0][2:].split(" ")
    kind, port = words[0], words[1] if len(words) > 1 else "0"
    direction = next((line[2:] for line in lines if line.startswith("a=") and line[2:] in _DIRECTIONS), "sendrecv")
    rejected = port == "0" and "a=bundle-only" not in lines
    stream_id, track_id = _msid(lines)
    return Section(_value(lines, "mid") or str(index), kind, direction, rejected, stream_id, track_id)


def _msid(lines: Sequence[str]) -> tuple[str | None, str | None]:
    text = _value(lines, "msid")
    if text is None:
        legacy = (line.split(" msid:", 1)[1] for line in lines if line.startswith("a=ssrc:") and " msid:" in line)
        text = next(legacy, "")
    ids = [word if len(word) <= MAX_ID_CHARS and word != "-" else None for word in text.split(" ") if word]
    stream_id, track_id, *_ = [*ids, None, None]
    return stream_id, track_id


def bundle(session: Sequence[str]) -> list[str]:
    """The mids of the BUNDLE group, its own first; empty without one."""
    for line in session:
        if line.startswith("a=group:BUNDLE"):
            return line.split(" ")[1:]
    return []


def primary_mid(sdp: str) -> str | None:
    """The mid whose transport carries the bundle."""
    session, sections = split(sdp)
    mids = bundle(session)
    if mids:
        return mids[0]
    return (_value(sections[0], "mid") or "0") if sections else None


def is_mdns(candidate: str) -> bool:
    """True for a candidate that hides its address behind a .local name (draft-ietf-mmusic-mdns-ice-candidates)."""
    words = candidate.split(" ")
    return len(words) > 4 and words[4].lower().endswith(".local")


def for_one_transport(sdp: str) -> str:
    """A remote description as one shared transport needs it.

    Each bundled section gets the primary's candidates and ICE credentials; .local candidates and the end-of-candidates
    mark go: resolving a name holds everything up for a second, and the checks the other side sends show its address.
    """
    session, sections = split(sdp)
    mids = bundle(session)
    transport: list[str] = []
    for lines in sections:
        if mids and _value(lines, "mid") == mids[0]:
            transport = [line for line in lines if _is_transport(line)]
    out = []
    for lines in sections:
        kept = [line for line in lines if not _is_dropped(line)]
        if transport and _value(lines, "mid") in mids:
            kept = [line for line in kept if not _is_transport(line)]
            kept += [line for line in transport if not _is_dropped(line)]
        out.append(kept)
    return join(session, out)


def _is_transport(line: str) -> bool:
    return line.startswith(("a=candidate:", "a=ice-ufrag:", "a=ice-pwd:"))


def _is_dropped(line: str) -> bool:
    return line == _ALL_CANDIDATES or (line.startswith("a=candidate:") and is_mdns(line))


def more_to_come(sdp: str) -> str:
    """An own description without the mark that it names all candidates (RFC 8838 section 8.2)."""
    session, sections = split(sdp)
    return join(session, [[line for line in lines if line != _ALL_CANDIDATES] for lines in sections])


def names_all_candidates(sdp: str) -> bool:
    """An own description that has that mark."""
    return any(_ALL_CANDIDATES in lines for lines in split(sdp)[1])


def stand_in(sdp: str, mids: Iterable[str] = (), own: str | None = None) -> str:
    """A remote description whose rejected sections, and those named, became inactive ones that aiortc can apply.

    It refuses a whole description over one section that was rejected with port 0 or has no codec in common; with this
    the others live on, or all can be refused in an answer. The formats come from the same section of `own`, the
    description of this side, if there is one.
    """
    session, sections = split(sdp)
    named = set(mids)
    read_all = [_section(index, lines) for index, lines in enumerate(sections)]
    bad = [i for i, s in enumerate(read_all) if (s.rejected or s.mid in named) and s.kind in _STAND_IN]
    described = [i for i in range(len(sections)) if not read_all[i].rejected]
    if not bad or not described:
        return sdp
    healthy = sections[next((i for i in described if i not in bad), described[0])]
    shared = [line for line in healthy if line.startswith(("a=ice-", "a=fingerprint:", "a=setup:"))]
    offered = split(own)[1] if own else []
    for i in bad:
        formats = _STAND_IN[read_all[i].kind]
        if i < len(offered) and offered[i][0].startswith(f"m={read_all[i].kind} "):
            formats = [offered[i][0], *(line for line in offered[i] if _PER_FORMAT.match(line))]
        mline = formats[0].split(" ")
        mline[1] = "9"
        sections[i] = [" ".join(mline), f"a=mid:{read_all[i].mid}", "a=inactive", "a=rtcp-mux", *formats[1:], *shared]
    return join(session, sections)


_STAND_IN = {
    "audio": ["m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=rtpmap:0 PCMU/8000"],
    "video": ["m=video 9 UDP/TLS/RTP/SAVPF 97", "a=rtpmap:97 VP8/90000"],
}


def reject(sdp: str, mids: Iterable[str]) -> str:
    """An own answer that rejects the named sections (RFC 9429 section 5.3.1: port 0, out of the bundle)."""
    named = set(mids)
    if not named:
        return sdp
    session, sections = split(sdp)
    for lines in sections:
        if _value(lines, "mid") in named:
            words = lines[0].split(" ")
            lines[0] = " ".join([words[0], "0", *words[2:]])
    for i, line in enumerate(session):
        if line.startswith("a=group:BUNDLE"):
            session[i] = " ".join(word for word in line.split(" ") if word not in named)
    return join(session, sections)


def pin(offer: str, negotiated: Sequence[str] = ()) -> str:
    """An offer that keeps the header extension ids and payload types of the session's earlier descriptions.

    Browsers refuse a re-offer that gives a number another meaning; aiortc offers from a fixed table. Extensions that
    are new get ids that do not get into a browser's way.
    """
    session, sections = split(offer)
    extensions = _earlier_extensions(negotiated)
    types = _earlier_types(negotiated)
    return join(session, [_pin_types(_pin_extensions(lines, extensions), types) for lines in sections])


def with_level(sdp: str, level_idc: int) -> str:
    """A description whose baseline H.264 names this level instead of 3.1 (RFC 6184 section 8.1), if it is higher."""
    return _H264.sub(rf"\g<1>{level_idc:02x}", sdp) if level_idc in _LEVELS else sdp


def _all_lines(descriptions: Sequence[str]) -> Iterable[tuple[str, str]]:
    for text in descriptions:
        for lines in split(text)[1]:
            kind = lines[0][2:].split(" ")[0]
            yield from ((kind, line) for line in lines)


def _earlier_extensions(descriptions: Sequence[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for _, line in _all_lines(descriptions):
        if (m := _EXTMAP.match(line)) and len(ids) < 256:
            ids.setdefault(m[3], int(m[1]))
    return ids


def _pin_extensions(lines: Sequence[str], ids: dict[str, int]) -> list[str]:
    out = []
    for line in lines:
        m = _EXTMAP.match(line)
        if m is None:
            out.append(line)
            continue
        if m[3] not in ids:
            wanted = _USUAL_EXTENSION_IDS.get(m[3], int(m[1]))
            free = next((i for i in (wanted, *_EXTENSION_IDS) if i not in ids.values()), None)
            if free is None:
                continue  # every id is taken: the extension is left out rather than given twice
            ids[m[3]] = free
        out.append(f"a=extmap:{ids[m[3]]}{m[2]} {m[3]}{m[4]}")
    return out


def _codec_keys(lines: Sequence[tuple[str, str]]) -> dict[int, str]:
    """Payload type → what it means: codec, clock, and what sets it apart (H.264 profile, without level, and mode)."""
    names: dict[int, str] = {}
    detail: dict[int, str] = {}
    for kind, line in lines:
        if m := _RTPMAP.match(line):
            names.setdefault(int(m[1]), f"{kind}/{m[2].lower()}")
        elif (m := _PER_FORMAT.match(line)) and m[1] == "fmtp":
            words = sorted(w.strip().lower()[:_WITHOUT_LEVEL] for w in m[3].split(";"))
            detail.setdefault(int(m[2]), ";".join(w for w in words if w.startswith(("profile-", "packetization-"))))
    return {pt: f"{name} {detail.get(pt, '')}" for pt, name in names.items() if "/rtx/" not in name}


def _earlier_types(descriptions: Sequence[str]) -> dict[str, int]:
    types: dict[str, int] = {}
    for text in descriptions:
        lines = list(_all_lines([text]))
        keys = _codec_keys(lines)
        for pt, key in keys.items():
            types.setdefault(key, pt)
        for _, line in lines:
            if (m := _PER_FORMAT.match(line)) and m[1] == "fmtp" and (apt := _APT.search(m[3])):
                base = keys.get(int(apt[1]))
                if base is not None:
                    types.setdefault(f"rtx of {base}", int(m[2]))
    return types


def _pin_types(lines: Sequence[str], types: dict[str, int]) -> list[str]:
    words = lines[0].split(" ")
    if not words[0].startswith(("m=audio", "m=video")):
        return list(lines)
    kind = words[0][2:]
    keyed = _codec_keys([(kind, line) for line in lines])
    for line in lines:
        m = _PER_FORMAT.match(line)
        if m and m[1] == "fmtp" and (apt := _APT.search(m[3])) and int(apt[1]) in keyed:
            keyed[int(m[2])] = f"rtx of {keyed[int(apt[1])]}"
    moved: dict[int, int] = {}
    for pt, key in keyed.items():
        if key not in types:
            free = (t for t in (pt, *_DYNAMIC_TYPES) if t not in types.values())
            types[key] = next(free, pt)
        moved[pt] = types[key]
    return [" ".join([*words[:3], *(str(moved.get(int(w), int(w))) for w in words[3:])]), *_renumber(lines[1:], moved)]


def _renumber(lines: Sequence[str], moved: dict[int, int]) -> list[str]:
    out = []
    for line in lines:
        if m := _PER_FORMAT.match(line):
            old = int(m[2])
            text = _APT.sub(lambda a: f"apt={moved.get(int(a[1]), int(a[1]))}", m[3]) if m[1] == "fmtp" else m[3]
            line = f"a={m[1]}:{moved.get(old, old)} {text}"
        out.append(line)
    return out
