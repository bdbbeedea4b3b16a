"""Opening the pins of a board."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from edge_node.devices.factory import chip_number, open_board
from edge_node.devices.gpiochip import Chip
from edge_node.errors import DeviceMissing


def test_without_a_gpiochip(tmp_path: Path) -> None:
    with pytest.raises(DeviceMissing, match=r"no GPIO pins .* set gpio.driver"):
        open_board(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("lgpio") is not None, reason="lgpio is installed")
def test_without_the_library(tmp_path: Path) -> None:
    (tmp_path / "gpiochip0").touch()
    with pytest.raises(DeviceMissing, match="lgpio library is missing"):
        open_board(tmp_path)


def test_with_a_library_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like the real one it makes itself at home in LG_WD, where it fails without a chip."""
    (tmp_path / "gpiochip0").touch()
    library = tmp_path / "library"
    library.mkdir()
    (library / "lgpio.py").write_text("import os\nos.chdir(os.environ['LG_WD'])\nraise OSError('no chip here')\n")
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.setenv("LG_WD", str(tmp_path))
    folder = os.getcwd()
    with pytest.raises(DeviceMissing, match="cannot be opened"):
        open_board(tmp_path, lambda dev: [Chip(dev / "gpiochip0", "pinctrl-bcm2711", 58)])
    assert os.getcwd() == folder


def test_the_chip_of_a_pi_5_has_another_number() -> None:
    others = [Chip(Path(f"/dev/gpiochip{number}"), "gpio-brcmstb@107d508500", 32) for number in range(4)]
    assert chip_number([*others, Chip(Path("/dev/gpiochip4"), "pinctrl-rp1", 54)]) == 4
    assert chip_number([Chip(Path("/dev/gpiochip0"), "pinctrl-rp1", 54), *others[1:]]) == 0


def test_a_machine_with_other_pins() -> None:
    with pytest.raises(DeviceMissing, match="gpiochip0 is INT3450:00"):
        chip_number([Chip(Path("/dev/gpiochip0"), "INT3450:00", 100)])
    with pytest.raises(DeviceMissing, match="none may be opened"):
        chip_number([])
