"""Puts a bundle into a slot, without the network."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_node.errors import EdgeNodeError
from edge_node.update.bundle import Bundle, BundleRefused, Manifest, version_key
from edge_node.update.commands import credentials, run
from edge_node.update.slots import Slots

SPARE_BYTES = 64 << 20
GROWTH = 4
"""Wheels are compressed: an unpacked slot with its bundle has taken less than four times the bundle."""
REQUIREMENTS = "requirements.txt"
WHEELS = Path("/usr/share/python-wheels")

Tell = Callable[[str], None]


def check(
    slots: Slots, manifest: Manifest, size: int, *, downgrade: bool = False, arch: str = platform.machine()
) -> None:
    """Whether this machine takes such a bundle now. Raises BundleRefused; nothing has been touched then."""
    if manifest.arch not in ("any", arch):
        raise BundleRefused(f"the bundle is for {manifest.arch}, this machine is {arch}: get the one for {arch}")
    if manifest.python != slots.python:
        raise BundleRefused(
            f"the bundle is for Python {manifest.python}, this system has {slots.python}: get the one for that"
        )
    floor, runs = slots.floor(), slots.accepted().get("version")
    if version_key(manifest.version) < version_key(floor):
        raise BundleRefused(
            f"version {manifest.version} is below {floor}, the lowest that is still safe: get a newer one"
        )
    if runs and not downgrade and version_key(manifest.version) < version_key(runs):
        raise BundleRefused(
            f"version {manifest.version} is older than {runs}, which runs: use --allow-downgrade to go back"
        )
    free, wanted = shutil.disk_usage(slots.root).free, size * GROWTH + SPARE_BYTES
    if free < wanted:
        raise BundleRefused(f"{free >> 20} MiB are free, an update needs {wanted >> 20} MiB: make room, then try again")


def fill(slots: Slots, name: str, bundle: Bundle, tell: Tell) -> None:
    """Builds the slot anew and tries it. Raises BundleRefused or EdgeNodeError; the slot is not whole then."""
    manifest = bundle.manifest
    umask = os.umask(0o022)  # the daemon runs what is in it, whatever the umask of root's shell
    try:
        slot = slots.empty(name)
        tell("unpacking")
        release = slot / "release"
        release.mkdir()
        bundle.unpack(release)
        tell("building")
        python = make_venv(slot / "venv", release)
        tell("trying")
        preflight(python, manifest.preflight, slots.settings.file)
        os.sync()
        slots.seal(name, {"version": manifest.version, "python": manifest.python, "floor": manifest.floor})
    except OSError as err:
        raise EdgeNodeError(f"the new version could not be written ({err}): the old one goes on") from None
    finally:
        os.umask(umask)


def make_venv(venv: Path, release: Path) -> Path:
    """A virtual environment of the distribution's Python with exactly the release's wheels; returns its python."""
    # The distribution's packages stay visible: picamera2 and libcamera exist as such only.
    run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", "--clear", str(venv)], polite=True)
    python = venv / "bin/python"
    # pip runs from its own wheel: the slot needs none.
    pip = [
        str(python),
        "-E",
        "-s",
        f"{pip_wheel()}/pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
    ]
    pip += ["--ignore-installed", "--find-links", str(release / "wheels")]
    if (release / REQUIREMENTS).exists():
        run([*pip, "--require-hashes", "--requirement", str(release / REQUIREMENTS)], polite=True)
    own = sorted(str(path) for path in (release / "wheels").glob("edge_node-*.whl"))
    run([*pip, "--no-deps", *own], polite=True)
    return python


def pip_wheel() -> Path:
    """pip, as the distribution keeps it for new virtual environments."""
    folders = [WHEELS]
    with contextlib.suppress(ImportError):  # Debian's is in python3-venv; the guard, which needs none, runs without it
        import ensurepip

        folders.append(Path(ensurepip.__file__).parent / "_bundled")
    for folder in folders:
        if wheels := sorted(folder.glob("pip-*.whl")):
            return wheels[-1]
    raise EdgeNodeError("pip is missing: install it with apt-get install python3-venv")


def preflight(python: Path, commands: Sequence[Sequence[str]], settings: Path | None) -> None:
    """Runs the release's own checks in its slot. Raises BundleRefused with what they said."""
    with credentials() as env:
        for words in commands:
            if "{settings}" in words and (settings is None or not settings.exists()):
                continue
            command = [str(python), "-I", "-B", *(str(settings) if word == "{settings}" else word for word in words)]
            try:
                run(command, env, polite=True)
            except EdgeNodeError as err:
                raise BundleRefused(f"the new version does not work here, the old one goes on: {err}") from None
