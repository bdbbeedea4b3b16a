"""What is published only in a call, or not while muted."""

from __future__ import annotations

from typing import Protocol


class Pausable(Protocol):
    """A picture publication."""

    def set_active(self, active: bool) -> None: ...


class Mutable(Protocol):
    """A sound publication."""

    def set_open(self, is_open: bool) -> None: ...

    def set_muted(self, muted: bool) -> None: ...


class VideoGate:
    """Pictures flow always, or in a call only, and never while muted."""

    def __init__(self, publication: Pausable, *, only_in_call: bool) -> None:
        self._publication = publication
        self._only_in_call = only_in_call
        self._in_call = self._muted = False
        self._apply()

    def set_in_call(self, in_call: bool) -> None:
        self._in_call = in_call
        self._apply()

    def set_muted(self, muted: bool) -> None:
        self._muted = muted
        self._apply()

    def _apply(self) -> None:
        self._publication.set_active(not self._muted and (self._in_call or not self._only_in_call))


class AudioGate:
    """Sound flows always, or in a call only, and never while muted."""

    def __init__(self, publication: Mutable, *, only_in_call: bool) -> None:
        self._publication = publication
        self._only_in_call = only_in_call
        self.set_in_call(False)

    def set_in_call(self, in_call: bool) -> None:
        self._publication.set_open(in_call or not self._only_in_call)

    def set_muted(self, muted: bool) -> None:
        self._publication.set_muted(muted)
