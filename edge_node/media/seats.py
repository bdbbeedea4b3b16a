"""How many viewers a picture has room for."""

from __future__ import annotations

import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Guest(Protocol):
    """A view of one viewer; what it is told happens on the event loop."""

    @property
    def mime_type(self) -> str: ...

    def seat(self) -> None:
        """There is room: pictures flow from now on."""
        ...

    def unseat(self, reason: str) -> None:
        """There is none: nothing flows until seat()."""
        ...


class Seats:
    """Those who come beyond the plan's number wait, without pictures, for somebody to leave; first come, first served.

    Shared by all codecs of one picture; on the event loop. `taken` are those who watch.
    """

    def __init__(self) -> None:
        self._most: int | None = None
        self._reason = ""
        self._closed: dict[str, str] = {}
        self._seated: list[Guest] = []
        self._waiting: list[Guest] = []

    @property
    def taken(self) -> int:
        return len(self._seated)

    @property
    def waiting(self) -> int:
        """How many were refused and are still there."""
        return len(self._waiting)

    def come(self, guest: Guest) -> None:
        """One more viewer."""
        self._waiting.append(guest)
        self._fill()
        if guest in self._waiting:
            reason = self._refusal(guest) or self._reason
            log.warning("a viewer gets no pictures: %s", reason)
            guest.unseat(reason)

    def leave(self, guest: Guest) -> None:
        """Its view has ended."""
        for those in (self._seated, self._waiting):
            if guest in those:
                those.remove(guest)
        self._fill()

    def set_most(self, most: int | None, reason: str) -> None:
        """Room for so many, None for any number. Nobody who watches is sent away: the plan is made for them too."""
        self._most, self._reason = most, reason
        self._fill()

    def close(self, mime_type: str, reason: str) -> None:
        """Nobody gets this codec any more, whoever watches; `reason` as a sentence."""
        if self._closed.get(mime_type) is None:
            log.warning("no %s for viewers now: %s", mime_type, reason)
        self._closed[mime_type] = reason
        for guest in [guest for guest in self._seated if guest.mime_type == mime_type]:
            self._seated.remove(guest)
            self._waiting.insert(0, guest)
            guest.unseat(reason)
        self._fill()

    def open(self, mime_type: str) -> None:
        """Undoes close()."""
        if self._closed.pop(mime_type, None) is not None:
            self._fill()

    def closed(self, mime_type: str) -> bool:
        """Whether close() holds."""
        return mime_type in self._closed

    def _refusal(self, guest: Guest) -> str | None:
        if (reason := self._closed.get(guest.mime_type)) is not None:
            return reason
        return self._reason if self._most is not None and len(self._seated) >= self._most else None

    def _fill(self) -> None:
        for guest in tuple(self._waiting):
            if guest in self._waiting and self._refusal(guest) is None:
                self._waiting.remove(guest)
                self._seated.append(guest)
                guest.seat()
