"""Buttons, LEDs and relays on the pins of a board."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpiozero import DigitalInputDevice, DigitalOutputDevice

from edge_node.devices.debounce import STORM_SILENCE_S
from edge_node.devices.factory import Driver, open_board
from edge_node.devices.gestures import Gesture, GestureFilter
from edge_node.devices.lamps import Lamp
from edge_node.devices.lights import LightPlayer
from edge_node.devices.overrun import Overrun
from edge_node.devices.patterns import PATTERNS, Look, look
from edge_node.devices.pins import ButtonSpec, InputSpec, RelaySpec, Spec, Wiring
from edge_node.devices.relay import TimedRelay
from edge_node.errors import DeviceLost, DeviceMissing, UsageError
from edge_node.ports import Panel

if TYPE_CHECKING:
    from edge_node.devices.world import PanelWorld

GLITCH_S = 0.005  # shorter levels are interference, not fingers; GestureFilter does the rest
SETTLE_S = 0.05  # a contact whose position counts may take its time; it also bounds how often one can report

Taken = Callable[[], Mapping[str, str]]

log = logging.getLogger(__name__)


def make_panel(wiring: Wiring, driver: Driver = "auto", taken: Taken = dict) -> Panel:
    """The panel for gpio.driver: `auto` and `lgpio` are the board's pins, `mock` has a world, `none` does nothing.

    `taken` says which pins something else on the board has, and what that is called.
    """
    return NullPanel(wiring) if driver == "none" else GpioPanel(wiring, driver, taken=taken)


def _known(kind: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        raise UsageError(f"there is no {kind} {name!r}: use {', '.join(sorted(names)) or 'a panel that has one'}")


def _look(pattern: str) -> Look:
    found = look(pattern)
    if found is None:
        raise UsageError(f"{pattern!r} is no LED pattern: use {', '.join(PATTERNS)}, perhaps with a colour: on#ff8000")
    return found


class NullPanel:
    """A panel without pins: shows nothing, refuses to open doors."""

    missing: Sequence[str] = ()

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    async def run(self, on_press: Callable[[str], None]) -> None:
        """Waits until cancelled; nobody presses."""
        await asyncio.get_running_loop().create_future()

    def show(self, led: str, pattern: str) -> None:
        """Checks its arguments, does nothing."""
        _known("LED", led, [spec.name for spec in self._wiring.leds])
        _look(pattern)

    def pulse(self, relay: str, pulse_ms: int) -> None:
        """Raises DeviceMissing."""
        _known("relay", relay, [spec.name for spec in self._wiring.relays])
        raise DeviceMissing('there are no relays (gpio.driver = "none"): set gpio.driver to "auto"')


class GpioPanel:
    """Pins through gpiozero; `show` is remembered while the panel does not run, `pulse` then raises DeviceLost.

    A part whose pin is `taken` when the panel starts is left out, the others work.
    """

    def __init__(
        self,
        wiring: Wiring,
        driver: Driver = "auto",
        *,
        clock: Callable[[], float] = time.monotonic,
        dev: Path = Path("/dev"),
        taken: Taken = dict,
    ) -> None:
        self._wiring = wiring
        self._taken = taken
        self._missing: dict[str, str] = {}
        self._clock = clock
        self._dev = dev
        self._lights = LightPlayer(spec.name for spec in wiring.leds)
        self._relay_names = [spec.name for spec in wiring.relays]
        self._relays: dict[str, TimedRelay] = {}
        self._world: PanelWorld | None = None
        if driver == "mock":
            from edge_node.devices.world import PanelWorld

            self._world = PanelWorld(wiring)

    @property
    def missing(self) -> Sequence[str]:
        """Why parts were left out at the last start, a sentence each."""
        return tuple(self._missing.values())

    @property
    def world(self) -> PanelWorld:
        """The other side of mock pins. Raises UsageError with any other driver."""
        if self._world is None:
            raise UsageError('only a panel with gpio.driver = "mock" has a world: press its real buttons')
        return self._world

    async def run(self, on_press: Callable[[str], None]) -> None:
        """Watches buttons and inputs until cancelled; `on_press` as in ports.Panel.

        Raises DeviceMissing, or DeviceLost when a pin stops obeying.
        """
        loop = asyncio.get_running_loop()
        failure: asyncio.Future[None] = loop.create_future()

        def fail(err: Exception) -> None:
            loop.call_soon_threadsafe(_fail, failure, err)

        try:
            with ExitStack() as stack:
                self._open(stack, on_press, fail)
                await failure
        finally:
            failure.cancel()

    def show(self, led: str, pattern: str) -> None:
        """Sets an LED to a named pattern, without waiting."""
        _known("LED", led, [spec.name for spec in self._wiring.leds])
        self._lights.show(led, _look(pattern))

    def pulse(self, relay: str, pulse_ms: int) -> None:
        """Energises a relay for pulse_ms, at most 10 s. Raises DeviceLost when the panel does not run."""
        _known("relay", relay, self._relay_names)
        if pulse_ms < 1:
            raise UsageError(f"a pulse of {pulse_ms} ms is none: use 1 or more")
        timed = self._relays.get(relay)
        if timed is None:
            if why := self._missing.get(f"relay {relay!r}"):
                raise DeviceMissing(why)
            raise DeviceLost(f"relay {relay!r} is away because the panel does not run: see its fault in the status")
        timed.pulse(pulse_ms)

    def energised(self, relay: str) -> bool:
        """True during a pulse."""
        _known("relay", relay, self._relay_names)
        timed = self._relays.get(relay)
        return timed is not None and timed.energised

    def _open(self, stack: ExitStack, on_press: Callable[[str], None], fail: Callable[[Exception], None]) -> None:
        wiring, self._missing = self._wiring.apart_from(self._taken())
        factory = self._world.factory if self._world else open_board(self._dev)
        # Relays first: they are safe before anything else can fail.
        stack.callback(self._relays.clear)
        for relay in wiring.relays:
            # Mock pins open nothing: nobody is killed over them.
            overrun = Overrun() if self._world is None else None
            timed = TimedRelay(relay.name, _output(stack, relay, factory), fail, overrun)
            stack.callback(timed.close)
            self._relays[relay.name] = timed
        lamps = {led.name: Lamp(led, factory, partial(_taken, stack, led)) for led in wiring.leds}
        for lamp in lamps.values():
            _finally(stack, lamp.off)
        stack.callback(self._lights.stop)
        self._lights.start(lambda name, shade: lamps[name].write(shade) if name in lamps else None, fail)
        for button in wiring.buttons:
            self._watch(stack, button, factory, on_press)
        for contact in wiring.inputs:
            _report(stack, contact, factory, on_press)

    def _watch(self, stack: ExitStack, button: ButtonSpec, factory: Any, on_press: Callable[[str], None]) -> None:
        fingers = _Fingers(button, self._clock, on_press)
        up = button.pull == "up"
        device = _taken(
            stack,
            button,
            lambda: DigitalInputDevice(button.pin, pull_up=up, bounce_time=GLITCH_S, pin_factory=factory),
        )
        stack.callback(fingers.close)
        device.when_activated = lambda: fingers.edge(True)
        device.when_deactivated = lambda: fingers.edge(False)


class _Fingers:
    """Runs the filter of one button: edges come from gpiozero's thread, the passing of time from the event loop."""

    def __init__(self, button: ButtonSpec, clock: Callable[[], float], on_press: Callable[[str], None]) -> None:
        self._name = button.name
        self._filter = GestureFilter(_seconds(button.long_ms), _seconds(button.double_ms))
        self._clock = clock
        self._on_press = on_press
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def edge(self, active: bool) -> None:
        with self._lock:
            told = self._filter.edge(active, self._clock())
            due = self._filter.deadline
        self._tell(told)
        if due is not None:
            self._loop.call_soon_threadsafe(self._arm)

    def close(self) -> None:
        """On the event loop: nothing is told from now on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            due = self._filter.deadline
        if due is not None and not self._closed:
            self._timer = self._loop.call_later(max(0.0, due - self._clock()), self._time_is_up)

    def _time_is_up(self) -> None:
        with self._lock:
            told = self._filter.tick(self._clock())
        self._tell(told)
        self._arm()

    def _tell(self, told: Sequence[Gesture]) -> None:
        for gesture in told:
            match gesture:
                case Gesture.SHORT:
                    self._on_press(self._name)
                case Gesture.STORM:
                    log.warning(
                        "button %s storms and is ignored until it is calm for %g s: check its wiring",
                        self._name,
                        STORM_SILENCE_S,
                    )
                case _:
                    self._on_press(f"{self._name}:{gesture.value}")


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _report(stack: ExitStack, contact: InputSpec, factory: Any, on_press: Callable[[str], None]) -> None:
    """Tells the position of a contact now, and at each change."""
    device = _taken(
        stack,
        contact,
        lambda: DigitalInputDevice(contact.pin, pull_up=True, bounce_time=SETTLE_S, pin_factory=factory),
    )

    def tell(closed: bool) -> None:
        on_press(f"{contact.name}:{'on' if closed == (contact.when == 'closed') else 'off'}")

    device.when_activated = lambda: tell(True)
    device.when_deactivated = lambda: tell(False)
    tell(device.is_active)  # after the callbacks, so that no change falls in between


def _fail(failure: asyncio.Future[None], err: Exception) -> None:
    if not failure.done():
        failure.set_exception(DeviceLost(f"a pin of the panel stopped obeying ({err}): check the wiring"))


def _finally(stack: ExitStack, last: Callable[[], None]) -> None:
    """Has the stack call this at its end; what fails there is logged, so that the rest is closed too."""

    def guarded() -> None:
        try:
            last()
        except Exception as err:
            log.error("the panel could not close a pin: %s", err)

    stack.callback(guarded)


def _output(stack: ExitStack, spec: RelaySpec, factory: Any) -> Any:
    return _taken(stack, spec, lambda: DigitalOutputDevice(spec.pin, active_high=spec.active_high, pin_factory=factory))


def _taken(stack: ExitStack, spec: Spec, make: Callable[[], Any]) -> Any:
    """A gpiozero device that the stack closes. Raises DeviceMissing."""
    try:
        device = make()
    except Exception as err:  # lgpio.error is a bare Exception, gpiozero has its own tree
        raise DeviceMissing(
            f"{spec.pin} of {spec.name!r} cannot be opened ({err}): check that no other program uses it"
        ) from err
    _finally(stack, device.close)
    return device
