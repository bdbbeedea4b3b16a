"""What `edge-node monitor` shows of many nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge_node.telemetry.sample import Sample

STALE_INTERVALS = 3
MAX_NODES = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One node; `state` is `stale`, the state of its call, `degraded` or `idle`; None where it does not know."""

    node: str
    state: str
    age_s: float
    degraded: tuple[str, ...]
    viewers: int | None
    fps: float | None
    kbps: float | None
    soc_temp_c: float | None
    cpu_percent: float | None
    wifi_rssi_dbm: float | None
    rtt_ms: float | None
    loss_percent: float | None
    throttled: tuple[str, ...]
    limited_by: str | None
    """Why the picture is less than was asked for."""


@dataclass(frozen=True, slots=True)
class _Seen:
    sample: Sample
    at: float


class Table:
    """The newest sample of each node. Beyond max_nodes the node unheard of for longest goes, counted in `dropped`."""

    def __init__(self, max_nodes: int = MAX_NODES) -> None:
        self._seen: dict[str, _Seen] = {}
        self._max_nodes = max_nodes
        self.dropped = 0

    def update(self, sample: Sample, now: float) -> None:
        """Takes a sample received at `now` (monotonic seconds); late ones are history and change nothing."""
        if sample.late:
            return
        self._seen.pop(sample.node, None)
        if len(self._seen) >= self._max_nodes:
            self._seen.pop(next(iter(self._seen)))
            self.dropped += 1
        self._seen[sample.node] = _Seen(sample, now)

    def rows(self, now: float) -> list[Row]:
        """All nodes by name; a node is stale after STALE_INTERVALS of its own intervals without a sample."""
        return [_row(self._seen[node], now) for node in sorted(self._seen)]


def _row(seen: _Seen, now: float) -> Row:
    sample = seen.sample
    age_s = max(0.0, now - seen.at)
    degraded = sample.service.degraded or ()
    return Row(
        node=sample.node,
        state=_state(sample, age_s),
        age_s=age_s,
        degraded=degraded,
        viewers=sample.video.viewers,
        fps=sample.video.fps,
        kbps=sample.video.kbps,
        soc_temp_c=sample.host.soc_temp_c,
        cpu_percent=sample.host.cpu_percent,
        wifi_rssi_dbm=sample.host.wifi_rssi_dbm,
        rtt_ms=_worst(peer.rtt_ms for peer in sample.peers),
        loss_percent=_worst(peer.loss_percent for peer in sample.peers),
        throttled=sample.host.throttled or (),
        limited_by=sample.video.limited_by,
    )


def _state(sample: Sample, age_s: float) -> str:
    if age_s > STALE_INTERVALS * sample.interval_s:
        return "stale"
    if sample.call.state not in (None, "idle"):
        return str(sample.call.state)
    if sample.service.degraded:
        return "degraded"
    return "idle"


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
