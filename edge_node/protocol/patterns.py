"""Channel patterns: which names a grant or a wildcard subscription covers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from edge_node.protocol.names import channel_problem


class Wild(Enum):
    """A wildcard: SEGMENT (`*`) is any run without `/`, ANY (`**`) any run at all; both match nothing, too."""

    SEGMENT = "*"
    ANY = "**"


Token = str | Wild


def _tokens(text: str) -> list[Token]:
    """The pattern as literal characters and wildcards; wildcards in a row become one."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        step = 1
        token: Token = text[at]
        if token == "\\" and text[at + 1 : at + 2] in ("*", "\\"):
            token, step = text[at + 1], 2
        elif token == "*":
            token, step = (Wild.ANY, 2) if text.startswith("**", at) else (Wild.SEGMENT, 1)
            if tokens and isinstance(tokens[-1], Wild):
                tokens[-1] = Wild.ANY
                at += step
                continue
        tokens.append(token)
        at += step
    return tokens


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern: matching takes time proportional to the name, whatever the pattern (shift-and automaton).

    Bit i of a state set means "the first i tokens are matched"; the masks say which tokens a character passes.
    """

    text: str
    tokens: tuple[Token, ...] = field(repr=False)
    literals: dict[str, int] = field(repr=False, compare=False)
    segments: int = field(repr=False, compare=False)
    anys: int = field(repr=False, compare=False)

    @property
    def is_name(self) -> bool:
        """True when the pattern is one plain channel name: nothing in it has a special meaning."""
        return not self.segments and not self.anys and len(self.tokens) == len(self.text)

    def matches(self, name: str) -> bool:
        """True when the channel name fits."""
        return self._accepts(name)

    def covers(self, other: Pattern) -> bool:
        """True only if every name that fits the other pattern fits this one, too.

        The other's wildcards are read as symbols which only wildcards at least as wide let pass: never a false yes.
        """
        return self._accepts(other.tokens)

    def _accepts(self, symbols: Iterable[Token]) -> bool:
        wild = self.segments | self.anys
        states = 1 | ((1 & wild) << 1)
        for symbol in symbols:
            stay = self.anys
            if symbol is not Wild.ANY and symbol != "/":
                stay |= self.segments
            passed = self.literals.get(symbol, 0) if isinstance(symbol, str) else 0
            states = ((states & passed) << 1) | (states & stay)
            states |= (states & wild) << 1
            if not states:
                return False
        return bool(states >> len(self.tokens) & 1)


def parse_pattern(text: str) -> Pattern:
    """Compiles a pattern; any text is one (see pattern_problem for what a grant may hold)."""
    tokens = _tokens(text)
    literals: dict[str, int] = {}
    masks = {Wild.SEGMENT: 0, Wild.ANY: 0}
    for index, token in enumerate(tokens):
        if isinstance(token, Wild):
            masks[token] |= 1 << index
        else:
            literals[token] = literals.get(token, 0) | 1 << index
    return Pattern(text, tuple(tokens), literals, masks[Wild.SEGMENT], masks[Wild.ANY])


def escape(name: str) -> str:
    """The pattern that fits exactly this channel name."""
    return name.replace("\\", "\\\\").replace("*", "\\*")


def pattern_problem(text: str) -> str | None:
    """Why this is no pattern, or None: the same rules as for a channel name."""
    return channel_problem(text)
