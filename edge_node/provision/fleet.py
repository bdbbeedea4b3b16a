"""Many devices from one file of what they share, one table of what they do not."""

from __future__ import annotations

import csv
import getpass
import io
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError

from edge_node.errors import SettingsError
from edge_node.provision.card import CA_ON_DEVICE, Card, Format
from edge_node.settings import checks
from edge_node.settings.problems import sentences
from edge_node.settings.section import Section

COLUMNS = ("id", "name", "hostname", "channel", "role", "wifi")
CLAIM_COLUMNS = ("node", "code", "expires")
MAX_ROWS = 10_000
MAX_FILE_BYTES = 8 << 20
_SECRET = re.compile(r"@(env|file|prompt)(?::(.+))?")

TEMPLATE = """\
# What all devices of a fleet have in common. Nothing secret stands here: "@env:NAME", "@file:PATH" or "@prompt" say
# where it comes from. Columns of the fleet's table: id,name,hostname,channel,role,wifi; only id is needed.

[card]
format = "cloud-init"            # cloud-init (2025-11 and later) | firstrun (Bookworm) | rpi-preseed |
                                 # edge-node (made by edge-node image build: then without [user])
timezone = "Europe/Berlin"
keymap = "de"
country = "DE"                   # whose radio rules Wi-Fi follows

[user]                           # leave out: nobody can log in
name = "keeper"
ssh_keys = ["@file:~/.ssh/id_ed25519.pub"]
# password_hash = "@file:keeper.hash"       # made by: openssl passwd -6

[wifi.default]                   # leave out: cable only; more networks: [wifi.NAME] with NAME in the column wifi
ssid = "Doors"
security = "wpa2"                # wpa2 | wpa3 | open
password = "@prompt"

[hub]                            # leave out for Metered's service: then give [settings.channel] an api_key or token_url
url = "wss://hub.example:9292"
ca_file = "ca.crt"               # the hub's own authority (http://HUB:9293/ca.crt); or ca_sha256, its fingerprint

[settings.node]                  # from here on as in edge-node.toml, see README.md, "Settings"
role = "door"

[[settings.gpio.button]]
name = "call"
pin = "GPIO17"

[[settings.gpio.led]]
name = "status"
pin = "GPIO27"

[[settings.gpio.relay]]
name = "door"
pin = "GPIO22"

[settings.door]
allow = ["resident-*"]
"""
CSV_TEMPLATE = ",".join(COLUMNS) + "\ngate-1,Front gate,gate-1,home/gate-1,door,default\n"


class _CardDefaults(Section):
    format: Format = "cloud-init"
    timezone: str = "UTC"
    keymap: str = "us"
    country: str | None = None


class _HubPart(Section):
    url: Annotated[str, AfterValidator(checks.origin)]
    ca_file: Path | None = None
    ca_sha256: str | None = None


class Fleet(Section):
    """The shared part."""

    card: _CardDefaults = _CardDefaults()
    user: dict[str, Any] | None = None
    wifi: dict[str, dict[str, Any]] = Field(default_factory=dict)
    hub: _HubPart | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One device's own values, with where they stand."""

    where: str
    values: Mapping[str, str]


@dataclass(slots=True)
class Secrets:
    """Looks up `@env:NAME`, `@file:PATH`, `@prompt`; each once. Paths are relative to the fleet's file."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    ask: Callable[[str], str] = getpass.getpass
    _known: dict[tuple[str, str], str] = field(default_factory=dict)

    def put_in(self, value: Any, key: str = "") -> Any:
        """The value with every reference replaced, tables and lists included. Raises SettingsError."""
        if isinstance(value, Mapping):
            return {name: self.put_in(inner, f"{key}.{name}" if key else name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.put_in(item, key) for item in value]
        found = _SECRET.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return value
        place = (value, key if found[1] == "prompt" else "")
        if place not in self._known:
            self._known[place] = self._look_up(found[1], found[2], key)
        return self._known[place]

    def _look_up(self, kind: str, name: str | None, key: str) -> str:
        if kind == "prompt":
            try:
                return self.ask(f"{key}: ")
            except EOFError:
                raise SettingsError(f'{key} is asked for, and nobody is there to type it: write "@env:NAME"') from None
        if not name:
            raise SettingsError(f'{key} is "@{kind}", which names nothing: write "@{kind}:…"')
        if kind == "env":
            if not self.env.get(name):
                raise SettingsError(f"{key} comes from the variable {name}, which is not set: export it")
            return self.env[name]
        path = self.folder / _at_home(Path(name), key)
        return read_text(path, f"{key} comes from {path}").strip()


def _at_home(path: Path, key: str) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise SettingsError(f"{key} is {path}, whose ~ is nobody's home: write its path in full") from None


def read_text(path: Path, what: str) -> str:
    """A file's text. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise SettingsError(f"{what}, which is too large: name another file")
        return raw.decode("utf-8-sig")
    except OSError as err:
        raise SettingsError(f"{what}, which cannot be read ({err.strerror}): check its path") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{what}, which is no UTF-8 text: save it as UTF-8") from None


def read_fleet(path: Path) -> Fleet:
    """The shared part, secrets still as references. Raises SettingsError."""
    try:
        values = tomllib.loads(read_text(path, f"the fleet is in {path}"))
        fleet = Fleet.model_validate(values)
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(f"{path} is no valid TOML: {err}: correct it") from None
    except ValidationError as err:
        raise SettingsError(sentences(err, Fleet, str(path))) from None
    literal = [
        f'{key} stands in clear in {path}: write "@env:NAME", "@file:PATH" or "@prompt"'
        for key, value in _secrets_of(fleet)
        if not (isinstance(value, str) and _SECRET.fullmatch(value))
    ]
    if literal:
        raise SettingsError(literal)
    return fleet


def _secrets_of(fleet: Fleet) -> list[tuple[str, Any]]:
    found = [(f"wifi.{name}.password", wifi["password"]) for name, wifi in fleet.wifi.items() if "password" in wifi]
    channel = fleet.settings.get("channel")
    if isinstance(channel, dict):
        found += [(f"settings.channel.{key}", channel[key]) for key in ("api_key", "token") if key in channel]
    if fleet.user and "password_hash" in fleet.user:
        found.append(("user.password_hash", fleet.user["password_hash"]))
    return found


def read_rows(path: Path) -> list[Row]:
    """The table's rows. Raises SettingsError for a header that is none, or a row that does not fit it."""
    text = read_text(path, f"the table is {path}")
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        table = list(reader) if text.strip() else []
    except csv.Error as err:
        raise SettingsError(
            f"{path} row {reader.line_num}: {err}: look for a quotation mark without its pair"
        ) from None
    if not table:
        raise SettingsError(f"{path} is empty: begin with a line {','.join(COLUMNS)}")
    header = [name.strip() for name in table[0]]
    problems = [
        f'{path} row 1: "{name}" is no column{checks.did_you_mean(name, COLUMNS)}: known are {", ".join(COLUMNS)}'
        for name in header
        if name not in COLUMNS
    ]
    problems += [f"{path} row 1: the column {name} is there twice" for name in COLUMNS if header.count(name) > 1]
    if "id" not in header:
        problems.append(f"{path} row 1: the column id is missing")
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problems.append(f"{path} row {number}: has {len(cells)} cells, but there are {len(header)} columns")
            continue
        values = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
        rows.append(Row(f"{path} row {number}", values))
    if not rows and not problems:
        problems.append(f"{path} has no devices: add a line for each")
    if len(rows) > MAX_ROWS:
        problems.append(f"{path} has {len(rows)} devices and may have {MAX_ROWS}: split it")
    if problems:
        raise SettingsError(problems)
    return rows


def read_claims(path: Path, now_wall: float) -> dict[str, str]:
    """Codes by node, the last of each, expired ones left out. Raises SettingsError."""
    text = read_text(path, f"the claims are in {path}")
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error:
        rows = []
    if not rows or tuple(rows[0]) != CLAIM_COLUMNS:
        raise SettingsError(f"{path} is no file of claims: make one with edge-node hub claim new --out {path.name}")
    fit = [row for row in rows[1:] if len(row) == len(CLAIM_COLUMNS) and row[2].isdigit()]
    if len(fit) < len(rows) - 1:
        raise SettingsError(f"{path} has lines that are no claims: make it anew with edge-node hub claim new")
    return {node: code for node, code, expires in fit if int(expires) > now_wall}


def build(fleet: Fleet, rows: Sequence[Row], claims: Mapping[str, str], secrets: Secrets) -> list[Card]:
    """A card for each row. Raises SettingsError with every problem of every row; then nothing is to be written."""
    shared = secrets.put_in(fleet.model_dump(exclude_none=True))
    authority = _authority(fleet, secrets.folder)
    cards: list[Card] = []
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for row in rows:
        found = _card(fleet, shared, row, claims, authority)
        if not isinstance(found, Card):
            problems += [f"{row.where}: {problem}" for problem in found]
            continue
        for key in (("id", found.id.lower()), ("hostname", found.hostname)):
            first = seen.setdefault(key, row.where)
            if first != row.where:
                problems.append(f'{row.where}: {key[0]} "{key[1]}" is taken by row {first.rpartition(" ")[2]} already')
        cards.append(found)
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))
    return cards


def _authority(fleet: Fleet, folder: Path) -> str | None:
    if fleet.hub is None or fleet.hub.ca_file is None:
        return None
    path = folder / _at_home(fleet.hub.ca_file, "hub.ca_file")
    return read_text(path, f"hub.ca_file is {path}").strip() + "\n"


def _card(
    fleet: Fleet, shared: Mapping[str, Any], row: Row, claims: Mapping[str, str], authority: str | None
) -> Card | list[str]:
    given = row.values
    if not (node := given.get("id")):
        return ["the id is missing"]
    if (network := given.get("wifi", "default")) not in fleet.wifi and ("wifi" in given or fleet.wifi):
        known = ", ".join(fleet.wifi) or "none"
        return [f'wifi "{network}" is not in the fleet\'s file, known are {known}: add a table [wifi.{network}]']
    values: dict[str, Any] = {**shared.get("card", {}), "id": node}
    values["hostname"] = given.get("hostname", node.lower().replace("_", "-").replace(".", "-"))
    values |= {"wifi": shared["wifi"][network]} if network in fleet.wifi else {}
    values |= {"user": shared["user"]} if fleet.user is not None else {}
    values["settings"] = _settings(fleet, shared, given, node, authority)
    if fleet.hub is not None:
        if node not in claims:
            return [
                f"there is no valid claim for {node}: edge-node hub claim new {node} --out FILE, then --claims FILE"
            ]
        claim = {"hub": fleet.hub.url, "node": node, "code": SecretStr(claims[node])}
        claim |= {"ca": authority} if authority else {}
        values["claim"] = claim | ({"ca_sha256": fleet.hub.ca_sha256} if fleet.hub.ca_sha256 else {})
    try:
        return Card.model_validate(values)
    except ValidationError as err:
        return sentences(err, Card)


def _settings(
    fleet: Fleet, shared: Mapping[str, Any], given: Mapping[str, str], node: str, authority: str | None
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in shared.get("settings", {}).items()
    }
    part, channel = settings.get("node", {}), settings.get("channel", {})
    if not isinstance(part, dict) or not isinstance(channel, dict):
        return settings  # Card says what is wrong with it
    named = {key: given[key] for key in ("name", "role") if key in given}
    name = {"name": given["channel"]} if "channel" in given else {}
    hub: dict[str, Any] = {}
    if fleet.hub is not None:
        hub = {"url": fleet.hub.url, "enrolled": True}
        hub |= {"ca_file": CA_ON_DEVICE} if authority or fleet.hub.ca_sha256 else {}
    head = {"node": {"id": node, **part, **named}, "channel": {"name": f"home/{node}", **channel, **name, **hub}}
    return head | {key: value for key, value in settings.items() if key not in head}
