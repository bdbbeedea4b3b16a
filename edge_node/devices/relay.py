"""A relay that always lets go again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from edge_node.devices.overrun import Overrun
from edge_node.errors import DeviceLost

MAX_ON_S = 10.0

log = logging.getLogger(__name__)


class TimedRelay:
    """Drives one relay, never energised for longer than MAX_ON_S at a stretch.

    `device` is a released gpiozero DigitalOutputDevice. A pulse during a pulse prolongs it up to that limit, never
    shortens it. `on_failure` is called from the timer's thread when the pin could not be released. `overrun` ends the
    process when that thread does not get to it.
    """

    def __init__(
        self, name: str, device: Any, on_failure: Callable[[Exception], None], overrun: Overrun | None = None
    ) -> None:
        self._name = name
        self._device = device
        self._on_failure = on_failure
        self._overrun = overrun
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._closed = False
        self._since = 0.0
        self._until = 0.0

    @property
    def energised(self) -> bool:
        """What the pin says."""
        with self._lock:
            return not self._closed and bool(self._device.value)

    def pulse(self, pulse_ms: int) -> None:
        """Energises for pulse_ms. Raises DeviceLost when the pin does not obey."""
        with self._lock:
            if self._closed:
                raise DeviceLost(f"relay {self._name!r} is away: wait until the panel runs again")
            now = time.monotonic()
            if self._timer is None:
                self._since = self._until = now
            until = min(max(now + pulse_ms / 1000, self._until), self._since + MAX_ON_S)
            if self._timer is not None:
                self._timer.cancel()
            # The timer runs before the pin is set: whatever fails from here on, the relay is released.
            self._until = until
            self._timer = threading.Timer(until - now, self._time_is_up)
            self._timer.args = (self._timer,)
            self._timer.daemon = True
            self._timer.start()
            if self._overrun is not None:
                self._overrun.until(until)
            try:
                self._device.on()
            except Exception as err:
                raise DeviceLost(f"relay {self._name!r} does not obey ({err}): check its pin") from err

    def close(self) -> None:
        """Releases now, for good."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._release()
            if self._overrun is not None:
                self._overrun.close()

    def _time_is_up(self, timer: threading.Timer) -> None:
        with self._lock:
            if timer is self._timer:  # a cancelled timer may already have been on its way
                self._timer = None
                self._release()

    def _release(self) -> None:
        try:
            self._device.off()
        except Exception as err:
            log.error("relay %s could not be released: %s", self._name, err)
            self._on_failure(err)
        if self._overrun is not None:
            self._overrun.over()
