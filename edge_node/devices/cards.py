"""The sound cards that are known, with the pins that they need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_node.devices.profiles import FOLDERS, read_profiles
from edge_node.errors import SettingsError

CARD_FOLDERS = tuple(folder.parent / "sound" for folder in FOLDERS)
_CARD = re.compile(r"^\s*\d+ \[(?P<id>[^\]]*)\]: (?P<name>.*)$", re.MULTILINE)

Card = Mapping[str, Any]


def known_cards(folders: Sequence[Path] = CARD_FOLDERS) -> dict[str, Card]:
    """Every profile under hardware/sound by id; those of earlier folders win. Raises SettingsError."""
    return read_profiles(folders, "card")


def present_cards(root: Path = Path("/")) -> list[tuple[str, str]]:
    """(id, name) of what ALSA has, from /proc/asound/cards."""
    try:
        text = (root / "proc/asound/cards").read_text(errors="replace")
    except OSError:
        return []
    return [(found["id"].strip(), found["name"].strip()) for found in _CARD.finditer(text)]


def recognised(present: Iterable[tuple[str, str]], cards: Iterable[Card]) -> list[Card]:
    """The profiles of what is there: a profile names the ids that ALSA gives its card, or how its name begins."""
    cards, there = list(cards), list(present)
    return [
        card
        for card in cards
        if any(identity.startswith(mark) or name.startswith(mark) for identity, name in there for mark in marks(card))
    ]


def marks(card: Card) -> Sequence[str]:
    """How ALSA calls it."""
    return tuple(card["card"].get("alsa", ()))


def pins_of_card(card: Card) -> dict[str, str]:
    """Pin → what to call its owner, for pins that nothing else may use."""
    return {pin: f"{card['card']['name']} ({use})" for pin, use in card.get("pins", {}).items()}


def taken_pins(wanted: str, folders: Sequence[Path] = CARD_FOLDERS) -> dict[str, str]:
    """The pins of the card that audio.card names; of `auto`, none. Raises SettingsError for a card nobody knows."""
    if wanted == "auto":
        return {}
    cards = known_cards(folders)
    if wanted not in cards:
        known = ", ".join(sorted(cards))
        raise SettingsError(f'audio.card = "{wanted}" is no known sound card: use auto or {known}')
    return pins_of_card(cards[wanted])


def recognised_pins(wanted: str, root: Path = Path("/"), folders: Sequence[Path] = CARD_FOLDERS) -> dict[str, str]:
    """The pins of the cards that are there, when audio.card is `auto`; a named card's are known without looking."""
    if wanted != "auto":
        return {}
    found = recognised(present_cards(root), known_cards(folders).values())
    return {pin: owner for card in found for pin, owner in pins_of_card(card).items()}
