"""What a running hub reads again: its key file, its certificate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_node.errors import SettingsError
from edge_node.hub.files import is_exposed, stamp
from edge_node.hub.key_file import StoredKey, read_keys
from edge_node.hub.tls import Certificates

log = logging.getLogger(__name__)

EVERY_S = 1.0


class Reloader:
    """Looks once a second whether a file changed. What cannot be read changes nothing, and is told once."""

    def __init__(
        self,
        key_file: Path | None,
        adopt: Callable[[Sequence[StoredKey]], None],
        certificates: Certificates | None,
        look_at_devices: Callable[[bool], None] = lambda at_once: None,
    ) -> None:
        self._key_file = key_file
        self._adopt = adopt
        self._certificates = certificates
        self._look_at_devices = look_at_devices
        self._stamp = stamp(key_file) if key_file else None
        if key_file and is_exposed(key_file):
            log.warning("others can read %s: chmod 600 %s", key_file, key_file)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.look()

    def look(self, at_once: bool = False) -> None:
        """Takes over what changed; everything when `at_once`."""
        if self._certificates is not None:
            self._certificates.refresh(at_once)
        self._look_at_devices(at_once)
        if self._key_file is None:
            return
        found = stamp(self._key_file)
        if found == self._stamp and not at_once:
            return
        self._stamp = found
        try:
            keys = read_keys(self._key_file)
        except SettingsError as err:
            log.warning("the keys in use stay: %s", err)
        else:
            self._adopt(keys)
