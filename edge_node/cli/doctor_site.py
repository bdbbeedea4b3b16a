"""What the settings and the hardware profiles tell the doctor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_node.devices.cards import known_cards, present_cards, recognised
from edge_node.devices.gpiochip import chips
from edge_node.devices.profiles import load_profile
from edge_node.errors import SettingsError
from edge_node.host.findings import Finding, Level
from edge_node.host.identity import board_model
from edge_node.host.panel_check import Claim, Site
from edge_node.settings import GpioSettings, Settings

AREA = "settings"


@dataclass(frozen=True, slots=True)
class Examined:
    """The site for host.doctor, what is wrong with the settings themselves, the hub's address in them."""

    site: Site
    findings: list[Finding]
    hub: str | None


def examine_settings(path: Path | None, load: Callable[[Path], Settings], root: Path) -> Examined:
    """Reads the settings, which may be wrong or missing, and asks the devices' profiles."""
    found: list[Finding] = []
    settings: Settings | None = None
    if path is None:
        todo = "write /etc/edge-node/edge-node.toml, as in hardware/DOOR_STATION.md"
        found.append(Finding(AREA, Level.NOTE, "there is no settings file yet", todo))
    else:
        try:
            settings = load(path)
            found.append(Finding(AREA, Level.OK, f"{path} is right"))
        except SettingsError as err:
            todo = f"edit {path}, then: edge-node config check {path}"
            found += [Finding(AREA, Level.PROBLEM, problem, todo) for problem in err.problems]
    hub = settings.channel.url if settings else None
    try:
        return Examined(_site(settings, root), found, hub)
    except SettingsError as err:
        wrong = [Finding(AREA, Level.PROBLEM, problem, "edit the file") for problem in err.problems]
        return Examined(Site(), found + wrong, hub)


def _site(settings: Settings | None, root: Path) -> Site:
    cards, present = known_cards(), present_cards(root)
    profile = load_profile(settings.gpio.board if settings else "auto", board_model(root))
    there = recognised(present, cards.values())
    asked = [(str(chip.path), chip.label) for chip in chips(root / "dev")]
    if settings is None:
        return Site(profile, chips=asked, present=present, cards=there)
    wanted = settings.audio.card
    if wanted != "auto" and wanted not in cards:
        raise SettingsError(f'audio.card = "{wanted}" is no known sound card: use auto or {", ".join(sorted(cards))}')
    return Site(
        profile=profile,
        claims=[] if settings.gpio.driver in ("none", "mock") else claims(settings.gpio),
        chips=asked,
        present=present,
        cards=there,
        wanted_card=None if wanted == "auto" else cards[wanted],
        source=settings.video.source,
        microphone=settings.audio.microphone,
        speaker=settings.audio.speaker,
    )


def claims(gpio: GpioSettings) -> list[Claim]:
    """Every part on every pin of its."""
    found = [Claim("button", button.name, button.pin) for button in gpio.button]
    found += [Claim("input", switch.name, switch.pin) for switch in gpio.switch]
    found += [Claim("input", contact.name, contact.pin) for contact in gpio.input]
    found += [Claim("led", led.name, pin, led.active_high) for led in gpio.led for pin in led.all_pins]
    return found + [Claim("relay", relay.name, relay.pin, relay.active_high) for relay in gpio.relay]
