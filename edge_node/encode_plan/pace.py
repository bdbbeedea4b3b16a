"""How often pictures, keyframes are made: arithmetic on times that the caller passes in."""

from __future__ import annotations

KEYFRAME_WINDOW_S = 0.3


class KeyframeWindow:
    """Merges what several viewers ask for: at most one keyframe in `window_s` seconds, and none is forgotten.

    A viewer that asks right after a keyframe may have missed it, so it gets the next one when the window is over.
    """

    def __init__(self, window_s: float = KEYFRAME_WINDOW_S) -> None:
        self._window_s = window_s
        self._next_at: float | None = None
        self.pending = False

    def ask(self, now: float) -> float | None:
        """Seconds to wait before the keyframe is to be made; None when an earlier asker already waits for it."""
        if self.pending:
            return None
        self.pending = True
        return 0.0 if self._next_at is None else max(0.0, self._next_at - now)

    def renew(self, now: float) -> None:
        """The encoder was asked, or a keyframe came by: whoever waited is served and a new window begins."""
        self.pending = False
        self._next_at = now + self._window_s


class FrameLimiter:
    """Lets at most `fps` pictures a second through, evenly, however many come."""

    def __init__(self, fps: float) -> None:
        self._step_s = 1 / fps
        self._due_at: float | None = None

    def take(self, captured_at: float) -> bool:
        """Whether the picture captured at this time (seconds, growing) is wanted."""
        # A picture may come a little early: sources jitter by less than a third of their step.
        if self._due_at is not None and captured_at < self._due_at - self._step_s / 3:
            return False
        due = captured_at if self._due_at is None else self._due_at
        # After a gap the pictures that did not come are not made up for.
        self._due_at = max(due + self._step_s, captured_at + self._step_s / 2)
        return True
