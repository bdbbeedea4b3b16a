"""Who is rung, who may open a door."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from edge_node.call.bucket import Buckets, Rate
from edge_node.call.messages import MAX_NAME_CHARS, DoorOpen
from edge_node.call.signed import Signatures, Signing, Verify

ACTIONS = ("call", "answer", "hangup", "toggle", "mute")
DOOR_RATE = Rate(per_s=0.2, burst=5)
MAX_ROLES = 8

# A publishable key's peers get a fresh UUID on every connect: such an id identifies nobody.
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


def roles_of(metadata: Mapping[str, Any] | None) -> frozenset[str]:
    """The roles in a peer's server-stamped metadata: `role` (text) or `roles` (list of texts)."""
    found = (metadata or {}).get("roles", (metadata or {}).get("role"))
    items = found if isinstance(found, list) else [found]
    return frozenset(item for item in items[:MAX_ROLES] if isinstance(item, str) and len(item) <= MAX_NAME_CHARS)


def is_target(target: str, peer_id: str, roles: Collection[str]) -> bool:
    """True when a target of call.targets (a peer id, a role, or a pattern of ids like `resident-*`) means this peer."""
    return target == peer_id or target in roles or fnmatchcase(peer_id, target)


def is_anonymous(peer_id: str) -> bool:
    """True for ids in the form that the server draws for publishable keys."""
    return _UUID.fullmatch(peer_id.strip()) is not None


@dataclass(frozen=True, slots=True)
class DoorPolicy:
    """Who may open which doors; nobody by default.

    `allow` holds patterns of server-stamped peer ids; `signing` says what requests must be signed with, if they must.
    `rate` bounds the releases of one person; `max_refusals` within `refusal_window_s` lock out for `lockout_s`.
    """

    doors: Sequence[str] = ()
    allow: Sequence[str] = ()
    signing: Signing | None = None
    rate: Rate = DOOR_RATE
    max_refusals: int = 5
    refusal_window_s: float = 60.0
    lockout_s: float = 60.0
    nonces_per_peer: int = 256
    peers: int = 256


@dataclass(frozen=True, slots=True)
class Verdict:
    ok: bool
    reason: str


@dataclass(slots=True)
class _Record:
    refusals: deque[float]
    nonces: deque[str]
    locked_until: float = float("-inf")


class DoorKeeper:
    """Judges door requests; remembers nonces, refusals and rates of allowed people in bounded tables.

    Overflow rule: the person who has been quiet longest is forgotten first, and so is the oldest nonce of one person.
    """

    def __init__(self, policy: DoorPolicy, verify: Verify | None = None) -> None:
        """Without `verify` no signature is good."""
        self.policy = policy
        self._signatures = Signatures(policy.signing, verify) if policy.signing is not None else None
        self._records: dict[str, _Record] = {}
        self._rates = Buckets(policy.rate, policy.peers)

    def judge(self, request: DoorOpen, peer_id: str, now: float) -> Verdict:
        """Whether `peer_id`, as stamped by the server, may do this at `now` (seconds)."""
        if not self.may_open(peer_id):
            # No record is kept: strangers, who can draw new ids at will, must not push out what is known of others.
            return Verdict(False, "not allowed")
        record = self._record(peer_id)
        if now < record.locked_until:
            return Verdict(False, f"too many refused requests: wait {record.locked_until - now:.0f} s")
        if (problem := self._problem(request, peer_id, record)) is not None:
            self._refused(record, now)
            return Verdict(False, problem)
        record.nonces.append(request.nonce)
        if not self._rates.take(peer_id, now):
            return Verdict(False, "too many requests: wait a few seconds")
        return Verdict(True, "allowed")

    def may_open(self, peer_id: str) -> bool:
        """True when the allow-list names this person."""
        return not is_anonymous(peer_id) and any(fnmatchcase(peer_id, pattern) for pattern in self.policy.allow)

    def _problem(self, request: DoorOpen, peer_id: str, record: _Record) -> str | None:
        if request.door not in self.policy.doors:
            return "unknown door"
        if request.nonce in record.nonces:
            return "nonce already used"
        return self._signatures.problem(request, peer_id) if self._signatures is not None else None

    def _record(self, peer_id: str) -> _Record:
        record = self._records.pop(peer_id, None)
        if record is None:
            if len(self._records) >= self.policy.peers:
                self._records.pop(next(iter(self._records)))
            record = _Record(deque(maxlen=self.policy.max_refusals), deque(maxlen=self.policy.nonces_per_peer))
        self._records[peer_id] = record
        return record

    def _refused(self, record: _Record, now: float) -> None:
        record.refusals.append(now)
        full = len(record.refusals) == self.policy.max_refusals
        if full and now - record.refusals[0] <= self.policy.refusal_window_s:
            record.locked_until = now + self.policy.lockout_s
            record.refusals.clear()
