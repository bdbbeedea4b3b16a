"""The hub's own settings, frozen."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator

from edge_node.errors import SettingsError
from edge_node.protocol import payloads
from edge_node.protocol.grants import Scope, scope
from edge_node.protocol.hub_events import HubLimits
from edge_node.protocol.names import channel_problem
from edge_node.protocol.patterns import pattern_problem
from edge_node.settings.layers import file_layer
from edge_node.settings.problems import translate
from edge_node.settings.schema import Section

DEFAULT_PORT = 9292
# RFC 7518 section 3.2: the key of HS256 has at least the size of the hash.
MIN_SECRET_CHARS = 32
MIN_CODE_CHARS = 12
Permission = Literal["publish", "subscribe", "presence", "send"]


def _channel(text: str) -> str:
    if problem := channel_problem(text):
        raise ValueError(f"is no channel name: {problem}")
    return text


def _pattern(text: str) -> str:
    if problem := pattern_problem(text):
        raise ValueError(f"is no channel pattern: {problem}")
    return text


ChannelName = Annotated[str, AfterValidator(_channel)]
ChannelPattern = Annotated[str, AfterValidator(_pattern)]


class KeyScope(Section):
    """What a key opens."""

    channels: tuple[ChannelPattern, ...] = ("**",)
    permissions: tuple[Permission, ...] = ("publish", "subscribe", "presence", "send")

    @property
    def scope(self) -> Scope:
        return scope(self.channels, self.permissions)


class PublishableKey(KeyScope):
    """`[[key]]`: a key that is its own credential; its peers get a random id."""

    id: Annotated[SecretStr, Field(min_length=8, max_length=128)]
    allowed_origins: tuple[str, ...] = Field(default=(), description="browser origins that may use it; empty: all")


class SecretKey(KeyScope):
    """`[[secret]]`: a pair that signs tokens and opens the control plane."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    secret: SecretStr

    @field_validator("secret")
    @classmethod
    def _long(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < MIN_SECRET_CHARS:
            raise ValueError(f"is too short: use at least {MIN_SECRET_CHARS} random characters")
        return secret


class ConsoleConfig(Section):
    """`[console]`: the page people answer from."""

    enabled: bool = True
    code: SecretStr | None = Field(default=None, description="the access code; a random one at each start when absent")
    channel: ChannelName = "home/front-door"
    telemetry_channel: ChannelName = "telemetry/front-door"

    @field_validator("code")
    @classmethod
    def _hard_to_guess(cls, code: SecretStr | None) -> SecretStr | None:
        if code is not None and len(code.get_secret_value()) < MIN_CODE_CHARS:
            raise ValueError(f"is too short: use at least {MIN_CODE_CHARS} characters")
        return code


class LimitsConfig(Section):
    """`[limits]`: what one client may take."""

    max_connections: int = Field(default=1000, ge=1, le=20_000)
    connects_per_minute: int = Field(default=60, ge=1, description="per address")
    limit_loopback: bool = Field(default=False, description="count this machine's own connections, too")
    messages_per_s: float = Field(default=100, gt=0, le=10_000)
    burst: int = Field(default=200, ge=1, le=100_000)
    queue_messages: int = Field(default=1024, ge=16, le=65_536, description="per connection")
    queue_bytes: int = Field(default=4 << 20, ge=1 << 20, le=1 << 28, description="per connection")
    leave_grace_s: float = Field(default=0, ge=0, le=60)
    duplicate_peer: Literal["allow", "replace"] = "allow"
    send_timeout_s: float = Field(default=20, gt=0, le=300, description="for a client that does not read")
    ping_every_s: float = Field(default=30, gt=0, le=300)
    ping_timeout_s: float = Field(default=10, gt=0, le=300)

    @property
    def machine(self) -> HubLimits:
        """The part of it that the pure machine enforces."""
        return HubLimits(
            max_connections=self.max_connections,
            rate_per_s=self.messages_per_s,
            burst=self.burst,
            leave_grace_s=self.leave_grace_s,
            duplicate_peer=self.duplicate_peer,
        )


class IceServer(Section):
    """`[[ice_server]]`: a STUN or TURN server told to every client."""

    urls: str | tuple[str, ...]
    username: str | None = None
    credential: SecretStr | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        urls = self.urls if isinstance(self.urls, str) else list(self.urls)
        secret = self.credential.get_secret_value() if self.credential else None
        pairs = {"username": self.username, "credential": secret}
        return {"urls": urls} | {k: v for k, v in pairs.items() if v is not None}


class HubConfig(Section):
    """The whole file of `edge-node hub --config FILE`."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535, description="0: a free one")
    key: tuple[PublishableKey, ...] = ()
    secret: tuple[SecretKey, ...] = ()
    dev_key: SecretStr | None = Field(default=None, min_length=1, max_length=128)
    insecure_dev_key: bool = False
    console: ConsoleConfig = ConsoleConfig()
    limits: LimitsConfig = LimitsConfig()
    ice_server: tuple[IceServer, ...] = ()

    @property
    def is_local(self) -> bool:
        """True when only this machine can reach the hub."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def ice_servers(self) -> list[dict[str, Any]]:
        """As `iceServers` in welcome.metadata."""
        return [server.as_json for server in self.ice_server]

    @model_validator(mode="after")
    def _check(self) -> HubConfig:
        for kind, ids in (
            ("key", [k.id.get_secret_value() for k in self.key]),
            ("secret", [s.id for s in self.secret]),
        ):
            if len(set(ids)) < len(ids):
                raise ValueError(f"two tables [[{kind}]] have the same id: give each its own")
        # The client ignores what it cannot use: a hub says so at its start instead.
        if problems := payloads.ice_servers({"iceServers": self.ice_servers})[1]:
            raise ValueError(f'{problems[0]}: write urls like "stun:HOST:PORT" or "turn:HOST:PORT", 16 at most')
        if self.dev_key is not None and not self.is_local and not self.insecure_dev_key:
            raise ValueError(
                f"a development key opens every channel to everybody who reaches {self.host}: "
                "bind to 127.0.0.1, use a [[key]] instead, or add --insecure-dev-key"
            )
        if not self.is_local and not (self.key or self.secret or self.dev_key):
            raise ValueError(f"nobody could connect to {self.host}: add a [[key]] or a [[secret]]")
        return self


def hub_config(values: Mapping[str, Any], origin: str = "hub settings") -> HubConfig:
    """A HubConfig from a nested dict laid out as the TOML file. Raises SettingsError, one sentence per problem."""
    try:
        return HubConfig.model_validate(values)
    except ValidationError as err:
        problems = translate(err.errors(include_url=False), HubConfig)
        raise SettingsError([p.sentence(origin).strip() for p in problems]) from None


def load_config(
    path: Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    dev_key: str | None = None,
    insecure_dev_key: bool = False,
) -> HubConfig:
    """The file's settings with the command line's on top. Raises SettingsError."""
    values: dict[str, Any] = {}
    if path is not None:
        values |= file_layer(path).values
    given = {"host": host, "port": port, "dev_key": dev_key, "insecure_dev_key": insecure_dev_key or None}
    values |= {key: value for key, value in given.items() if value is not None}
    return hub_config(values, str(path) if path else "command line")
