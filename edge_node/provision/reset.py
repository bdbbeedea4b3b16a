"""Back to how the device came: no keys, no settings, no recordings, no logs, no Wi-Fi."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from edge_node.errors import EdgeNodeError

# The most telling first: what a cut leaves behind is the least.
SECRETS = (
    "etc/credstore/edge-node.*",
    "etc/credstore.encrypted/edge-node.*",
    "etc/edge-node/*.toml*",
    "etc/edge-node/*.key",
    "etc/polkit-1/rules.d/*-edge-node-wifi.rules",
    "var/lib/edge-node/*",
    "opt/edge-node/slots/*/*settings.toml*",
    "opt/edge-node/state/post-mortem/*",
    "run/edge-node/*",
    # What the first start has not taken yet would be there again after the next one.
    "boot/firmware/edge-node/*.toml*",
    "boot/edge-node/*.toml*",
    # What somebody else customised the card with, kept beside: passwords, networks.
    "boot/firmware/*.before-edge-node",
    "boot/*.before-edge-node",
)
# Each network's own file; netplan, which Raspberry Pi OS writes from the card, makes such files anew at every boot.
WIFI = (
    "etc/NetworkManager/system-connections/*.nmconnection",
    "etc/wpa_supplicant/wpa_supplicant*.conf",
    "etc/netplan/*.yaml",
    "var/lib/cloud/instances/*",
    # What the card was customised with: cloud-init would make the network anew from it (accounts are in user-data).
    "boot/firmware/network-config",
    "boot/firmware/rpi-preseed.toml",
    "boot/firmware/wpa_supplicant.conf",
    "boot/firmware/edge-node/*.nmconnection",
    "boot/network-config",
    "boot/rpi-preseed.toml",
    "boot/wpa_supplicant.conf",
    "boot/edge-node/*.nmconnection",
)
SETTINGS = ("etc/edge-node/*.toml*", "opt/edge-node/slots/*/*settings.toml*")
CLIP = "[0-9]*T[0-9]*Z-*.mp4"
"""As the daemon names recordings, wherever its settings tell it to keep them."""
STATE = "var/lib/edge-node"
UNITS = ("edge-node.service", "edge-node-hub.service")
COMMAND_DEADLINE_S = 60.0
HERE = Path("/")

Run = Callable[[Sequence[str]], None]


def run(words: Sequence[str]) -> None:
    """One command; what is not there needs no reset."""
    try:
        subprocess.run(words, capture_output=True, timeout=COMMAND_DEADLINE_S, check=False)
    except FileNotFoundError:
        return
    except subprocess.TimeoutExpired:
        raise EdgeNodeError(f"{' '.join(words)} did not end within {COMMAND_DEADLINE_S:g} s: try again") from None


def found(root: Path, keep_wifi: bool) -> Iterator[Path]:
    """What would be deleted; recordings kept elsewhere come before the settings that say where."""
    for folder in sorted(_clip_folders(root)):
        yield from sorted(folder.glob(CLIP))
    for pattern in SECRETS if keep_wifi else (*SECRETS, *WIFI):
        yield from sorted(root.glob(pattern))


def _clip_folders(root: Path) -> set[Path]:
    """Outside of the state directory, which goes as a whole."""
    folders = set()
    for path in (path for pattern in SETTINGS for path in root.glob(pattern)):
        try:
            named = tomllib.loads(path.read_text()).get("clip", {}).get("directory")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(named, str) and PurePosixPath(named).is_absolute():
            folders.add(root / named.lstrip("/"))
    return {folder for folder in folders if (root / STATE) not in (folder, *folder.parents)}


def reset(root: Path = HERE, *, keep_wifi: bool = False, run: Run = run) -> int:
    """Stops the units, deletes, empties the journal; returns how many files and folders went.

    Of another machine's files, below `root`, the units and the journal are not this one's: they are left alone.

    May be cut off and repeated. Deleting on flash memory is not erasing: whoever takes the card apart may still find
    what was there. Raises EdgeNodeError when something cannot be deleted.
    """
    if root == HERE:
        run(["systemctl", "stop", *UNITS])
    gone = 0
    for path in found(root, keep_wifi):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as err:
            raise EdgeNodeError(
                f"{path} cannot be deleted ({err.strerror}): run it as root, on a writable card"
            ) from err
        gone += 1
    if root == HERE:
        run(["journalctl", "--rotate"])
        run(["journalctl", "--vacuum-time=1s"])
    run(["sync"])
    return gone
