"""The settings of a node, frozen, from a TOML file, the environment, then systemd credentials."""

from __future__ import annotations

from edge_node.protocol.secrets import scrub
from edge_node.settings.load import CREDENTIAL_KEYS, from_dict, json_schema, load
from edge_node.settings.schema import (
    AudioSettings,
    ButtonSettings,
    CallSettings,
    ChannelSettings,
    DoorSettings,
    GpioSettings,
    InputSettings,
    LedSettings,
    LogSettings,
    NodeSettings,
    RelaySettings,
    RuleSettings,
    Settings,
    SwitchSettings,
    TelemetrySettings,
    VideoSettings,
)

__all__ = [
    "CREDENTIAL_KEYS",
    "AudioSettings",
    "ButtonSettings",
    "CallSettings",
    "ChannelSettings",
    "DoorSettings",
    "GpioSettings",
    "InputSettings",
    "LedSettings",
    "LogSettings",
    "NodeSettings",
    "RelaySettings",
    "RuleSettings",
    "Settings",
    "SwitchSettings",
    "TelemetrySettings",
    "VideoSettings",
    "from_dict",
    "json_schema",
    "load",
    "scrub",
]
