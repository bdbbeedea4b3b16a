"""What the node moves: its lights, its relays, its loudspeaker, what it publishes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from edge_node.call.effects import CallView, Phase
from edge_node.call.indicator import Indicator, choose
from edge_node.call.rules import PulseRelay, RuleEngine, ShowLed
from edge_node.errors import DeviceMissing, EdgeNodeError
from edge_node.ports import Clock, Panel

log = logging.getLogger(__name__)

STATUS_LED = "status"
PRIVACY_LED = "privacy"


def status_led(leds: Sequence[str]) -> str | None:
    """The light that tells the node's state: the one named "status", without one the first that has no duty."""
    return STATUS_LED if STATUS_LED in leds else next((led for led in leds if led != PRIVACY_LED), None)


class Gate(Protocol):
    """A publication that may be for calls only, or muted."""

    def set_in_call(self, in_call: bool) -> None: ...

    def set_muted(self, muted: bool) -> None: ...


class NodeOutputs:
    """intercom.Outputs on a panel, gates and a playback; the indicator is one of its lights."""

    def __init__(
        self,
        *,
        panel: Panel,
        leds: Sequence[str],
        doors: Mapping[str, int],
        patterns: Mapping[Indicator, str],
        rules: RuleEngine,
        gates: Sequence[Gate],
        allow_audio: Callable[[frozenset[str]], None],
        describe: Callable[[], Mapping[str, Any]],
        clock: Clock,
        muted: bool = False,
    ) -> None:
        self._panel = panel
        self._doors = dict(doors)
        self._patterns = dict(patterns)
        self._rules = rules
        self._gates = list(gates)
        self._allow_audio = allow_audio
        self._describe = describe
        self._picture: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
        self._on_ring: list[Callable[[], None]] = []
        self._rung: str | None = None
        self._clock = clock
        self._status_led = status_led(leds)
        self._privacy_led = PRIVACY_LED if PRIVACY_LED in leds else None
        self._door_guard: Callable[[], None] = lambda: None
        self._shown: dict[str, str] = {}
        self._facts = (False, False, 0, False)
        self._phase = Phase.IDLE
        self._muted = muted
        self._observers: list[Callable[[CallView], None]] = []
        self._limit_observers: list[Callable[[], None]] = []
        self.panel_up = False
        self.indicator = Indicator.OFFLINE
        for gate in self._gates:
            gate.set_muted(muted)
        self._show_privacy()

    def show_pictures(self, picture: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        """Who gives a picture to those on the channel who ask for one."""
        self._picture = picture

    def guard_doors(self, guard: Callable[[], None]) -> None:
        """`guard` raises EdgeNodeError when no door may open now."""
        self._door_guard = guard

    def on_call(self, observer: Callable[[CallView], None]) -> None:
        self._observers.append(observer)

    def on_limit_near(self, observer: Callable[[], None]) -> None:
        self._limit_observers.append(observer)

    def on_ring(self, observer: Callable[[], None]) -> None:
        """`observer()` once for each call that begins to ring."""
        self._on_ring.append(observer)

    def check_doors(self) -> None:
        """Raises EdgeNodeError when no door can open now."""
        self._door_guard()
        if not self.panel_up:
            raise DeviceMissing("the door's relay is not available: see `edge-node doctor`")

    # intercom.Outputs

    def release_door(self, door: str) -> None:
        self.check_doors()
        self._panel.pulse(door, self._doors[door])

    def allow_audio(self, peer_ids: frozenset[str]) -> None:
        self._allow_audio(peer_ids)

    def call_changed(self, view: CallView) -> None:
        self._phase, self._muted = view.phase, view.muted
        if view.phase is Phase.RINGING and view.call != self._rung:
            self._rung = view.call
            for ring_observer in self._on_ring:
                ring_observer()
        for gate in self._gates:
            gate.set_in_call(view.phase is Phase.ACTIVE)
            gate.set_muted(view.muted)
        self._show_privacy()
        self._indicate()
        for observer in self._observers:
            observer(view)

    def limit_near(self) -> None:
        for observer in self._limit_observers:
            observer()

    def describe(self) -> Mapping[str, Any]:
        return self._describe()

    async def picture(self) -> Mapping[str, Any]:
        if self._picture is None:
            raise DeviceMissing("this node has no camera: ask another one")
        return await self._picture()

    def event(self, on: str, facts: Mapping[str, Any]) -> None:
        for output in self._rules.fire(on, facts, self._clock.monotonic()):
            match output:
                case ShowLed(led, pattern):
                    self._show(led, pattern)
                case PulseRelay(relay):
                    self._pulse(relay)

    def light(self, led: str, lit: bool) -> None:
        """Holds an output on or off."""
        self._show(led, "on" if lit else "off")

    # The indicator

    def shown(self, led: str) -> str | None:
        """The pattern that a light plays, or would if there were a panel."""
        return self._shown.get(led)

    def condition(self, *, fault: bool, online: bool, peers: int, refused: bool = False) -> None:
        """What the light tells besides the call."""
        self._facts = (fault, online, peers, refused)
        self._indicate()

    def panel_ready(self) -> None:
        """The pins are (again) there: shows everything anew."""
        self.panel_up = True
        shown, self._shown = self._shown, {}
        for led, pattern in shown.items():
            self._show(led, pattern)

    def panel_gone(self) -> None:
        self.panel_up = False

    def _indicate(self) -> None:
        fault, online, peers, refused = self._facts
        before, self.indicator = (
            self.indicator,
            choose(fault=fault, online=online, phase=self._phase, peers=peers, private=self._muted, refused=refused),
        )
        if self._status_led is not None and (before is not self.indicator or self._status_led not in self._shown):
            self._show(self._status_led, self._patterns[self.indicator])

    def _show_privacy(self) -> None:
        if self._privacy_led is not None:
            self.light(self._privacy_led, self._muted)

    def _show(self, led: str, pattern: str) -> None:
        self._shown[led] = pattern
        if not self.panel_up:
            return
        try:
            self._panel.show(led, pattern)
        except EdgeNodeError as err:
            log.warning("light %s cannot show %s: %s", led, pattern, err)

    def _pulse(self, relay: str) -> None:
        try:
            self._panel.pulse(relay, self._doors[relay])
        except EdgeNodeError as err:
            log.warning("relay %s cannot be pulsed: %s", relay, err)
