"""What an update says, on a terminal and elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select

import pytest

from edge_node.update.progress import Progress
from tests.support.waiting import eventually


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_each_step_is_a_plain_line() -> None:
    out = io.StringIO()
    with Progress(out, tick_s=0.001) as tell:
        tell("unpacking")
        tell("building")
    assert out.getvalue() == "unpacking\nbuilding\n"


async def test_a_terminal_shows_how_long_a_step_takes() -> None:
    out, seconds = Terminal(), iter(range(1000))
    with Progress(out, lambda: float(next(seconds)), tick_s=0.001) as tell:
        tell("building")
        await eventually(lambda: "\rbuilding … 2 s" in out.getvalue())
        tell("trying")
    said = out.getvalue()
    assert said.startswith("building\rbuilding … 1 s") and said.endswith("\n")
    assert "s\ntrying" in said, "a step's line ends before the next one begins"


def test_a_step_on_a_terminal_ends_with_its_line() -> None:
    out = Terminal()
    with Progress(out) as tell:
        pass
    assert out.getvalue() == ""
    with Progress(out, tick_s=3600.0) as tell:
        tell("version 1.1.0 accepted")
    assert out.getvalue() == "version 1.1.0 accepted\n"


def test_a_connection_that_is_gone_stops_nothing() -> None:
    try:
        near, far = pty.openpty()
    except OSError:
        pytest.skip("this machine has no terminals to give: mount devpts at /dev/pts")
    out = os.fdopen(far, "w")
    with Progress(out, tick_s=3600.0) as tell:
        tell("building")
        assert select.select([near], [], [], 10.0)[0] and os.read(near, 100) == b"building"
        os.close(near)
        tell("starting version 1.1.0")
        tell("version 1.1.0 accepted")
    with contextlib.suppress(OSError):  # what nobody took
        out.close()
