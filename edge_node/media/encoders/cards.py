"""The video hardware that the kernel offers on this machine."""

from __future__ import annotations

from pathlib import Path


def offered_cards(root: Path = Path("/")) -> dict[str, str]:
    """V4L2 cards by device path (`/dev/video11`): their names are what tells boards apart, not the model's string.

    `bcm2835-codec-encode` is the encoder of Zero 2 W, 3 and 4, `pispbe` the camera pipeline of a 5. Opens nothing.
    """
    cards = {}
    for entry in sorted((root / "sys/class/video4linux").glob("video*")):
        try:
            cards[f"/dev/{entry.name}"] = (entry / "name").read_text(errors="replace").strip()
        except OSError:  # unplugged while we looked
            continue
    return cards
