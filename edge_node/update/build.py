"""Puts a bundle into a slot, without the network."""

from __future__ import annotations

import contextlib
import ensurepip
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edge_node.errors import EdgeNodeError
from edge_node.update.bundle import Bundle, BundleRefused, Manifest, version_key
from edge_node.update.slots import Slots

STEP_DEADLINE_S = 900.0
"""A Zero 2 W unpacks about 100 MB of wheels to a slow card meanwhile."""
SPARE_BYTES = 64 << 20
GROWTH = 4
"""Wheels are compressed: an unpacked slot with its bundle has taken less than four times the bundle."""
REQUIREMENTS = "requirements.txt"
CREDENTIAL = "edge-node."
"""How the names of the unit's credentials begin in /etc/credstore."""

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
    accepted = slots.accepted()
    floor, runs = accepted.get("floor"), accepted.get("version")
    if floor and version_key(manifest.version) < version_key(floor):
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


def fill(slots: Slots, name: str, bundle: Bundle, settings: Path, tell: Tell) -> None:
    """Builds the slot anew and tries it. Raises BundleRefused or EdgeNodeError; the slot is not whole then."""
    manifest = bundle.manifest
    try:
        slot = slots.empty(name)
        tell("unpacking")
        release = slot / "release"
        release.mkdir()
        bundle.unpack(release)
        tell("building")
        python = make_venv(slot / "venv", release)
        tell("trying")
        preflight(python, manifest.preflight, settings)
        os.sync()
    except OSError as err:
        raise EdgeNodeError(f"the new version could not be written ({err}): the old one goes on") from None
    slots.seal(name, {"version": manifest.version, "python": manifest.python, "floor": manifest.floor})


def make_venv(venv: Path, release: Path) -> Path:
    """A virtual environment of the distribution's Python with exactly the release's wheels; returns its python."""
    # The distribution's packages stay visible: picamera2 and libcamera exist as such only.
    run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", "--clear", str(venv)])
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
        run([*pip, "--require-hashes", "--requirement", str(release / REQUIREMENTS)])
    own = sorted(str(path) for path in (release / "wheels").glob("edge_node-*.whl"))
    run([*pip, "--no-deps", *own])
    return python


def pip_wheel() -> Path:
    """pip, as the distribution keeps it for new virtual environments."""
    bundled = Path(ensurepip.__file__).parent / "_bundled"
    for folder in (Path("/usr/share/python-wheels"), bundled):
        if wheels := sorted(folder.glob("pip-*.whl")):
            return wheels[-1]
    raise EdgeNodeError("pip is missing: install it with apt-get install python3-venv")


def preflight(python: Path, commands: Sequence[Sequence[str]], settings: Path) -> None:
    """Runs the release's own checks in its slot. Raises BundleRefused with what they said."""
    with credentials() as env:
        for words in commands:
            if "{settings}" in words and not settings.exists():
                continue
            command = [str(python), "-I", "-B", *(str(settings) if word == "{settings}" else word for word in words)]
            try:
                run(command, env)
            except EdgeNodeError as err:
                raise BundleRefused(f"the new version does not work here, the old one goes on: {err}") from None


@contextlib.contextmanager
def credentials(stores: Path = Path("/etc"), runtime: Path = Path("/run")) -> Iterator[Mapping[str, str]]:
    """An environment in which settings are as whole as in the unit: what its LoadCredential= finds is there, too."""
    with tempfile.TemporaryDirectory(prefix="edge-node-", dir=runtime if os.access(runtime, os.W_OK) else None) as made:
        folder = Path(made)
        for sealed in stores.glob(f"credstore.encrypted/{CREDENTIAL}*"):
            words = ["systemd-creds", "decrypt", f"--name={sealed.name}", str(sealed)]
            # One that cannot be opened is missing in the unit as well.
            with contextlib.suppress(EdgeNodeError):
                run([*words, str(folder / sealed.name.removeprefix(CREDENTIAL))])
        for plain in stores.glob(f"credstore/{CREDENTIAL}*"):
            shutil.copyfile(plain, folder / plain.name.removeprefix(CREDENTIAL))
        yield {**os.environ, "CREDENTIALS_DIRECTORY": made}


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """One step. Raises EdgeNodeError with the end of what it said."""
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STEP_DEADLINE_S,
            check=False,
        )
    except OSError as err:
        raise EdgeNodeError(f"{command[0]} cannot be run ({err.strerror}): install it") from None
    except subprocess.TimeoutExpired:
        raise EdgeNodeError(f"{Path(command[0]).name} took more than {STEP_DEADLINE_S:g} s: try again") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise EdgeNodeError(f"{' '.join(command[1:6])} failed: {' / '.join(said[-3:]) or done.returncode}")
