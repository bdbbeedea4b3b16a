"""`edge-node run`."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
from pathlib import Path

from edge_node.cli.common import default_config
from edge_node.errors import UsageError
from edge_node.host import journal
from edge_node.host.systemd import SystemdWatchdog
from edge_node.node.control import server_path
from edge_node.settings import Settings, load

log = logging.getLogger(__name__)


def main(args: argparse.Namespace) -> int:
    """The daemon, until SIGTERM or SIGINT. Raises SettingsError when the settings are wrong."""
    path = args.config or default_config()
    settings = load(path)
    journal.set_up(settings.log.level)
    faulthandler.enable()  # the watchdog's SIGABRT then tells in the journal where every thread was

    def reload() -> Settings:
        fresh = load(path)
        journal.set_up(fresh.log.level)
        return fresh

    from edge_node.node.build import build_node
    from edge_node.node.service import Service

    manager = SystemdWatchdog()
    service = Service(settings, build=build_node, reload=reload, manager=manager, socket=socket_path(args.socket))
    try:
        asyncio.run(service.run())
    finally:
        manager.close()
    return 0


def socket_path(given: Path | None) -> Path | None:
    """A node without a control socket is still a node."""
    if given is not None:
        return given
    try:
        return server_path(os.environ)
    except UsageError as err:
        log.warning("%s", err)
        return None
