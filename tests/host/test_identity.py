"""Which machine this is."""

from __future__ import annotations

from pathlib import Path

from edge_node.host.identity import board_model, read_machine
from tests.support.fake_root import PI_4, lay_out


def test_a_pi_names_itself(tmp_path: Path) -> None:
    machine = read_machine(lay_out(tmp_path, PI_4))
    assert machine.model == "Raspberry Pi 4 Model B Rev 1.5"
    assert machine.os == "Debian GNU/Linux 12 (bookworm)"


def test_others_do_not(tmp_path: Path) -> None:
    assert board_model(tmp_path) is None
    assert read_machine(tmp_path).os == "Linux"
    lay_out(tmp_path, {"proc/device-tree/model": "\0", "etc/os-release": "ID=x\n"})
    assert board_model(tmp_path) is None
    assert read_machine(tmp_path).os == "Linux"
