"""Where settings come from, one layer over the other."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge_node.errors import SettingsError
from edge_node.settings import checks
from edge_node.settings.problems import inner_model, known_keys
from edge_node.settings.schema import CREDENTIAL_KEYS, Settings

PREFIX = "EDGE_NODE_"
SYSTEMD_CREDENTIALS = {
    "api_key": ("channel", "api_key"),
    "token": ("channel", "token"),
    "agent_api_key": ("agent", "api_key"),
}
MAX_CREDENTIAL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Layer:
    """Values as a nested dict, and what to call their origin; `names` gives a better one for single keys."""

    origin: str
    values: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)


def file_layer(path: Path) -> Layer:
    """A TOML file. Raises SettingsError when it cannot be read or is no TOML."""
    try:
        return Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist: create it, or name another with --config") from None
    except OSError as err:
        raise SettingsError(f"{path} cannot be read ({err.strerror}): check its path and permissions") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is no UTF-8 text: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(f"{path} is no valid TOML: {str(err)[:1].lower()}{str(err)[1:]}: correct it") from None


def environment_layer(env: Mapping[str, str]) -> tuple[Layer, list[str]]:
    """`EDGE_NODE_SECTION__KEY=value`, lists and tables as JSON; with one sentence per variable that means nothing.

    A variable without `__` that resembles no section belongs to somebody else and is left alone.
    """
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    problems: list[str] = []
    for name in sorted(env):
        if not name.startswith(PREFIX):
            continue
        path = name.removeprefix(PREFIX).lower().split("__")
        if len(path) == 1 and path[0] not in Settings.model_fields:
            if path[0].split("_")[0] in Settings.model_fields:
                problems.append(f"{name} is no setting: write {PREFIX}{path[0].upper().replace('_', '__', 1)}")
            continue
        if path[-1] not in (known := known_keys(path[:-1], Settings)):
            problems.append(f"{name} is no setting{_variable_hint(path, known)}")
            continue
        try:
            _put(values, path, _parsed(path, env[name]))
        except ValueError:
            problems.append(f'{name} has to be JSON: write for example \'["a", "b"]\'')
        names[".".join(path)] = name
    return Layer("environment", values, names), problems


def _variable_hint(path: Sequence[str], known: Sequence[str]) -> str:
    if not known:
        if guess := checks.did_you_mean(path[0], Settings.model_fields):
            return guess
        return ": unset it"
    return checks.did_you_mean(path[-1], known) or f": known in [{path[0]}] are {', '.join(sorted(known))}"


def _parsed(path: Sequence[str], text: str) -> Any:
    """Tables and lists are JSON, except a command, which may be words as in a shell."""
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        model = inner_model(model.model_fields[part].annotation) or model
    annotation = model.model_fields[path[-1]].annotation
    compound = inner_model(annotation) is not None or "tuple" in str(annotation) or "dict" in str(annotation)
    if compound and (text.lstrip()[:1] in ("[", "{") or path[-1] != "token_command"):
        return json.loads(text)
    return text


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ValueError
        values = inner
    values[path[-1]] = value


def credentials_layer(env: Mapping[str, str]) -> Layer:
    """Those of SYSTEMD_CREDENTIALS under $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=)."""
    directory = env.get("CREDENTIALS_DIRECTORY")
    values: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for name, (table, key) in SYSTEMD_CREDENTIALS.items() if directory else ():
        path = Path(directory or "") / name
        try:
            with path.open("rb") as file:
                text = file.read(MAX_CREDENTIAL_BYTES).decode().strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            raise SettingsError(f"the credential {path} cannot be read: check LoadCredential= in the unit") from None
        if text:
            values.setdefault(table, {})[key] = text
            names[f"{table}.{key}"] = f"credential {name}"
    return Layer("credentials", values, names)


def merge(layers: Sequence[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """All layers as one nested dict, later ones on top, with the origin of each key.

    Lists are replaced as a whole. A credential replaces those of the layers below, whatever their kind.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        given, below = layer.values.get("channel"), values.get("channel")
        if isinstance(given, Mapping) and isinstance(below, dict) and any(key in given for key in CREDENTIAL_KEYS):
            for key in CREDENTIAL_KEYS:
                below.pop(key, None)
                origins.pop(f"channel.{key}", None)
        for path, value in _flat((), layer.values):
            key = ".".join(path)
            _overlay(values, path, value)
            origins[key] = layer.names.get(key, layer.origin)
    return values, origins


def _overlay(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    if value == {} and path[-1] in values:
        return
    values[path[-1]] = copy.deepcopy(value)


def _flat(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value and len(path) < 1:
            yield from _flat((*path, key), value)
        else:
            yield (*path, key), value
