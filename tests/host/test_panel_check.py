"""Pins and sound cards against what the settings want of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_node.host.findings import Finding, Level
from edge_node.host.panel_check import Claim, Site, check_panel, config_lines
from tests.support.fake_root import PI_4, PI_5, lay_out

PROFILE: dict[str, Any] = {
    "pins": {
        "chip": "pinctrl-rp1",
        "usable": ["GPIO17", "GPIO22", "GPIO27"],
        "pulled_up": ["GPIO5"],
        "special": {"GPIO14": "serial console"},
    }
}
HAT: dict[str, Any] = {
    "card": {
        "id": "hat",
        "name": "Some HAT",
        "microphone": True,
        "advice": "",
        "config_txt": ["dtparam=i2c_arm=on", "dtoverlay=wm8960-soundcard"],
    },
    "pins": {"GPIO18": "I2S bit clock"},
    "offers": {"GPIO17": "button"},
}
SOCKET: dict[str, Any] = {"card": {"id": "onboard", "name": "its socket", "microphone": False, "advice": "add one"}}


def check(root: Path, **site: Any) -> list[Finding]:
    return list(check_panel(Site(**{"profile": PROFILE, **site}), root))


def said(findings: list[Finding], level: Level) -> list[str]:
    return [f"{finding.text} | {finding.todo}" for finding in findings if finding.level is level]


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    return lay_out(tmp_path, PI_5)


def test_nothing_wanted_nothing_found(tmp_path: Path) -> None:
    assert list(check_panel(Site(), tmp_path)) == []


def test_the_header_by_its_label(pi: Path) -> None:
    right = [("/dev/gpiochip10", "gpio-brcmstb@107d508500"), ("/dev/gpiochip0", "pinctrl-rp1")]
    assert said(check(pi, chips=right), Level.OK) == ["the 40-pin header is /dev/gpiochip0 (pinctrl-rp1) | "]
    (wrong,) = check(pi, chips=[("/dev/gpiochip0", "pinctrl-bcm2711")])
    assert wrong.level is Level.PROBLEM
    assert "no chip calls itself pinctrl-rp1" in wrong.text and "gpiochip0 is pinctrl-bcm2711" in wrong.text
    assert check(pi, chips=[]) == [], "what may not be asked is told by the group"


def test_a_pin_that_two_want(pi: Path) -> None:
    (found,) = check(pi, claims=[Claim("button", "call", "GPIO27"), Claim("led", "status", "GPIO27")])
    assert (found.level, found.text) == (Level.PROBLEM, "button call and led status both want GPIO27")
    assert found.todo == "give led status another pin in the settings, and move its wire"


@pytest.mark.parametrize("how", ["cards", "wanted_card"])
def test_pins_of_the_sound_card(pi: Path, how: str) -> None:
    claims = [Claim("button", "call", "GPIO17"), Claim("led", "lamp", "GPIO18")]
    findings = check(pi, claims=claims, **{how: [HAT] if how == "cards" else HAT})
    assert said(findings, Level.NOTE) == [
        "button call on GPIO17 is the button that is on the Some HAT | press it, or wire another one beside it"
    ]
    assert (
        "Some HAT needs GPIO18 itself (I2S bit clock), and led lamp is on it | move led lamp to one of GPIO22, "
        in (said(findings, Level.PROBLEM)[0])
    )


def test_an_output_on_the_cards_button_is_a_short_circuit(pi: Path) -> None:
    (found,) = check(pi, cards=[HAT], claims=[Claim("led", "status", "GPIO17")])
    assert found.level is Level.PROBLEM
    assert "the button would connect its output to ground" in found.todo


def test_a_pin_with_another_duty(pi: Path) -> None:
    (found,) = check(pi, claims=[Claim("led", "status", "GPIO14")])
    assert found.level is Level.NOTE
    assert "serial console" in found.text and "GPIO17, GPIO22, GPIO27" in found.todo


def test_relays_before_the_node_runs(tmp_path: Path) -> None:
    door, gate = Claim("relay", "door", "GPIO22"), Claim("relay", "gate", "GPIO5")
    low = Claim("relay", "low", "GPIO27", active_high=False)
    root = lay_out(tmp_path, {**PI_5, "boot/firmware/config.txt": ""})
    findings = check(root, claims=[door, gate, low])
    assert said(findings, Level.PROBLEM) == [
        "relay gate is on GPIO5, which is high from power-on until the node starts: it would be energised"
        " | use another pin, or add this line to config.txt: gpio=5=op,dl"
    ]
    notes = said(findings, Level.NOTE)
    assert notes[0].endswith("add this line to /boot/firmware/config.txt: gpio=22=op,dl")
    assert notes[1].endswith("gpio=27=op,dh")
    assert "5 V destroys the pin" in notes[2]
    lay_out(tmp_path, {"boot/firmware/config.txt": "gpio=4-6,22=op,dl\ngpio=27=op,dh\ngpio=x=op\ngpio=1-y=op,dl\n"})
    assert check(root, claims=[door, gate, low]) == []
    bare = lay_out(tmp_path / "bare", {name: text for name, text in PI_4.items() if "boot" not in name})
    assert check(bare, claims=[door]) == [], "no Raspberry Pi's firmware"


def test_a_card_that_is_wanted_and_not_there(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"boot/config.txt": "#dtparam=i2c_arm=on\n"})
    (found,) = check(root, wanted_card={**HAT, "card": {**HAT["card"], "overlay_from": "https://example.org"}})
    assert found.level is Level.PROBLEM
    assert found.text == "Some HAT is not there, and config.txt does not ask for it"
    assert found.todo == (
        "add to /boot/firmware/config.txt and restart: dtparam=i2c_arm=on · dtoverlay=wm8960-soundcard"
        " (the overlay comes from https://example.org)"
    )
    lay_out(tmp_path, {"boot/config.txt": "dtparam=i2c_arm=on\ndtoverlay=wm8960-soundcard\n"})
    (found,) = check(root, wanted_card=HAT, present=[("Device", "USB-Audio - USB")])
    assert "though config.txt asks for it (there is: USB-Audio - USB)" in found.text
    assert check(root, wanted_card=HAT, cards=[HAT]) == []


def test_names_of_sound_devices(pi: Path) -> None:
    present = [("Headset", "USB-Audio - USB Headset")]
    for good in ("default", "none", "plughw:CARD=Headset,DEV=0", "hw:Headset", "hw:0,0", "USB Headset", "file:a.wav"):
        assert check(pi, present=present, microphone=good, speaker=good) == []
    (found,) = check(pi, present=present, speaker="hw:seeed2micvoicec")
    assert found.level is Level.NOTE
    assert 'no sound card is called "hw:seeed2micvoicec", as audio.speaker says' in found.text
    assert "one of: Headset" in found.todo


def test_a_card_that_only_plays(pi: Path) -> None:
    assert said(check(pi, cards=[SOCKET]), Level.PROBLEM) == ["its socket records nothing | add one"]
    assert check(pi, cards=[SOCKET, HAT]) == []
    assert check(pi, cards=[SOCKET], microphone="none") == []


def test_config_txt(tmp_path: Path) -> None:
    assert config_lines(tmp_path) is None
    lay_out(tmp_path, {"boot/config.txt": "# a\n\n[all]\n dtparam=audio=on # yes\n"})
    assert config_lines(tmp_path) == ["dtparam=audio=on"]
