"""`edge-node run`."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edge_node.aio.tasks import cancel_and_wait
from edge_node.cli.common import default_config
from edge_node.errors import SettingsError, UsageError
from edge_node.host import journal, memory
from edge_node.host.systemd import SystemdWatchdog
from edge_node.node.control import server_path
from edge_node.node.start import NORMAL, Start
from edge_node.realtime.no_mdns import leave_mdns_out
from edge_node.settings import Settings, load
from edge_node.update.faults import SAFE_MODE_FAILURES, Faults
from edge_node.update.slots import Slots, this_python

log = logging.getLogger(__name__)

SAFE_MODE_S = 900.0
"""Then everything is tried again: what broke it may be gone."""
TOLD_UPDATE = "told-update"
TRIAL_LOOK_S = 2.0


def main(args: argparse.Namespace) -> int:
    """The daemon, until SIGTERM or SIGINT. Raises SettingsError when the settings are wrong."""
    memory.keep_little()
    leave_mdns_out()
    path = args.config or default_config()
    manager = SystemdWatchdog()
    try:
        settings = load(path)
        journal.set_up(settings.log.level)
        faulthandler.enable()  # the watchdog's SIGABRT then tells in the journal where every thread was
        asyncio.run(_serve(settings, path, manager, args.socket))
    except SettingsError as err:
        manager.status(f"wrong settings, edge-node config check explains: {err}")
        raise
    finally:
        manager.close()
    return 0


async def _serve(settings: Settings, path: Path, manager: SystemdWatchdog, socket: Path | None) -> None:
    from edge_node.node.build import build_node
    from edge_node.node.node import Node
    from edge_node.node.service import Service

    def reload() -> Settings:
        fresh = load(path)
        journal.set_up(fresh.log.level)
        return fresh

    root = slots_root(Path(sys.prefix))
    start = NORMAL if root is None else how_it_starts(root, os.environ)

    def build(settings: Settings) -> Node:
        nonlocal start
        node = build_node(settings, start)
        start = replace(start, update=None)  # a reload is no start: it was told
        return node

    service = Service(settings, build=build, reload=reload, manager=manager, socket=socket_path(socket))
    if start.safe_mode is not None:
        asyncio.get_running_loop().call_later(SAFE_MODE_S, service.stop)
    beside = [asyncio.create_task(memory.give_back_for_ever(), name="memory")]
    if root is not None:
        tell = _tell_acceptance(root, os.environ, lambda sentence: service.node.tell_update(sentence))
        beside.append(asyncio.create_task(tell, name="trial"))
    try:
        await service.run()
    finally:
        for task in beside:
            await cancel_and_wait(task)


def slots_root(prefix: Path) -> Path | None:
    """The folder of the slots, when this Python's prefix is the environment of one of them."""
    slots = prefix.resolve().parent.parent
    return slots.parent if slots.name == "slots" else None


def how_it_starts(root: Path, env: Mapping[str, str]) -> Start:
    """What the starts and updates before this one came to; told in the journal, an update once."""
    failures = Faults(root).failures
    safe_mode = None
    if failures >= SAFE_MODE_FAILURES:
        safe_mode = (
            f"{failures} failures in a row; all is tried again in {SAFE_MODE_S / 60:g} minutes, "
            "or by: systemctl restart edge-node"
        )
        log.error("safe mode after %d failures in a row", failures, extra={"event": "service.safe_mode"})
    slots = Slots(root, this_python())
    update, pending, left = _last_update(root, env), slots.pending(), slots.left()
    # Told as long as it lasts; once both versions have failed the newer one runs, as it would have.
    failed = None if left is None or left.last else str(left)
    if pending is not None and pending.verdict is None:
        log.info("update: %s is on trial", pending.version, extra={"event": "update.trial"})
        return Start(safe_mode, failed, f"{pending.version} is on trial")
    if update is None:
        return Start(safe_mode, failed)
    sentence, good = update
    return Start(safe_mode, failed if good else sentence, sentence)


async def _tell_acceptance(root: Path, env: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Waits while this version is on trial. That it was not accepted is told by the version which comes after it."""
    slots = Slots(root, this_python())
    if slots.pending() is None:
        return
    while slots.pending() is not None:  # noqa: ASYNC110  (a file that another process writes)
        await asyncio.sleep(TRIAL_LOOK_S)
    history = slots.history()
    if history and history[-1]["outcome"] == "accepted" and (told := _last_update(root, env)) is not None:
        tell(told[0])


def _last_update(root: Path, env: Mapping[str, str]) -> tuple[str, bool] | None:
    """What became of it, whether it was kept; None when that was told already."""
    history = Slots(root, this_python()).history()
    folder = env.get("STATE_DIRECTORY", "").split(":")[0]
    if not history or not folder:
        return None
    last, told = history[-1], Path(folder) / TOLD_UPDATE
    try:
        if told.exists() and told.read_text() == str(last["id"]):
            return None
        told.write_text(str(last["id"]))
    except OSError as err:
        log.warning("%s cannot be written: %s", told, err)
    good = last["outcome"] == "accepted"
    sentence = f"{last['version']} {last['outcome']}" + (f": {last['reason']}" if last["reason"] else "")
    log.log(logging.INFO if good else logging.WARNING, "update: %s", sentence, extra={"event": "update.outcome"})
    return sentence, good


def socket_path(given: Path | None) -> Path | None:
    """A node without a control socket is still a node."""
    if given is not None:
        return given
    try:
        return server_path(os.environ)
    except UsageError as err:
        log.warning("%s", err)
        return None
