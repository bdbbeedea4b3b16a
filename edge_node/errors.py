"""The one error tree, organised by what the reader can do about it.

EdgeNodeError                     remedy
├── RetryLater                    RETRY        the world is away for now; the daemon tries again by itself
│   ├── SourceLost                             a camera, an RTSP server or a file stopped giving pictures
│   └── DeviceLost                             a sound card or a pin went away
├── SettingsError                 RECONFIGURE  a setting is wrong; exit status 78, systemd does not restart
├── UsageError                    RECONFIGURE  a command or a call was used wrongly; exit status 2
├── DeviceMissing                 REPLACE      this machine has no such device, or no driver for it
├── Bug                           REPORT       a promise inside edge-node was broken
└── MeteredRealtimeError          RETRY        everything the SDK raises (names of the reference SDK)
    ├── SignallingError
    │   ├── NotConnectedError
    │   ├── SignallingConnectError(close_code, close_reason)
    │   ├── ServerRequestError(code, request_id)
    │   ├── AckTimeoutError(request_id, timeout)
    │   └── DisconnectedError
    ├── ReconcileTimeoutError
    ├── MeteredPeerSendError(code)
    ├── MeteredPeerOversizedError(size, cap)
    ├── MeteredPeerStateError(code, method, current_state)
    ├── MeteredPeerReplaceTrackError(succeeded, failed)
    ├── DataChannelOverflowError(queued, cap)
    └── RealtimeAgentError(message, code)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Remedy(Enum):
    """What helps: wait, change a setting, replace a thing, or report a bug."""

    RETRY = "retry"
    RECONFIGURE = "reconfigure"
    REPLACE = "replace hardware"
    REPORT = "report a bug"


class EdgeNodeError(Exception):
    """Base of every error raised by edge-node; its text is one sentence that says what to do."""

    remedy: ClassVar[Remedy] = Remedy.REPORT


class RetryLater(EdgeNodeError):
    """Something outside is away for now."""

    remedy = Remedy.RETRY


class SourceLost(RetryLater):
    """A picture or sound source stopped delivering."""


class LoginRefused(SourceLost):
    """A source wants another user name or password."""

    remedy = Remedy.RECONFIGURE


class DeviceLost(RetryLater):
    """A device that worked went away."""


class SettingsError(EdgeNodeError):
    """A setting is wrong: carries one sentence per problem."""

    remedy = Remedy.RECONFIGURE

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class UsageError(EdgeNodeError):
    """A command was used wrongly."""

    remedy = Remedy.RECONFIGURE


class DeviceMissing(EdgeNodeError):
    """This machine has no such device, or lacks the library that drives it."""

    remedy = Remedy.REPLACE


class Bug(EdgeNodeError):
    """A promise inside edge-node was broken."""


# The SDK's errors: names and attributes of the reference SDK (conformance rows 113 and 114).


class MeteredRealtimeError(EdgeNodeError):
    """Base of everything the SDK raises."""

    remedy = Remedy.RETRY


class SignallingError(MeteredRealtimeError):
    """The signalling connection could not do what was asked."""


class NotConnectedError(SignallingError):
    """The call needs a connected client."""


class SignallingConnectError(SignallingError):
    """The connection was refused or closed before `welcome`."""

    def __init__(self, close_code: int, close_reason: str = "", message: str | None = None) -> None:
        detail = f": {close_reason}" if close_reason else ""
        super().__init__(message or f"the server refused or closed the connection ({close_code}){detail}")
        self.close_code = close_code
        self.close_reason = close_reason


class ServerRequestError(SignallingError):
    """The server answered a request with an `error` frame."""

    def __init__(self, code: str, message: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message or f"the server refused the request: {code}")
        self.code = code
        self.request_id = request_id


class AckTimeoutError(SignallingError):
    """The server did not answer a request in time."""

    def __init__(self, request_id: str, timeout: float) -> None:
        super().__init__(f"the server did not acknowledge request {request_id} within {timeout:g} s")
        self.request_id = request_id
        self.timeout = timeout


class DisconnectedError(SignallingError):
    """The socket was lost while a request was under way."""


class ReconcileTimeoutError(MeteredRealtimeError):
    """No roster came after a reconnect."""

    def __init__(self, message: str = "no roster came after the reconnect: close and join again") -> None:
        super().__init__(message)


class MeteredPeerSendError(MeteredRealtimeError):
    """A send was refused locally: `reserved_channel`, `not_joined`, `invalid_args` or `self_send`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MeteredPeerOversizedError(MeteredRealtimeError):
    """A payload is larger than the server takes; sizes in bytes."""

    def __init__(self, size: int, cap: int) -> None:
        super().__init__(f"the message has {size} bytes and the server takes {cap}: send less, or use a data channel")
        self.size = size
        self.cap = cap


class MeteredPeerStateError(MeteredRealtimeError):
    """The call is not possible in this state: `invalid_state` or `track_already_attached`."""

    def __init__(self, code: str, method: str, message: str, current_state: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.method = method
        self.current_state = current_state


@dataclass(frozen=True, slots=True)
class ReplaceTrackFailure:
    """One remote peer for which `replace_track` failed."""

    peer_id: str
    err: Exception


class MeteredPeerReplaceTrackError(MeteredRealtimeError):
    """`replace_track` worked for some peers only."""

    def __init__(self, succeeded: Sequence[str], failed: Sequence[ReplaceTrackFailure]) -> None:
        super().__init__(f"replace_track failed for {len(failed)} of {len(succeeded) + len(failed)} peers")
        self.succeeded = tuple(succeeded)
        self.failed = tuple(failed)


class DataChannelOverflowError(MeteredRealtimeError):
    """Too many sends wait on one data channel."""

    def __init__(self, queued: int, cap: int) -> None:
        super().__init__(f"{queued} sends wait on this data channel and {cap} may: await send() before the next one")
        self.queued = queued
        self.cap = cap


class RealtimeAgentError(MeteredRealtimeError):
    """A realtime speech session failed; `code` is the service's own word for it, None when it has none."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code
