"""The hub's own settings, frozen."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator

from edge_node.errors import SettingsError
from edge_node.hub.ice import IceServer
from edge_node.protocol import payloads
from edge_node.protocol.addresses import is_loopback
from edge_node.protocol.grants import Scope, scope
from edge_node.protocol.hub_events import HubLimits
from edge_node.protocol.names import channel_problem
from edge_node.protocol.patterns import pattern_problem
from edge_node.settings.layers import file_layer
from edge_node.settings.problems import sentences
from edge_node.settings.section import Section

DEFAULT_PORT = 9292
# RFC 7518 section 3.2: the key of HS256 has at least the size of the hash.
MIN_SECRET_CHARS = 32
MIN_CODE_CHARS = 12
MAX_KEYS = 50
KEY_FILE = "keys.json"
Permission = Literal["publish", "subscribe", "presence", "send"]


def _channel(text: str) -> str:
    if problem := channel_problem(text):
        raise ValueError(f"is no channel name: {problem}")
    return text


def _pattern(text: str) -> str:
    if problem := pattern_problem(text):
        raise ValueError(f"is no channel pattern: {problem}")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no address: write for example 127.0.0.1 or 192.168.0.0/24") from None
    return text


def _long(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_SECRET_CHARS:
        raise ValueError(f"is too short: use at least {MIN_SECRET_CHARS} random characters")
    return secret


ChannelName = Annotated[str, AfterValidator(_channel)]
ChannelPattern = Annotated[str, AfterValidator(_pattern)]
SigningSecret = Annotated[SecretStr, AfterValidator(_long)]


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
    secret: SigningSecret


class KeysConfig(Section):
    """`[keys]`: the file of `edge-node hub key`."""

    file: Path | None = Field(default=None, description="default: keys.json in the state directory")


class TlsConfig(Section):
    """`[tls]`: https and wss in place of http and ws."""

    certificate: Path | None = Field(default=None, description="a PEM file, the chain included")
    key: Path | None = Field(default=None, description="the certificate's private key, PEM")
    self_made: bool = Field(default=False, description="an authority of this hub's own; devices install its /ca.crt")
    names: tuple[str, ...] = Field(default=(), description="more names or addresses for a self-made certificate")
    http_port: int | None = Field(
        default=None, ge=0, le=65_535, description="plain http: hands out /ca.crt, sends the rest to https"
    )

    @property
    def enabled(self) -> bool:
        return self.self_made or self.certificate is not None

    @model_validator(mode="after")
    def _one_way(self) -> TlsConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("needs certificate and key together: name both files")
        if self.self_made and self.certificate is not None:
            raise ValueError("has self_made = true beside a certificate: keep one of the two")
        if not self.enabled and (self.names or self.http_port is not None):
            raise ValueError("has no certificate: name certificate and key, or set self_made = true")
        return self


class ProxyConfig(Section):
    """`[proxy]`: who may say on whose behalf it asks."""

    trusted: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=(), description="addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )


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
    header_timeout_s: float = Field(default=15, gt=0, le=300, description="for a request to arrive, or the next one")
    rest_per_minute: int = Field(default=600, ge=1, le=1_000_000, description="control plane requests per secret")
    messages_per_period: int | None = Field(default=None, ge=1, description="of all clients; absent: no limit")
    period_s: float = Field(default=30 * 86_400, ge=1, le=366 * 86_400)
    return_spread_s: float | None = Field(
        default=None, ge=0, le=299, description="clients come back over this time; absent: 50 a second"
    )

    @property
    def machine(self) -> HubLimits:
        """The part of it that the pure machine enforces."""
        return HubLimits(
            max_connections=self.max_connections,
            rate_per_s=self.messages_per_s,
            burst=self.burst,
            leave_grace_s=self.leave_grace_s,
            duplicate_peer=self.duplicate_peer,
            quota=self.messages_per_period,
            period_s=self.period_s,
        )


class HubConfig(Section):
    """The whole file of `edge-node hub --config FILE`."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535, description="0: a free one")
    state_dir: Path | None = Field(default=None, description="default: systemd's, or ~/.local/state/edge-node/hub")
    key: tuple[PublishableKey, ...] = ()
    secret: tuple[SecretKey, ...] = ()
    keys: KeysConfig = KeysConfig()
    dev_key: SecretStr | None = Field(default=None, min_length=1, max_length=128)
    insecure_dev_key: bool = False
    console: ConsoleConfig = ConsoleConfig()
    limits: LimitsConfig = LimitsConfig()
    ice_server: tuple[IceServer, ...] = ()
    tls: TlsConfig = TlsConfig()
    proxy: ProxyConfig = ProxyConfig()

    @property
    def is_local(self) -> bool:
        """True when only this machine can reach the hub."""
        return is_loopback(self.host)

    def ice_servers(self, peer_id: str, now_wall: float) -> list[dict[str, Any]]:
        """As `iceServers` in welcome.metadata, for this peer."""
        return [server.as_json(peer_id, now_wall) for server in self.ice_server]

    @model_validator(mode="after")
    def _check(self) -> HubConfig:
        for kind, ids in (
            ("key", [k.id.get_secret_value() for k in self.key]),
            ("secret", [s.id for s in self.secret]),
        ):
            if len(set(ids)) < len(ids):
                raise ValueError(f"two tables [[{kind}]] have the same id: give each its own")
        if len(self.key) + len(self.secret) > MAX_KEYS:
            raise ValueError(f"there are {len(self.key) + len(self.secret)} keys and at most {MAX_KEYS} may be")
        # The client ignores what it cannot use: a hub says so at its start instead.
        if problems := payloads.ice_servers({"iceServers": self.ice_servers("p" * 128, 0)})[1]:
            raise ValueError(f'{problems[0]}: write urls like "stun:HOST:PORT" or "turn:HOST:PORT", 16 at most')
        if self.dev_key is not None and not self.is_local and not self.insecure_dev_key:
            raise ValueError(
                f"a development key opens every channel to everybody who reaches {self.host}: "
                "bind to 127.0.0.1, use a [[key]] instead, or add --insecure-dev-key"
            )
        if self.tls.self_made and self.state_dir is None:
            raise ValueError("a self-made certificate needs a place: set state_dir")
        return self


def hub_config(values: Mapping[str, Any], origin: str = "hub settings") -> HubConfig:
    """A HubConfig from a nested dict laid out as the TOML file. Raises SettingsError, one sentence per problem."""
    try:
        return HubConfig.model_validate(values)
    except ValidationError as err:
        raise SettingsError(sentences(err, HubConfig, origin)) from None


def default_state_dir(env: Mapping[str, str] | None = None) -> Path:
    """Where the hub keeps its keys: systemd's StateDirectory=, root's, or the user's (XDG base directories)."""
    env = os.environ if env is None else env
    if given := env.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/edge-node/hub")
    return Path(env.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "edge-node/hub"


def load_config(
    path: Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    dev_key: str | None = None,
    insecure_dev_key: bool = False,
) -> HubConfig:
    """The file's settings with the command line's on top, state and keys in their usual place. Raises SettingsError."""
    values: dict[str, Any] = {}
    if path is not None:
        values |= file_layer(path).values
    given = {"host": host, "port": port, "dev_key": dev_key, "insecure_dev_key": insecure_dev_key or None}
    values |= {key: value for key, value in given.items() if value is not None}
    config = hub_config({"state_dir": default_state_dir()} | values, str(path) if path else "command line")
    return config if config.keys.file else _with_key_file(config)


def _with_key_file(config: HubConfig) -> HubConfig:
    assert config.state_dir is not None
    return config.model_copy(update={"keys": KeysConfig(file=config.state_dir / KEY_FILE)})
