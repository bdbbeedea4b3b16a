"""Name and time in the picture: readable, and never in a picture that others have."""

from __future__ import annotations

import av
import numpy as np
import pytest

from edge_node.media import font
from edge_node.media.overlay import DARK, LIGHT, Overlay, fill
from edge_node.settings.checks import OVERLAY_FIELDS
from tests.support.clock import ManualClock


def flat(kind: str, width_px: int = 640, height_px: int = 480) -> av.VideoFrame:
    grey = av.VideoFrame.from_ndarray(np.full((height_px * 3 // 2, width_px), 90, np.uint8), "yuv420p")
    return grey if kind == "yuv420p" else grey.reformat(format=kind)


def luma(frame: av.VideoFrame) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    plane = frame.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width]


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "yuvj422p", "rgb24", "gray"])
def test_a_copy_gets_the_text_and_the_original_stays(kind: str) -> None:
    frame = flat(kind)
    before = bytes(frame.planes[0])
    made = Overlay("{name} {time}", "Haustür", ManualClock())(frame)
    assert bytes(frame.planes[0]) == before
    assert (made.width, made.height) == (640, 480)
    text = luma(made)[:22, :100]
    assert {DARK, LIGHT} <= set(np.unique(text).tolist()) and abs(
        int(luma(made)[300, 300]) - int(luma(made)[400, 9])
    ) < 2


def test_the_text_follows_the_clock_and_is_drawn_once_a_second() -> None:
    clock = ManualClock()
    overlay = Overlay("{date} {time}", "x", clock)
    first, drawn = overlay.text(), overlay._block(overlay.text(), 2)
    assert overlay._block(overlay.text(), 2) is drawn
    clock.advance(1)
    assert overlay.text() != first and len(first) == len("2027-01-15 08:00:00")


@pytest.mark.parametrize("field", OVERLAY_FIELDS)
def test_every_field_that_may_be_set_is_filled(field: str) -> None:
    assert "{" not in Overlay(f"{{{field}}}", "x", ManualClock()).text()


def test_letters_in_the_picture_are_those_of_the_font() -> None:
    made = luma(Overlay("K", "", ManualClock())(flat("yuv420p", 640, 240)))
    rows = [[int(made[2 + row, 2 + column] == LIGHT) for column in range(5)] for row in range(7)]
    assert [int("".join(map(str, row)), 2) for row in rows] == list(font.GLYPHS["K"])


def test_long_texts_small_pictures_strange_letters() -> None:
    tiny = Overlay("{name}" * 20, "A very long name", ManualClock())(flat("yuv420p", 64, 64))
    assert (tiny.width, tiny.height) == (64, 64)
    assert font.drawable("Haustür ñ ß 門 \n") == "Haustur n ß ? ?"
    assert fill("{name} {other}", {"name": "a"}) == "a {other}"
    assert all(len(rows) == font.HEIGHT and max(rows) < 32 for rows in font.GLYPHS.values())
    assert {chr(code) for code in range(32, 127)} <= set(font.GLYPHS)
