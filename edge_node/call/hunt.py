"""Whom a press of the button rings, stage after stage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from edge_node.call.policy import is_target

MAX_DECLINED = 1024
Peers = Mapping[str, Collection[str]]
"""Who is on the channel: peer id → roles."""


class Hunt:
    """One ringing: who is rung now, who declined, whose turn is over.

    Without targets everyone on the channel is rung. Parallel: one stage with all targets. Sequential: one stage per
    target, in order; a stage that nobody present belongs to is skipped while a later one has somebody; who belongs to
    an earlier stage but joins late is rung too.
    """

    def __init__(self, targets: Sequence[str], *, sequential: bool, slot_s: float, now: float) -> None:
        self._stages: list[Sequence[str]] = [[t] for t in targets] if sequential and targets else [targets]
        self._everyone = not targets
        self._stage = 0
        self._slot_s = slot_s
        self._started = now
        self._declined: set[str] = set()
        self._passed: set[str] = set()

    @property
    def stage(self) -> int:
        """Which stage is on, from 0."""
        return self._stage

    @property
    def everyone(self) -> bool:
        """True when the ring goes to the whole channel while nobody has declined."""
        return self._everyone and not self._declined

    @property
    def slot_ends(self) -> float:
        """When the next stage begins; infinity on the last stage."""
        return float("inf") if self._last else self._started + self._slot_s

    @property
    def _last(self) -> bool:
        return self._stage == len(self._stages) - 1

    def includes(self, peer_id: str, roles: Collection[str]) -> bool:
        """True when this peer may answer, in whatever stage."""
        return self._everyone or any(is_target(t, peer_id, roles) for stage in self._stages for t in stage)

    def ringing(self, peers: Peers) -> list[str]:
        """Who is rung now."""
        open_targets = [t for stage in self._stages[: self._stage + 1] for t in stage]
        return [
            peer_id
            for peer_id, roles in peers.items()
            if peer_id not in self._declined
            and peer_id not in self._passed
            and (self._everyone or any(is_target(t, peer_id, roles) for t in open_targets))
        ]

    def skip_empty(self, peers: Peers, now: float) -> None:
        """Moves on to the first stage that has somebody, if any has."""
        if self.ringing(peers):
            return
        for stage in range(self._stage + 1, len(self._stages)):
            if self._has_somebody(self._stages[stage], peers):
                self._stage, self._started = stage, now
                return

    def advance(self, peers: Peers, now: float) -> list[str]:
        """Begins the next stage; gives those whose turn is over."""
        over = self.ringing(peers)
        self._passed.update(over)
        self._stage, self._started = self._stage + 1, now
        self.skip_empty(peers, now)
        return over

    def decline(self, peer_id: str, peers: Peers, now: float) -> bool:
        """Notes that somebody will not answer; False when that leaves nobody to ring, now or in a later stage."""
        if len(self._declined) < MAX_DECLINED:  # people who come back under a new id each time
            self._declined.add(peer_id)
        self.skip_empty(peers, now)
        return not self.is_refused(peers)

    def is_refused(self, peers: Peers) -> bool:
        """True when somebody declined and nobody who is here is left to ring."""
        return bool(self._declined) and not self.ringing(peers)

    def _has_somebody(self, targets: Iterable[str], peers: Peers) -> bool:
        return any(
            is_target(t, peer_id, roles)
            for peer_id, roles in peers.items()
            if peer_id not in self._declined and peer_id not in self._passed
            for t in targets
        )
