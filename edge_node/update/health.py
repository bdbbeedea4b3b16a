"""Whether a new version has proved itself, judged by what the daemon says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STABLE_S = 20.0
DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True)
class Good:
    """Keep the new version."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Return to the old one, because of this."""

    reason: str


class HealthGate:
    """Watches the status (what `edge-node status --json` prints; None while no daemon answers) of a new version.

    It is good when one and the same process has run for STABLE_S, and is on its channel if the old one was; bad when
    that has not come about DEADLINE_S after the first look. Times are seconds that never go back.
    """

    def __init__(self, version: str, *, was_online: bool) -> None:
        self._version = version
        self._was_online = was_online
        self._begun_at: float | None = None

    def look(self, status: Mapping[str, Any] | None, now: float) -> Good | Bad | None:
        """None: it is too early to say."""
        if self._begun_at is None:
            self._begun_at = now
        trouble = self._trouble(status)
        if trouble is None:
            return Good()
        if now - self._begun_at >= DEADLINE_S:
            return Bad(f"{trouble} after {DEADLINE_S:g} s")
        return None

    def _trouble(self, status: Mapping[str, Any] | None) -> str | None:
        if status is None:
            return "it does not answer"
        version = status.get("node", {}).get("version")
        if version != self._version:
            return f"version {version} answers"
        if float(status.get("uptime_s", 0.0)) < STABLE_S:
            return "it keeps being started again"
        if self._was_online and not is_online(status):
            return "it does not get onto its channel"
        return None


def is_online(status: Mapping[str, Any] | None) -> bool:
    """Whether the daemon is on its channel."""
    return status is not None and status.get("channel", {}).get("state") == "joined"


def is_in_call(status: Mapping[str, Any] | None) -> bool:
    """Whether an update would cut somebody off."""
    return status is not None and status.get("call", {}).get("state", "idle") != "idle"
