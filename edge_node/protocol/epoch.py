"""Whether the other side of a pair is still who it was when the two last spoke."""

from __future__ import annotations

from dataclasses import dataclass

from edge_node.protocol.payloads import Hello


@dataclass(frozen=True, slots=True)
class Introduce:
    """Tell the other side who this one is, and about what it sends."""


@dataclass(frozen=True, slots=True)
class StartOver:
    """The other side began anew: what was agreed with its former self is void."""


@dataclass(frozen=True, slots=True)
class Verify:
    """What was agreed may have been with somebody else: see whether the connection still works."""


EpochEffect = Introduce | StartOver | Verify


class Epoch:
    """One end of a pair. `own` is drawn at random when the end begins from nothing, and never changes after that.

    A hello goes out at the beginning and whenever the signalling was away, before anything else is said. An end starts
    over for a change of the *other* epoch only, and keeps its own: so both begin anew once, whoever was away. It
    answers nothing but such a change, so that two programs with one id cannot make three talk for ever.
    """

    def __init__(self, own: str) -> None:
        self.own = own
        self.other: str | None = None

    def hello(self) -> Hello:
        return Hello(self.own, self.other)

    def heard(self, hello: Hello, *, settled: bool) -> list[EpochEffect]:
        """What a hello means; `settled`: a connection was agreed upon with whoever was there before."""
        before, self.other = self.other, hello.epoch
        if before == hello.epoch:
            return []
        effects: list[EpochEffect] = [] if hello.of == self.own else [Introduce()]
        if before is not None:
            return [*effects, StartOver()]
        if settled:
            return [*effects, Verify()]
        return effects if hello.of is not None else []  # else the first hellos cross: each comes by itself
