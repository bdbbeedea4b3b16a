"""`edge-node doctor` on other machines' files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.main import main
from tests.support.fake_root import PI_4, PI_5, lay_out

SETTINGS = """
[channel]
name = "home/front-door"
api_key = "pk_live_0123456789"
[audio]
card = "{card}"
[[gpio.button]]
name = "call"
pin = "GPIO17"
[[gpio.led]]
name = "status"
pin = "{led}"
[[gpio.relay]]
name = "door"
pin = "GPIO22"
"""


def doctor(root: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    status = main(["doctor", "--json", "--check", "--root", str(root), "--config", str(config)])
    return status, json.loads(capsys.readouterr().out)


def settings(path: Path, card: str = "auto", led: str = "GPIO27") -> Path:
    path.write_text(SETTINGS.format(card=card, led=led))
    return path


def about(findings: list[dict[str, Any]], area: str) -> str:
    return "\n".join(
        f"{found['level']}: {found['text']} | {found['todo']}" for found in findings if found["area"] == area
    )


def test_the_usual_wiring_on_a_pi_5_with_a_hat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = lay_out(tmp_path / "root", PI_5)
    _, findings = doctor(root, settings(tmp_path / "a.toml", "wm8960"), capsys)
    pins = about(findings, "pins")
    assert "button call on GPIO17 is the button that is on the WM8960 Audio HAT" in pins
    assert "gpio=22=op,dl" in pins
    assert "problem" not in pins.replace("problem: lgpio, which drives the pins", "")
    assert about(findings, "settings").startswith("ok: ")


INSTALLED = {
    "usr/lib/python3/dist-packages/picamera2/__init__.py": "",
    "opt/edge-node/slots/a/venv/lib/python3.13/site-packages/lgpio.py": "",
    "usr/lib/aarch64-linux-gnu/libportaudio.so.2": "",
}
"""On the other machine; what this one has is no matter."""


@pytest.mark.parametrize("board", [PI_4, PI_5], ids=["Pi 4", "Pi 5"])
def test_a_board_with_everything_and_one_without_the_driver_of_the_pins(
    board: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    well = {**board, **INSTALLED, "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n"}
    config = settings(tmp_path / "a.toml")
    status, findings = doctor(lay_out(tmp_path / "well", well), config, capsys)
    assert [found for found in findings if found["level"] == "problem"] == [] and status == 0
    assert about(findings, "board").startswith(f"ok: {board['proc/device-tree/model'][:14]}")
    assert "ok: " in about(findings, "camera") and "ok: " in about(findings, "sound")
    bare = {name: text for name, text in well.items() if "lgpio" not in name}
    status, findings = doctor(lay_out(tmp_path / "bare", bare), config, capsys)
    assert status == 1 and "problem: lgpio, which drives the pins, is not installed" in about(findings, "pins")


def test_a_light_on_a_wire_of_the_hat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = lay_out(tmp_path / "root", PI_5)
    status, findings = doctor(root, settings(tmp_path / "a.toml", led="GPIO18"), capsys)
    assert status == 1
    assert "problem: WM8960 Audio HAT needs GPIO18 itself (I2S bit clock), and led status is on it" in about(
        findings, "pins"
    )


def test_a_hat_that_a_pi_4_does_not_see(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = lay_out(tmp_path / "root", {**PI_4, "boot/firmware/config.txt": "dtparam=i2c_arm=on\n"})
    status, findings = doctor(root, settings(tmp_path / "a.toml", "respeaker-2mic"), capsys)
    assert status == 1
    sound = about(findings, "sound")
    assert "ReSpeaker 2-Mics Pi HAT is not there, and config.txt does not ask for it" in sound
    assert "dtparam=i2s=on · dtoverlay=respeaker-2mic-v1_0" in sound
    assert "under-voltage" in about(findings, "power") or "under_voltage" in about(findings, "power")


@pytest.mark.parametrize(
    ("card", "led", "expected"),
    [
        ("auto", "GPIO22", 'gpio.relay.0.pin gives relay "door" GPIO22, which led "status" has'),
        ("trumpet", "GPIO27", 'audio.card = "trumpet" is no known sound card: use auto or i2s-duplex'),
    ],
)
def test_wrong_settings_are_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], card: str, led: str, expected: str
) -> None:
    root = lay_out(tmp_path / "root", PI_4)
    status, findings = doctor(root, settings(tmp_path / "a.toml", card, led), capsys)
    assert status == 1
    assert expected in about(findings, "settings")


def test_without_settings_and_without_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--root", str(lay_out(tmp_path, PI_4))]) == 0
    assert "there is no settings file yet" in capsys.readouterr().out
