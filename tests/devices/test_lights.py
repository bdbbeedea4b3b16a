"""Playing patterns."""

from __future__ import annotations

import threading

from edge_node.devices.lights import LightPlayer
from tests.support.waiting import eventually


class Lamps:
    def __init__(self) -> None:
        self.lit: dict[str, bool] = {}
        self.writes: list[tuple[str, bool]] = []
        self.failures: list[Exception] = []
        self.broken = False

    def write(self, name: str, lit: bool) -> None:
        if self.broken:
            raise OSError("gone")
        self.lit[name] = lit
        self.writes.append((name, lit))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "lights"]


async def test_patterns_are_played() -> None:
    lamps, player = Lamps(), LightPlayer(["a", "b"])
    player.show("a", "on")
    player.start(lamps.write, lamps.failures.append)
    await eventually(lambda: lamps.lit.get("a"))
    player.show("b", "fast")
    await eventually(lambda: [lit for name, lit in lamps.writes if name == "b"][:4] == [True, False, True, False])
    player.show("b", "off")
    player.show("a", "off")
    await eventually(lambda: lamps.lit == {"a": False, "b": False})
    player.stop()
    assert threads() == []
    assert lamps.failures == []


async def test_what_was_shown_before_is_played_again_after_a_restart() -> None:
    lamps, player = Lamps(), LightPlayer(["a"])
    for _ in range(2):
        player.start(lamps.write, lamps.failures.append)
        player.show("a", "on")
        await eventually(lambda: lamps.lit.get("a"))
        player.stop()
        lamps.lit.clear()


async def test_a_lamp_that_fails_is_reported_once() -> None:
    lamps, player = Lamps(), LightPlayer(["a"])
    lamps.broken = True
    player.start(lamps.write, lamps.failures.append)
    player.show("a", "blink")
    await eventually(lambda: lamps.failures)
    player.show("a", "fast")
    player.stop()
    assert [str(err) for err in lamps.failures] == ["gone"]


def test_without_lamps() -> None:
    player = LightPlayer([])
    player.start(lambda name, lit: None, lambda err: None)
    player.stop()
    player.stop()
    assert threads() == []
