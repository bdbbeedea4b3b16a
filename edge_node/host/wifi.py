"""Joining a wireless network through NetworkManager."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence

from edge_node.errors import DeviceMissing, RetryLater
from edge_node.protocol.wifi_code import WifiNetwork

NAME = "edge-node-qr"
FRESH = f"{NAME}-new"
"""As long as nobody knows whether it can be joined."""
DEADLINE_S = 45.0
NMCLI = ("nmcli",)
_ESCAPED = str.maketrans({"\\": "\\\\"})


def editor_script(network: WifiNetwork) -> str:
    """Commands for `nmcli connection edit`, which reads them from standard input: a password is never an argument."""
    lines = [
        f"set 802-11-wireless.ssid {network.ssid.translate(_ESCAPED)}",
        f"set 802-11-wireless.hidden {'yes' if network.hidden else 'no'}",
    ]
    if network.kind != "open":
        lines.append(f"set 802-11-wireless-security.key-mgmt {'sae' if network.kind == 'sae' else 'wpa-psk'}")
        lines.append(f"set 802-11-wireless-security.psk {_psk(network)}")
    return "\n".join([*lines, "save persistent", "quit", ""])


def _psk(network: WifiNetwork) -> str:
    """For WPA2 the derived key (IEEE 802.11-2020, J.4.1), so that the passphrase is not kept."""
    if network.kind == "sae":
        return network.password
    return hashlib.pbkdf2_hmac("sha1", network.password.encode(), network.ssid.encode(), 4096, 32).hex()


async def join_wifi(network: WifiNetwork, nmcli: Sequence[str] = NMCLI) -> None:
    """Joins the network, then keeps it in place of the last one that came this way.

    Raises RetryLater when NetworkManager refuses or does not get there, DeviceMissing without it.
    """
    connection = [*nmcli, "connection"]
    await _try([*connection, "delete", "id", FRESH])  # of a try that was cut off
    await _run([*connection, "edit", "type", "wifi", "con-name", FRESH], editor_script(network))
    try:
        await _run([*connection, "up", "id", FRESH])
    except RetryLater:
        await _try([*connection, "delete", "id", FRESH])
        raise
    await _try([*connection, "delete", "id", NAME])
    await _try([*connection, "modify", "id", FRESH, "connection.id", NAME])


async def _try(words: Sequence[str]) -> None:
    """What may not be there, or may stay as it is."""
    with contextlib.suppress(RetryLater):
        await _run(words)


async def _run(words: Sequence[str], said: str = "") -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except OSError:
        raise DeviceMissing("joining a network needs NetworkManager: apt install network-manager") from None
    try:
        async with asyncio.timeout(DEADLINE_S):
            _, told = await process.communicate(said.encode())
    except TimeoutError:
        raise RetryLater(f"NetworkManager did not join within {DEADLINE_S:g} s: is the network in reach?") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        # What it says about a password it was given stays here.
        status = process.returncode
        hint = "this user may not change networks" if b"privileg" in told or b"authoriz" in told else "is it in reach?"
        raise RetryLater(f"NetworkManager did not do it (status {status}): {hint}")
