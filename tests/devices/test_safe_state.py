"""Relays are released when the node is not there to do it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_node.devices.gpiochip import Chip
from edge_node.devices.safe_state import Pins, Relay, main, relays

ROOT = Path(__file__).parents[2]
SETTINGS = """
[[gpio.relay]]
name = "door"
pin = "GPIO22"

[[gpio.relay]]
name = "gate"
pin = "GPIO23"
active_high = false
"""


class FakePins:
    """The chips of a board; lines in `held` belong to another program."""

    def __init__(self, *labels: str, held: tuple[int, ...] = ()) -> None:
        self.labels = labels
        self.held = held
        self.levels: dict[tuple[str, int], bool] = {}

    def chips(self) -> list[Chip]:
        return [Chip(Path(f"/dev/gpiochip{index}"), label, 54) for index, label in enumerate(self.labels)]

    def drive(self, path: Path, line: int, high: bool, consumer: str) -> None:
        if line in self.held:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.levels[path.name, line] = high

    def port(self) -> Pins:
        return Pins(self.chips, self.drive)


@pytest.fixture
def settings(tmp_path: Path) -> str:
    path = tmp_path / "edge-node.toml"
    path.write_text(SETTINGS)
    return str(path)


def test_every_relay_gets_its_released_level(settings: str, capsys: pytest.CaptureFixture[str]) -> None:
    pins = FakePins("gpio-brcmstb@107d508500", "pinctrl-rp1")
    assert main([settings], pins.port()) == 0
    assert pins.levels == {("gpiochip1", 22): False, ("gpiochip1", 23): True}
    assert capsys.readouterr().out.splitlines() == [
        "safe state: relay door is released (GPIO22 low)",
        "safe state: relay gate is released (GPIO23 high)",
    ]


def test_one_that_is_held_does_not_keep_the_others(settings: str, capsys: pytest.CaptureFixture[str]) -> None:
    pins = FakePins("pinctrl-bcm2711", held=(22,))
    assert main([settings], pins.port()) == 1
    assert pins.levels == {("gpiochip0", 23): True}
    assert "relay door could NOT be released (GPIO22: another program holds its pin)" in capsys.readouterr().out


def test_without_a_board_it_says_so(settings: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([settings], FakePins("INT3450:00").port()) == 1
    assert "nothing was done for door, gate" in capsys.readouterr().out


def test_settings_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"[[gpio.relay]\xff")
    for path in (broken, tmp_path / "absent.toml"):
        assert main([str(path)], FakePins("pinctrl-rp1").port()) == 1
    assert "cannot be read, so no relay is known" in capsys.readouterr().err
    assert main([], FakePins().port()) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"gpio": 1},
        {"gpio": {"relay": 1}},
        {"gpio": {"relay": [1, {}, {"pin": 5}, {"pin": "GPIO99"}, {"pin": "GPIO-1"}, {"pin": "twenty"}]}},
        {"gpio": {"driver": "mock", "relay": [{"name": "door", "pin": "GPIO22"}]}},
        {"gpio": {"driver": "none", "relay": [{"name": "door", "pin": "GPIO22"}]}},
        [],
    ],
)
def test_whatever_the_settings_hold(wrong: object) -> None:
    assert [relay for relay in relays(wrong) if relay.line != 5] == []


def test_a_mistake_in_one_relay_does_not_hold_up_the_next() -> None:
    listed = [{"pin": "GPIOx"}, {"name": "door", "pin": "GPIO22", "activ_high": False}]
    assert relays({"gpio": {"relay": listed}}) == [Relay("door", 22, False)]


def test_nothing_to_release_is_said_with_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "edge-node.toml"
    path.write_text("[node]\n")
    assert main([str(path)], FakePins().port()) == 0
    assert capsys.readouterr() == ("", "")


def test_it_runs_without_site_packages_and_loads_little(settings: str) -> None:
    code = (
        "import sys; from edge_node.devices import safe_state; "
        "heavy = {'dataclasses', 'asyncio', 'gpiozero', 'pydantic', 'subprocess', 'json'} & set(sys.modules); "
        "print(','.join(heavy)); safe_state.main([sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-P", "-B", "-c", code, settings],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == ""
    assert "safe state: " in done.stdout


def test_the_unit_releases_before_the_start_and_after_every_end() -> None:
    unit = (ROOT / "systemd/edge-node.service").read_text()
    program = "/usr/sbin/edge-node-safe-state"
    assert f"ExecStopPost=-{program}" in unit
    assert unit.index(f"ExecStartPre=-{program}") < unit.index("ExecStartPre=+/usr/sbin/edge-node-slots")
    package = (ROOT / "provisioning/package.sh").read_text()
    assert f'"$root{program}"' in package
    assert "for file in __init__ gpiochip safe_state" in package
    wrapper = (ROOT / "provisioning/deb/edge-node-safe-state").read_text()
    assert "-m edge_node.devices.safe_state" in wrapper
