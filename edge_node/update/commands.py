"""Programs that an update runs, each with a deadline."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edge_node.errors import EdgeNodeError

STEP_DEADLINE_S = 900.0
"""A Zero 2 W unpacks about 100 MB of wheels to a slow card meanwhile."""
CREDENTIAL_DEADLINE_S = 10.0
"""The guard waits for them, too: see kept.CHECK_DEADLINE_S."""
POLITELY = ("nice", "-n", "10")
CREDENTIAL = "edge-node."
"""How the names of the unit's credentials begin in /etc/credstore."""


def run(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    deadline_s: float = STEP_DEADLINE_S,
    *,
    polite: bool = False,
) -> None:
    """One step; a `polite` one leaves the processor to the node beside it.

    Raises EdgeNodeError with the end of what it said.
    """
    try:
        done = subprocess.run(
            [*(POLITELY if polite else ()), *command],
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline_s,
            check=False,
        )
    except OSError as err:
        raise EdgeNodeError(f"{command[0]} cannot be run ({err.strerror}): install it") from None
    except subprocess.TimeoutExpired:
        raise EdgeNodeError(f"{Path(command[0]).name} took more than {deadline_s:g} s: try again") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise EdgeNodeError(f"{' '.join(command[1:6])} failed: {' / '.join(said[-3:]) or done.returncode}")


@contextlib.contextmanager
def scratch(runtime: Path = Path("/run")) -> Iterator[Path]:
    """A folder for a moment; root's is in memory, where a full or read-only disk does not matter. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="edge-node-", dir=runtime if os.access(runtime, os.W_OK) else None) as made:
        yield Path(made)


@contextlib.contextmanager
def credentials(stores: Path = Path("/etc"), runtime: Path = Path("/run")) -> Iterator[Mapping[str, str]]:
    """An environment in which settings are as whole as in the unit: what its LoadCredential= finds is there, too."""
    with scratch(runtime) as folder:
        for sealed in stores.glob(f"credstore.encrypted/{CREDENTIAL}*"):
            words = ["systemd-creds", "decrypt", f"--name={sealed.name}", str(sealed)]
            # One that cannot be opened is missing in the unit as well.
            with contextlib.suppress(EdgeNodeError):
                run([*words, str(folder / sealed.name.removeprefix(CREDENTIAL))], deadline_s=CREDENTIAL_DEADLINE_S)
        for plain in stores.glob(f"credstore/{CREDENTIAL}*"):
            shutil.copyfile(plain, folder / plain.name.removeprefix(CREDENTIAL))
        yield {**os.environ, "CREDENTIALS_DIRECTORY": str(folder)}
