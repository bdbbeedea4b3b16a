"""What the door's own speaker, and now and then the other end, hears about the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from edge_node.call.effects import CallView, Phase
from edge_node.call.messages import Reason

if TYPE_CHECKING:
    from edge_node.ports import Pcm

MOMENTS = ("press", "ringing", "incoming", "answered", "attended", "unanswered", "ended", "warning")
"""When something may be heard; the keys of `[audio.prompts]`."""


class Voice(Protocol):
    """Where something can be said."""

    def say(self, pcm: Pcm) -> None: ...

    def quiet(self) -> None:
        """Breaks off what was said or repeated."""
        ...


class Player(Voice, Protocol):
    """The loudspeaker, as far as announcements go."""

    def repeat(self, pcm: Pcm) -> None: ...


class Announcer:
    """Turns changes of the call into sounds; `sound` gives the one for a moment, empty for none.

    `remote` is heard by the people in the call.
    """

    def __init__(self, player: Player, remote: Voice, sound: Callable[[str], Pcm]) -> None:
        self._player = player
        self._remote = remote
        self._sound = sound
        self._phase = Phase.IDLE
        self._attended = False

    def call_changed(self, view: CallView) -> None:
        """The call as it is now; only a new phase, and who talks, is heard."""
        before, self._phase = self._phase, view.phase
        attended, self._attended = self._attended, view.attended
        if before is view.phase and attended is view.attended:
            return
        self._player.quiet()
        self._remote.quiet()
        match view.phase:
            case Phase.RINGING:
                self._player.say(self._sound("press"))
                self._player.repeat(self._sound("ringing"))
            case Phase.INCOMING:
                self._player.repeat(self._sound("incoming"))
            case Phase.ACTIVE:
                self._player.say(self._sound("attended" if view.attended else "answered"))
            case Phase.IDLE if before is Phase.ACTIVE:
                self._player.say(self._sound("ended"))
            case _:
                if before is Phase.RINGING and view.reason in (Reason.TIMEOUT, Reason.DECLINED):
                    self._player.say(self._sound("unanswered"))

    def limit_near(self) -> None:
        """The call will be ended soon: both ends may want to know."""
        self._player.say(self._sound("warning"))
        self._remote.say(self._sound("warning"))
