"""Playing patterns."""

from __future__ import annotations

import threading

from edge_node.devices.lights import LightPlayer, Shade
from edge_node.devices.patterns import Colour, Look, look
from tests.support.waiting import eventually


class Lamps:
    def __init__(self) -> None:
        self.lit: dict[str, bool] = {}
        self.writes: list[tuple[str, bool]] = []
        self.colours: list[Colour | None] = []
        self.failures: list[Exception] = []
        self.broken = False

    def write(self, name: str, shade: Shade) -> None:
        if self.broken:
            raise OSError("gone")
        self.lit[name] = shade.lit
        self.colours.append(shade.colour)
        self.writes.append((name, shade.lit))


def show(player: LightPlayer, name: str, text: str) -> None:
    wanted = look(text)
    assert isinstance(wanted, Look)
    player.show(name, wanted)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "lights"]


async def test_patterns_are_played() -> None:
    lamps, player = Lamps(), LightPlayer(["a", "b"])
    show(player, "a", "on")
    player.start(lamps.write, lamps.failures.append)
    await eventually(lambda: lamps.lit.get("a"))
    show(player, "b", "fast")
    await eventually(lambda: [lit for name, lit in lamps.writes if name == "b"][:4] == [True, False, True, False])
    show(player, "b", "off")
    show(player, "a", "off")
    await eventually(lambda: lamps.lit == {"a": False, "b": False})
    player.stop()
    assert threads() == []
    assert lamps.failures == []


async def test_what_was_shown_before_is_played_again_after_a_restart() -> None:
    lamps, player = Lamps(), LightPlayer(["a"])
    for _ in range(2):
        player.start(lamps.write, lamps.failures.append)
        show(player, "a", "on")
        await eventually(lambda: lamps.lit.get("a"))
        player.stop()
        lamps.lit.clear()


async def test_a_lamp_that_fails_is_reported_once() -> None:
    lamps, player = Lamps(), LightPlayer(["a"])
    lamps.broken = True
    player.start(lamps.write, lamps.failures.append)
    show(player, "a", "blink")
    await eventually(lambda: lamps.failures)
    show(player, "a", "fast")
    player.stop()
    assert [str(err) for err in lamps.failures] == ["gone"]


async def test_another_colour_of_the_same_pattern_is_shown() -> None:
    lamps, player = Lamps(), LightPlayer(["a"])
    player.start(lamps.write, lamps.failures.append)
    show(player, "a", "on#ff0000")
    await eventually(lambda: lamps.colours == [(1.0, 0.0, 0.0)])
    show(player, "a", "on#0000ff")
    await eventually(lambda: lamps.colours[-1] == (0.0, 0.0, 1.0))
    show(player, "a", "off#0000ff")
    await eventually(lambda: lamps.writes[-1] == ("a", False))
    player.stop()


def test_without_lamps() -> None:
    player = LightPlayer([])
    player.start(lambda name, shade: None, lambda err: None)
    player.stop()
    player.stop()
    assert threads() == []
