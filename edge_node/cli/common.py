"""What several commands need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DEFAULT_CONFIG = Path("/etc/edge-node/edge-node.toml")


def default_config(env: Mapping[str, str] | None = None) -> Path:
    """Where the settings are unless --config says otherwise: systemd's ConfigurationDirectory=, else /etc."""
    directory = (os.environ if env is None else env).get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    return Path(directory) / DEFAULT_CONFIG.name if directory else DEFAULT_CONFIG


def config_or_none(given: Path | None) -> Path | None:
    """The file to read; None when none was named and none is in its place: the environment may say everything."""
    if given is not None:
        return given
    path = default_config()
    return path if path.exists() else None


def printable(text: str, most: int = 200) -> str:
    """Text from others without anything that could drive a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text[:most])
