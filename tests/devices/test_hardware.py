"""The facts under hardware/, against their schema."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from edge_node.cli.parser import build_parser
from edge_node.devices.cards import (
    known_cards,
    pins_of_card,
    present_cards,
    recognised,
    recognised_pins,
    taken_pins,
)
from edge_node.devices.gpiochip import HEADER_LABELS
from edge_node.errors import SettingsError
from edge_node.node.machinery import wiring
from edge_node.settings import from_dict
from tests.support.fake_root import PI_4, PI_5, lay_out

HARDWARE = Path(__file__).parents[2] / "hardware"
SOUND = HARDWARE / "sound"
BOARDS = sorted((HARDWARE / "boards").glob("*.toml"))
CARDS = sorted(SOUND.glob("*.toml"))

Pin = Annotated[str, StringConstraints(pattern=r"^GPIO(1?\d|2[0-7])$")]
Text = Annotated[str, StringConstraints(min_length=3)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Limits(Table):
    volts: Annotated[float, Field(ge=3.3, le=3.3)]
    milliamps_per_pin: Annotated[int, Field(gt=0, le=16)]
    milliamps_together: Annotated[int, Field(gt=0, le=50)]


class Pins(Table):
    chip: Text
    usable: list[Pin]
    pulled_up: list[Pin]
    special: dict[Pin, Text]
    limits: Limits
    source: dict[Literal["chip", "usable", "pulled_up", "special", "limits"], Text]


class BoardAudio(Table):
    onboard_speaker: bool
    onboard_microphone: bool
    source: dict[Literal["onboard_speaker", "onboard_microphone"], Text]


class AboutBoard(Table):
    id: Annotated[str, StringConstraints(pattern="^[a-z0-9-]+$")]
    name: Text
    model: list[Text] = []


class Camera(Table):
    buffers: Annotated[int, Field(ge=2, le=6)]
    source: dict[Literal["buffers"], Text]


class EncoderUnit(Table):
    max_mb_per_s: Annotated[int, Field(gt=0)]
    max_width_px: Annotated[int, Field(gt=0, multiple_of=16)]
    max_height_px: Annotated[int, Field(gt=0, multiple_of=16)]
    align_width_px: Literal[2, 16]
    align_height_px: Literal[2, 16]
    min_kbps: Annotated[int, Field(gt=0)]
    max_kbps: Annotated[int, Field(gt=0)]
    parallel: Annotated[int, Field(gt=0)]
    source: dict[str, Text]


class Encoder(Table):
    hardware: EncoderUnit | None = None
    software: EncoderUnit
    main_cbr_hangs: bool = False


class Decoder(Table):
    hardware: list[Literal["h264", "hevc"]]
    source: dict[Literal["hardware"], Text]


class Heat(Table):
    warm_c: Annotated[float, Field(ge=50, le=85)]
    wifi_c: Annotated[float, Field(ge=50, le=85)] | None = None
    source: dict[Literal["warm_c", "wifi_c"], Text]


class Sending(Table):
    max_kbps: Annotated[int, Field(gt=0)]
    source: dict[Literal["max_kbps"], Text]


class BoardProfile(Table):
    board: AboutBoard
    encoder: Encoder
    decoder: Decoder
    heat: Heat
    sending: Sending
    camera: Camera | None = None
    pins: Pins | None = None
    audio: BoardAudio | None = None


class About(Table):
    id: Annotated[str, StringConstraints(pattern="^[a-z0-9-]+$")]
    name: Text
    kind: Literal["board", "usb", "hat", "module"]
    alsa: Annotated[list[str], Field(min_length=1)]
    microphone: bool
    speaker: bool
    clock: Literal["one", "own"]
    config_txt: list[Annotated[str, StringConstraints(pattern=r"^(dtoverlay|dtparam|gpio)=\S+$")]]
    advice: Text
    alsa_file: str | None = None
    udev_file: str | None = None
    overlay_from: Annotated[str, StringConstraints(pattern="^https://")] | None = None


class CardProfile(Table):
    card: About
    pins: dict[Pin, Text]
    offers: dict[Pin, Literal["button", "led"]] = {}
    free: dict[Pin, Text] = {}
    source: dict[str, Text]


def table(path: Path, name: str) -> dict[str, object]:
    found = tomllib.loads(path.read_text())[name]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_board_s_profile_is_whole_and_says_where_from(path: Path) -> None:
    profile = BoardProfile.model_validate(tomllib.loads(path.read_text()))
    assert profile.board.id == path.stem
    for unit in (profile.encoder.hardware, profile.encoder.software):
        assert unit is None or set(unit.source) == set(EncoderUnit.model_fields) - {"source"}
    is_pi = path.stem != "generic"
    assert is_pi == bool(profile.board.model) == all((profile.camera, profile.pins, profile.audio))


@pytest.mark.parametrize("path", [path for path in BOARDS if path.stem != "generic"], ids=lambda path: path.stem)
def test_boards(path: Path) -> None:
    pins = Pins.model_validate(table(path, "pins"))
    assert pins.chip in HEADER_LABELS
    assert set(pins.source) == set(Pins.model_fields) - {"source"}
    assert not set(pins.usable) & set(pins.special), "a pin with a second duty is not for everybody"
    assert set(BoardAudio.model_validate(table(path, "audio")).source) == {"onboard_speaker", "onboard_microphone"}


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_cards(path: Path) -> None:
    profile = CardProfile.model_validate(tomllib.loads(path.read_text()))
    assert profile.card.id == path.stem
    assert not set(profile.pins) & (set(profile.offers) | set(profile.free))
    assert profile.card.kind in ("board", "usb") or profile.pins
    for folder, name in (("alsa", profile.card.alsa_file), ("udev", profile.card.udev_file)):
        assert name is None or (HARDWARE / folder / name).is_file()
    if "hw:" in (text := (HARDWARE / "alsa" / (profile.card.alsa_file or "usb.conf")).read_text()):
        assert any(f"hw:{mark}" in text for mark in profile.card.alsa)


def test_every_card_that_is_there_is_recognised(tmp_path: Path) -> None:
    cards = known_cards((SOUND,))
    assert {
        card["card"]["id"] for card in recognised(present_cards(lay_out(tmp_path / "5", PI_5)), cards.values())
    } == {
        "onboard",
        "wm8960",
    }
    four = recognised(present_cards(lay_out(tmp_path / "4", PI_4)), cards.values())
    assert [card["card"]["id"] for card in four] == ["usb"]
    assert present_cards(tmp_path / "none") == []
    pins = {pin: owner for card in four for pin, owner in pins_of_card(card).items()}
    assert recognised_pins("auto", tmp_path / "4") == pins
    assert recognised_pins("usb", tmp_path / "4") == recognised_pins("auto", tmp_path / "none") == {}


def test_pins_of_cards() -> None:
    assert taken_pins("auto", (SOUND,)) == {}
    assert taken_pins("wm8960", (SOUND,))["GPIO18"] == "WM8960 Audio HAT (I2S bit clock)"
    with pytest.raises(SettingsError, match="is no known sound card: use auto or i2s-duplex"):
        taken_pins("trumpet", (SOUND,))


def test_a_broken_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[card]\nid = 1")
    (tmp_path / "other.toml").write_text("[card")
    with pytest.raises(SettingsError, match=r"other\.toml cannot be read"):
        known_cards((tmp_path,))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_usual_wiring_goes_with_every_card(path: Path) -> None:
    """GPIO17, 27 and 22, as in the README, the installer and the drawings."""
    usual = {"GPIO17", "GPIO27", "GPIO22"}
    assert not usual & set(pins_of_card(tomllib.loads(path.read_text())))


def test_two_owners_of_a_pin_are_told_by_name() -> None:
    settings = from_dict(
        {
            "channel": {"name": "home/front-door", "api_key": "pk_live_0123456789"},
            "audio": {"card": "respeaker-2mic"},
            "gpio": {"relay": [{"name": "door", "pin": "GPIO18"}]},
        }
    )
    with pytest.raises(SettingsError) as caught:
        wiring(settings)
    assert caught.value.problems == (
        "ReSpeaker 2-Mics Pi HAT (I2S bit clock) and relay 'door' both want GPIO18: move relay 'door' to another pin",
    )


@pytest.mark.parametrize("path", sorted((HARDWARE / "wiring").glob("*.svg")), ids=lambda path: path.stem)
def test_drawings(path: Path) -> None:
    root = ET.fromstring(path.read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None and title.text
    assert "GPIO" in " ".join(root.itertext())


HEADER = {
    2: "5 V", 9: "ground", 11: "GPIO17", 13: "GPIO27", 14: "ground", 15: "GPIO22", 16: "GPIO23", 17: "3.3 V",
    20: "ground", 22: "GPIO25", 25: "ground", 30: "ground",
}  # fmt: skip
"""Of the 40 pins (Raspberry Pi documentation, "GPIO and the 40-pin header"), those that the drawings use."""


def test_no_pin_of_the_header_takes_two_wires() -> None:
    drawn: dict[int, str] = {}
    for path in sorted((HARDWARE / "wiring").glob("*.svg")):
        for pin, what in re.findall(r"pin (\d+) · ([^<]+)", path.read_text()):
            assert int(pin) not in drawn, f"{path.name} uses pin {pin} again"
            drawn[int(pin)] = what
    assert drawn == HEADER
    page = (HARDWARE / "DOOR_STATION.md").read_text()
    told = {
        int(pin): what.split(",")[0] for pin, what in re.findall(r"\b(\d+) \(([^)]+)\)", page) if int(pin) in HEADER
    }
    assert told == HEADER


def test_what_the_pages_name_exists() -> None:
    for page in (HARDWARE / "DOOR_STATION.md", HARDWARE / "PARTS.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} names {link}"


def boxes(language: str) -> list[str]:
    """The code boxes of the newcomer's page."""
    parts = (HARDWARE / "DOOR_STATION.md").read_text().split("```")[1::2]
    return [text for name, _, text in (part.partition("\n") for part in parts) if name == language]


def test_the_settings_of_the_newcomers_page_are_right() -> None:
    pages = {key: value for box in boxes("toml") for key, value in tomllib.loads(box).items()}
    settings = from_dict({**pages, "channel": {"name": "home/front-door", "api_key": "pk_live_0123456789"}})
    wired = wiring(settings)
    assert len(list(wired.parts())) == 5
    assert wired.taken, "with the card that the page names"


def test_the_commands_of_the_newcomers_page_exist() -> None:
    lines = [line.removeprefix("sudo ") for box in boxes("") for line in box.splitlines()]
    ours = [line.split()[1:] for line in lines if line.startswith("edge-node ")]
    assert len(ours) >= 5
    for words in ours:
        build_parser().parse_args(words)
