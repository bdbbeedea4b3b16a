"""What an examination of this machine says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """`ok` and `note` let a node work; `problem` takes something away from it."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `todo` is one sentence, empty when nothing needs to be done."""

    area: str
    level: Level
    text: str
    todo: str = ""
