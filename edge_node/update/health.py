"""Whether a new version has proved itself, judged by what the daemon says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STABLE_S = 20.0
DEADLINE_S = 120.0
WELL_S = 5.0
"""A part that fails again and again is up for a moment between: it is tried again after 4 s at the latest."""
NOT_JUDGED = ("channel", "telemetry", "tamper")
"""The network's part, judged as a whole by being on the channel; and a part that tells of a case that was opened."""


@dataclass(frozen=True, slots=True)
class Good:
    """Keep the new version."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Return to the old one, because of this."""

    reason: str


class HealthGate:
    """Watches the status (what `edge-node status --json` prints; None while no daemon answers) of a new version.

    It is good when one and the same process has run for STABLE_S, is on its channel if the old one was, and each part
    in `worked` (those that were up before) has been well for WELL_S; bad when that has not come about DEADLINE_S after
    the first look. A part that was out before never counts, nor one that is off by choice or that the new version does
    not have; one that recovers in time is fine. A camera unplugged by chance during the trial looks like a camera that
    the new version lost: it is taken back, with that part as the reason, as a door without its camera is the worse
    mistake. Times are seconds that never go back.
    """

    def __init__(self, version: str, *, was_online: bool, worked: Sequence[str] = ()) -> None:
        self._version = version
        self._was_online = was_online
        self._worked = worked
        self._begun_at: float | None = None
        self._unwell_at = -math.inf

    def look(self, status: Mapping[str, Any] | None, now: float) -> Good | Bad | None:
        """None: it is too early to say."""
        if self._begun_at is None:
            self._begun_at = now
        trouble = self._trouble(status, now)
        if trouble is None:
            return Good()
        if now - self._begun_at >= DEADLINE_S:
            return Bad(f"{trouble} after {DEADLINE_S:g} s")
        return None

    def _trouble(self, status: Mapping[str, Any] | None, now: float) -> str | None:
        if status is None:
            return "it does not answer"
        version = status.get("node", {}).get("version")
        if version != self._version:
            return f"version {version} answers"
        unwell = self._unwell(status)
        if unwell is not None:
            self._unwell_at = now
        if float(status.get("uptime_s", 0.0)) < STABLE_S:
            return "it keeps being started again"
        if self._was_online and not is_online(status):
            return "it does not get onto its channel"
        if unwell is None and now - self._unwell_at < WELL_S:
            return "a part keeps failing"
        return unwell

    def _unwell(self, status: Mapping[str, Any]) -> str | None:
        """The first part that worked before and does not now."""
        parts = status.get("parts", {})
        for name in self._worked:
            part = parts.get(name, {})
            if part.get("state") in ("degraded", "starting"):
                return f"{name} worked before and does not ({part.get('reason') or 'it does not start'})"
        if self._worked and status.get("safe_mode"):
            return "it runs without its devices"
        return None


def is_online(status: Mapping[str, Any] | None) -> bool:
    """Whether the daemon is on its channel."""
    return status is not None and status.get("channel", {}).get("state") == "joined"


def is_in_call(status: Mapping[str, Any] | None) -> bool:
    """Whether an update would cut somebody off."""
    return status is not None and status.get("call", {}).get("state", "idle") != "idle"


def working_parts(status: Mapping[str, Any] | None) -> list[str]:
    """The parts that are up, as far as a trial judges them."""
    parts = {} if status is None else status.get("parts", {})
    return [name for name, part in parts.items() if part.get("state") == "up" and name not in NOT_JUDGED]
