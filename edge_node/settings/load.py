"""The way from layers to Settings, or to every problem at once."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_node.errors import SettingsError
from edge_node.settings.identity import default_node_id
from edge_node.settings.layers import Layer, credentials_layer, environment_layer, file_layer, merge
from edge_node.settings.problems import Problem, translate
from edge_node.settings.schema import Settings


def load(
    path: Path | None,
    env: Mapping[str, str] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from `defaults` < TOML file < environment < credentials < `overrides`, the later on top.

    `env` is os.environ unless given. Raises SettingsError with one sentence per problem.
    """
    env = os.environ if env is None else env
    from_env, problems = environment_layer(env)
    layers = [Layer("built in", defaults or {})]
    if path is not None:
        layers.append(file_layer(path))
    layers += [from_env, credentials_layer(env), Layer("command line", overrides or {})]
    return _build(layers, problems)


def from_dict(values: Mapping[str, Any], origin: str = "given") -> Settings:
    """Settings from a nested dict alone, laid out as the TOML file is. Raises SettingsError."""
    return _build([Layer(origin, values)], [])


def json_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of the file."""
    schema = Settings.model_json_schema()
    schema["required"] = ["channel"]
    schema["$defs"]["TelemetrySettings"].pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "edge-node settings"}


def _build(layers: Sequence[Layer], problems: list[str]) -> Settings:
    values, origins = merge(layers)
    _derive(values, origins)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as err:
        found = _all_problems(values, translate(err.errors(), Settings))
        raise SettingsError([*problems, *(p.sentence(_origin(p.key, origins)) for p in found)]) from None
    if problems:
        raise SettingsError(problems)
    settings._origins.update(origins)
    return settings


def _derive(values: dict[str, Any], origins: dict[str, str]) -> None:
    """Fills in what follows from this machine or from other settings."""
    node = values.setdefault("node", {})
    telemetry = values.setdefault("telemetry", {})
    values.setdefault("channel", {})
    if isinstance(node, dict) and "id" not in node:
        node["id"] = default_node_id()
        origins["node.id"] = "machine id"
    if isinstance(telemetry, dict) and "channel" not in telemetry:
        telemetry["channel"] = f"telemetry/{node.get('id') if isinstance(node, dict) else default_node_id()}"
        origins["telemetry.channel"] = "node.id"


def _all_problems(values: Mapping[str, Any], found: list[Problem]) -> list[Problem]:
    """What is wrong beyond the first look.

    pydantic skips a table's own check while one of its keys is wrong: so wrong keys go, a missing channel name gets a
    stand-in, and the table is looked at again. Once a key went, complaints about what is absent are no news.
    """
    rest = copy.deepcopy(dict(values))
    problems = list(found)
    for _ in range(4):  # keys, then tables, then the whole
        for problem in found:
            if problem.key == "channel.name" and problem.absent:
                rest["channel"]["name"] = "stand-in"
            elif not problem.absent:
                _remove(rest, problem.key.split("."))
        try:
            Settings.model_validate(rest)
            break
        except ValidationError as err:
            known = {problem.key for problem in problems}
            intact = all(problem.absent for problem in problems)
            found = [p for p in translate(err.errors(), Settings) if p.key not in known and (intact or not p.absent)]
            problems += found
    return problems


def _remove(values: Any, path: Sequence[str]) -> None:
    for part in path[:-1]:
        values = values[int(part)] if isinstance(values, list) else values.get(part, {})
    if isinstance(values, dict):
        values.pop(path[-1], None)


def _origin(key: str, origins: Mapping[str, str]) -> str | None:
    """The origin of a key, or of the table or list it is in; None for what nobody wrote."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if (origin := origins.get(".".join(parts[:length]))) is not None:
            return origin
    return None
