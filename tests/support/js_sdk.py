"""The official JavaScript SDK from npm, installed once per pinned set of versions outside the checkout."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.browser import node_js
from tests.support.process import run_once

PINNED = {"@metered-ca/realtime": "1.2.0", "@roamhq/wrtc": "0.10.0", "ws": "8.18.3"}
INSTALL = (
    "install --no-audit --no-fund --no-update-notifier --ignore-scripts --no-package-lock --loglevel=error "
    "--fetch-retries=1 --fetch-timeout=20000"
)
INSTALL_TIMEOUT_S = 90.0
OLDEST_NODE = 18
_failures: list[str] = []  # of this run: one attempt is enough


def folder() -> Path:
    """Where the pinned packages live; each set of versions has its own folder."""
    digest = hashlib.sha256(json.dumps(PINNED, sort_keys=True).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "edge-node" / f"interop-{digest}"


async def installed() -> Path:
    """The folder with node_modules in it, installed on first use; skips the test where that cannot be."""
    target = folder()
    if (target / "node_modules").is_dir():
        return target
    if _failures:
        pytest.skip(_failures[0])
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: the official JavaScript SDK cannot be fetched")
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not (target / "node_modules").is_dir():
            await _install(target)
    return target


async def _install(target: Path) -> None:
    """Installs next to the target first, so that a broken attempt leaves nothing that looks installed."""
    attempt = target / "attempt"
    shutil.rmtree(attempt, ignore_errors=True)
    attempt.mkdir()
    package = {"name": "edge-node-interop", "private": True, "dependencies": PINNED}
    for place in (attempt, target):
        (place / "package.json").write_text(json.dumps(package))
    try:
        status, _, said = await run_once("npm", *INSTALL.split(), "--prefix", str(attempt), timeout_s=INSTALL_TIMEOUT_S)
    except TimeoutError:
        status, said = 1, f"no end after {INSTALL_TIMEOUT_S:.0f} s"
    if status != 0:
        first = said.partition("\n")[0]
        _failures.append(f"npm could not install the official JavaScript SDK: {first}")
        pytest.skip(_failures[0])
    (attempt / "node_modules").rename(target / "node_modules")


async def node() -> str:
    """Node's program file; skips the test where it is too old."""
    found = node_js()
    _, version, _ = await run_once(found, "--version")
    if int(version.strip().lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version.strip()} is too old: the official JavaScript SDK needs {OLDEST_NODE}")
    return found
