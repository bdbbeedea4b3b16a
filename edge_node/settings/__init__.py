"""The settings of a node, frozen, from a TOML file, the environment, then systemd credentials."""

from __future__ import annotations

from edge_node.settings.gpio import GpioSettings
from edge_node.settings.load import from_dict, json_schema, load
from edge_node.settings.schema import Settings

__all__ = ["GpioSettings", "Settings", "from_dict", "json_schema", "load"]
