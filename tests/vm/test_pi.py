"""The smaller part of the virtual Pi's journey, with this checkout's code: it boots, its button rings a resident."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.hub_client import running_hub
from tests.support.waiting import eventually
from tests.vm.pi import house
from tests.vm.pi.house import BUTTON, UNIT, Resident, online
from tests.vm.pi.machine import Machine, boot_card, is_built

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not is_built(), reason="needs a guest: bash tests/vm/pi/build.sh"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86"),
]
PACKAGE = "/opt/edge-node/current/venv/lib/python3.13/site-packages/edge_node"


def checkout() -> bytes:
    """This checkout's package, as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(ROOT / "edge_node", "edge_node", filter=lambda info: None if "__pycache__" in info.name else info)
    return buffer.getvalue()


async def test_it_boots_and_its_button_rings(tmp_path: Path) -> None:
    machine = Machine(tmp_path, card=await boot_card(tmp_path / "card.img", {"checkout.tar": checkout()}))
    async with running_hub() as hub:
        resident = Resident(hub)
        try:
            await machine.power_on()
            await machine.shell(f"tar -xf /boot/firmware/checkout.tar --no-same-owner -C $(dirname {PACKAGE})")
            await machine.write(
                "/etc/edge-node/edge-node.toml", house.settings(hub, tmp_path), owner="root:edge-node", mode="640"
            )
            await machine.shell(f"systemctl restart {UNIT}", timeout_s=120)
            await online(machine)
            await resident.arrive()
            await eventually(lambda: resident.node is not None, house.ONLINE_S)
            await machine.press(BUTTON)
            ring = await resident.message(lambda message: message["type"] == "call.ring")
            assert ring["node"] == "front-door"
        finally:
            await resident.leave()
            await machine.cut_power()
