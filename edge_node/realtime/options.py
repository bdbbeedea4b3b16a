"""The options of the clients, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote, urlsplit

from edge_node.protocol.addresses import is_loopback, is_private
from edge_node.protocol.backoff import BackoffPolicy
from edge_node.protocol.names import DEFAULT_URL, WsCloseCode
from edge_node.protocol.session_events import TERMINAL_CODES, SessionPolicy
from edge_node.realtime.credential import Credential, TokenProviderFn
from edge_node.realtime.logger import Logger

IceTransportPolicy = Literal["all", "relay"]


@dataclass(slots=True, kw_only=True)
class ReconnectOptions:
    """The reconnect schedule; delays in seconds, `max_attempts` may be infinite.

    Beyond the reference SDK: `final_codes`, the close codes that end the connection for good besides those that always
    do, such as 1000 for a server that closes normally to say that it is done.
    """

    initial_delay: float = 0.5
    multiplier: float = 2.0
    max_delay: float = 30.0
    jitter_ratio: float = 0.2
    max_attempts: float = 100
    final_codes: Collection[int] = ()

    def __post_init__(self) -> None:
        checks = {
            "initial_delay must be above 0": self.initial_delay > 0,
            "multiplier must be at least 1": self.multiplier >= 1,
            "max_delay must be at least initial_delay": self.max_delay >= self.initial_delay,
            "jitter_ratio must be between 0 and 1": 0 <= self.jitter_ratio <= 1,
            "max_attempts must be at least 0": self.max_attempts >= 0,
        }
        for problem, fine in checks.items():
            if not fine:
                raise ValueError(problem)

    def policy(self) -> BackoffPolicy:
        return BackoffPolicy(
            initial_s=self.initial_delay,
            multiplier=self.multiplier,
            max_s=self.max_delay,
            jitter_ratio=self.jitter_ratio,
            max_attempts=self.max_attempts,
        )


@dataclass(slots=True, kw_only=True)
class SignallingClientOptions:
    """Exactly one of api_key and token_provider; `inactivity_timeout` 0 switches the watchdog off.

    Beyond the reference SDK: `connect_retry` retries the first connection for ever (a daemon may start before its
    network), `allow_insecure_lan` takes ws:// to private addresses.
    """

    api_key: str | None = None
    token_provider: TokenProviderFn | None = None
    url: str | None = None
    token_provider_timeout: float = 10.0
    logger: Logger | None = None
    reconnect: ReconnectOptions | bool = True
    inactivity_timeout: float = 60.0
    auto_resubscribe: bool = True
    connect_retry: bool = False
    allow_insecure_lan: bool = False

    def __repr__(self) -> str:
        return f"SignallingClientOptions(url={self.url!r}, credential=<hidden>)"


@dataclass(slots=True, kw_only=True)
class SubscribeOptions:
    include_sender_metadata: bool = False


def origin(url: str | None, *, allow_insecure_lan: bool = False) -> str:
    """The normalised origin of a server's address. Raises ValueError saying what is wrong with it."""
    text = url or DEFAULT_URL
    parts = urlsplit(text)
    if not parts.scheme or not parts.netloc or not parts.hostname:
        raise ValueError(f"url {text!r} must be an origin such as wss://host or ws://localhost:9292")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"url {text!r} has no valid port") from None
    if parts.scheme not in ("ws", "wss"):
        raise ValueError(f"url {text!r} must start with wss:// (or ws:// to this machine)")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError(f"url {parts.hostname!r} must be an origin only: no path, query or user (/v1 is added)")
    if parts.scheme == "ws" and not _may_be_insecure(parts.hostname, allow_insecure_lan):
        raise ValueError(
            f"url {text!r}: ws:// sends the key in clear text, so it is taken for this machine only; use wss://, or "
            "allow_insecure_lan for a private network"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def _may_be_insecure(host: str, lan: bool) -> bool:
    has_no_domain = "." not in host and ":" not in host
    return is_loopback(host) or (lan and (has_no_domain or is_private(host)))


def connect_url(server: str, credential: Credential, value: str) -> str:
    """The address to connect to; it holds the secret, so it is never logged."""
    return f"{server}/v1?{credential.kind}={quote(value, safe='')}"


def backoff_of(reconnect: ReconnectOptions | bool, *, for_ever: bool = False) -> BackoffPolicy | None:
    """The schedule of a `reconnect` option; for_ever lifts the limit on attempts. Raises ValueError."""
    if reconnect is False:
        if for_ever:
            raise ValueError("connect_retry needs reconnect: give it True or ReconnectOptions")
        return None
    options = reconnect if isinstance(reconnect, ReconnectOptions) else ReconnectOptions()
    return replace(options, max_attempts=math.inf).policy() if for_ever else options.policy()


def session_policy(options: SignallingClientOptions, credential: Credential) -> SessionPolicy:
    """How a client's session behaves. Raises ValueError."""
    return SessionPolicy(
        reconnect=backoff_of(options.reconnect, for_ever=options.connect_retry),
        inactivity_s=options.inactivity_timeout or 0.0,
        auto_resubscribe=options.auto_resubscribe,
        retry_first=options.connect_retry,
        final_codes=final_codes_of(options.reconnect, credential),
    )


def final_codes_of(reconnect: ReconnectOptions | bool, credential: Credential) -> frozenset[int]:
    """The close codes after which no attempt is made."""
    codes: set[int] = set(TERMINAL_CODES)
    if isinstance(reconnect, ReconnectOptions):
        codes.update(reconnect.final_codes)
    if credential.kind == "key":
        codes.add(WsCloseCode.TOKEN_EXPIRED)  # only a provider has a fresh credential to come back with
    return frozenset(codes)
