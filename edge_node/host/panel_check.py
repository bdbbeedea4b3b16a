"""Whether pins and sound cards fit what the settings ask of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_node.host.findings import Finding, Level

PINS, SOUND = "pins", "sound"
CONFIG_TXT = ("boot/firmware/config.txt", "boot/config.txt")
NO_DEVICE = ("default", "none", "test", "rtsp")


@dataclass(frozen=True, slots=True)
class Claim:
    """A part of the settings on its pin; `kind` is button, input, led or relay."""

    kind: str
    name: str
    pin: str
    active_high: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Site:
    """What the settings want, what the profiles know: joined by the command line, as this room knows neither.

    `chips` are (device, label), None when the kernel cannot be asked; `cards` the profiles of the sound cards that are
    there; `wanted_card` that of audio.card, None for auto; `present` (id, name) of every ALSA card.
    """

    profile: Mapping[str, Any] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    chips: Sequence[tuple[str, str]] | None = None
    present: Sequence[tuple[str, str]] = ()
    cards: Sequence[Mapping[str, Any]] = ()
    wanted_card: Mapping[str, Any] | None = None
    source: str = "auto"
    microphone: str = "default"
    speaker: str = "default"


def check_panel(site: Site, root: Path) -> Iterator[Finding]:
    """Every finding about pins, then about the sound card."""
    lines = config_lines(root)
    yield from _chip(site)
    yield from _claims(site, lines)
    yield from _card(site, lines)
    yield from _devices(site)


def config_lines(root: Path) -> list[str] | None:
    """What the firmware reads at the start, without comments and sections; None where there is no such file."""
    for name in CONFIG_TXT:
        try:
            text = (root / name).read_text(errors="replace")
        except OSError:
            continue
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("[")]
    return None


def _chip(site: Site) -> Iterator[Finding]:
    wanted = site.profile.get("pins", {}).get("chip")
    if wanted is None or not site.chips:
        return
    device = next((device for device, label in site.chips if label == wanted), None)
    if device is not None:
        yield Finding(PINS, Level.OK, f"the 40-pin header is {device} ({wanted})")
        return
    seen = ", ".join(f"{device} is {label}" for device, label in site.chips)
    todo = "update the system (sudo apt full-upgrade), or set gpio.board to the board that this is"
    yield Finding(PINS, Level.PROBLEM, f"no chip calls itself {wanted}, as this board's header does ({seen})", todo)


def _claims(site: Site, lines: Sequence[str] | None) -> Iterator[Finding]:
    pins = site.profile.get("pins", {})
    seen: dict[str, Claim] = {}
    there = [*site.cards, *([site.wanted_card] if site.wanted_card else [])]
    cards = list({card["card"]["id"]: card for card in there}.values())
    for claim in site.claims:
        if claim.pin in seen:
            todo = f"give {claim} another pin in the settings, and move its wire"
            yield Finding(PINS, Level.PROBLEM, f"{seen[claim.pin]} and {claim} both want {claim.pin}", todo)
        seen.setdefault(claim.pin, claim)
        used = False
        for card in cards:
            for finding in _against(card, claim, pins.get("usable", ())):
                used = True
                yield finding
        if not used and (duty := pins.get("special", {}).get(claim.pin)):
            todo = f"leave that off in raspi-config, or use one of {_free(pins.get('usable', ()), site.claims)}"
            yield Finding(PINS, Level.NOTE, f"{claim} is on {claim.pin}, which has another duty: {duty}", todo)
        if claim.kind == "relay":
            yield from _relay(claim, pins.get("pulled_up", ()), lines)


def _free(usable: Sequence[str], claims: Sequence[Claim]) -> str:
    taken = {claim.pin for claim in claims}
    return ", ".join(pin for pin in usable if pin not in taken) or "the pins without another duty"


def _against(card: Mapping[str, Any], claim: Claim, usable: Sequence[str]) -> Iterator[Finding]:
    name = card["card"]["name"]
    use = card.get("pins", {}).get(claim.pin)
    offered = card.get("offers", {}).get(claim.pin)
    if use:
        free = _free([pin for pin in usable if pin not in card["pins"] and pin not in card.get("offers", {})], [claim])
        todo = f"move {claim} to one of {free}"
        yield Finding(PINS, Level.PROBLEM, f"{name} needs {claim.pin} itself ({use}), and {claim} is on it", todo)
    elif offered and claim.kind == offered:
        todo = "press it, or wire another one beside it" if claim.kind == "button" else ""
        yield Finding(PINS, Level.NOTE, f"{claim} on {claim.pin} is the {offered} that is on the {name}", todo)
    elif offered:
        todo = f"move {claim} to another pin: the {offered} would connect its output to ground"
        yield Finding(PINS, Level.PROBLEM, f"{name} has its {offered} on {claim.pin}, and {claim} is on it", todo)


def _relay(claim: Claim, pulled_up: Sequence[str], lines: Sequence[str] | None) -> Iterator[Finding]:
    number = claim.pin.removeprefix("GPIO")
    line = f"gpio={number}=op,{'dl' if claim.active_high else 'dh'}"
    if lines is None or _set_from_the_start(number, claim.active_high, lines):
        return
    # Active low modules hold their own input high; a pin that is pulled down hardly moves them.
    if claim.active_high and claim.pin in pulled_up:
        text = f"{claim} is on {claim.pin}, which is high from power-on until the node starts: it would be energised"
        yield Finding(PINS, Level.PROBLEM, text, f"use another pin, or add this line to config.txt: {line}")
    else:
        text = f"until the node starts, nothing but a weak resistor keeps {claim} released"
        yield Finding(PINS, Level.NOTE, text, f"add this line to /boot/firmware/config.txt: {line}")
    if not claim.active_high:
        text = f"{claim} is of the kind that a low pin energises, often made for 5 V"
        todo = "feed its signal side (VCC) with 3.3 V and only its coil (JD-VCC) with 5 V: 5 V destroys the pin"
        yield Finding(PINS, Level.NOTE, text, todo)


def _set_from_the_start(number: str, active_high: bool, lines: Sequence[str]) -> bool:
    """config.txt: gpio=PINS=op,dl where PINS is a list with ranges."""
    for line in lines:
        found = re.fullmatch(r"gpio=([\d,-]+)=([a-z0-9,]+)", line)
        words = found[2].split(",") if found else []
        if found and number in _numbers(found[1]) and "op" in words and ("dl" if active_high else "dh") in words:
            return True
    return False


def _numbers(text: str) -> set[str]:
    found: set[str] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found |= {str(number) for number in range(int(first), int(last or first) + 1)}
    return found


def _card(site: Site, lines: Sequence[str] | None) -> Iterator[Finding]:
    card = site.wanted_card
    if card is None:
        return
    about = card["card"]
    if any(known["card"]["id"] == about["id"] for known in site.cards):
        return
    there = ", ".join(name for _, name in site.present) or "none"
    missing = [line for line in about.get("config_txt", ()) if lines is not None and line not in lines]
    if missing:
        extra = f" (the overlay comes from {about['overlay_from']})" if "overlay_from" in about else ""
        todo = f"add to /boot/firmware/config.txt and restart: {' · '.join(missing)}{extra}"
        text = f"{about['name']} is not there, and config.txt does not ask for it"
    else:
        todo = "switch off, press it onto the header or look at its wires, switch on again"
        text = f"{about['name']} is not there, though config.txt asks for it (there is: {there})"
    yield Finding(SOUND, Level.PROBLEM, text, todo)


def _devices(site: Site) -> Iterator[Finding]:
    for what, wanted in (("microphone", site.microphone), ("speaker", site.speaker)):
        if wanted in NO_DEVICE or wanted.startswith("file:"):
            continue
        card = re.sub(r"^[a-z]*hw:(CARD=)?", "", wanted).partition(",")[0].lower()
        if not any(card in f"{identity} {name}".lower() for identity, name in site.present) and not card.isdigit():
            there = ", ".join(identity for identity, _ in site.present) or "none"
            todo = (
                f'write audio.{what} = "default", or one of: {there}; a name of your own has to be in /etc/asound.conf'
            )
            yield Finding(SOUND, Level.NOTE, f'no sound card is called "{wanted}", as audio.{what} says', todo)
    if len(site.cards) and not any(card["card"]["microphone"] for card in site.cards) and site.microphone == "default":
        card = site.cards[0]["card"]
        yield Finding(SOUND, Level.PROBLEM, f"{card['name']} records nothing", card["advice"])
