"""The end of a process that is too frozen to let go of a relay.

A timer of the kernel sends SIGKILL, which no stopped process, no thread that keeps the interpreter's lock, no dead
event loop can put off; the service's ExecStopPost then releases the relay (devices.safe_state).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import time

log = logging.getLogger(__name__)

SLACK_S = 2.0
"""A machine under load may be that late without being frozen."""
TIMER_ABSTIME = 1


class _Event(ctypes.Structure):
    """struct sigevent (sigevent(3type)); 64 bytes on every 64-bit Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _Spec(ctypes.Structure):
    """struct itimerspec (timer_settime(2)); the first two make the interval."""

    _fields_ = (
        ("again_s", ctypes.c_long),
        ("again_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class Overrun:
    """Ends this process when something that must end did not: SLACK_S after the time that until() was told.

    A system that has no such timers is told in the log, once for each of these.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer: ctypes.c_void_p | None = ctypes.c_void_p()
        event = _Event(signo=signal.SIGKILL)
        if self._libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)):
            log.warning(
                "no timer guards the relays against a frozen program (%s): the watchdog does, more slowly",
                os.strerror(ctypes.get_errno()),
            )
            self._timer = None

    def until(self, at: float) -> None:
        """The end that is expected, on time.monotonic()'s clock; the last call counts."""
        end = at + SLACK_S
        self._set(_Spec(s=int(end), ns=int(end % 1 * 1e9)))

    def over(self) -> None:
        """It ended."""
        self._set(_Spec())

    def close(self) -> None:
        """Lets go of the timer."""
        if self._timer is not None:
            self._libc.timer_delete(self._timer)
            self._timer = None

    def _set(self, spec: _Spec) -> None:
        if self._timer is not None:
            self._libc.timer_settime(self._timer, TIMER_ABSTIME, ctypes.byref(spec), None)
