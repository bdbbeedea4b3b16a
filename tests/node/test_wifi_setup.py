"""A code held to the camera, from the picture to the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import av
import numpy as np
import pytest

from edge_node.errors import DeviceMissing, RetryLater
from edge_node.media.jpeg import encode_jpeg
from edge_node.media.qr_reader import decode, decode_jpeg
from edge_node.node import wifi_setup
from edge_node.node.wifi_setup import ARMED_S, WifiSetup
from edge_node.protocol.wifi_code import WifiNetwork
from tests.support.clock import ManualClock
from tests.support.door_node import Handles, a_node
from tests.support.waiting import eventually

segno = pytest.importorskip("segno")
CODE = "WIFI:T:WPA;S:Doors;P:canary-pass;;"
Look = Callable[[], Awaitable[tuple[str, ...]]]


class Quiet:
    """A supervisor that listens to nothing."""

    def up(self) -> None: ...
    def down(self, reason: str) -> None: ...
    def off(self, reason: str) -> None: ...
    def note(self, reason: str | None) -> None: ...


def picture(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A VGA picture with a code in it, a little grey and noisy, as a camera has it."""
    rows = np.array([list(row) for row in segno.make(text, error="m", micro=False).matrix], np.uint8)
    code = np.kron(np.where(rows == 0, 210, 40).astype(np.uint8), np.ones((7, 7), np.uint8))
    luma = np.full((480, 640), 180, np.uint8)
    luma[60 : 60 + code.shape[0] + 40, 100 : 100 + code.shape[1] + 40] = 210
    luma[80 : 80 + code.shape[0], 120 : 120 + code.shape[1]] = code
    noise = np.random.default_rng(1).integers(-15, 16, luma.shape)
    picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = np.clip(luma + noise, 0, 255).astype(np.uint8)
    return picture


def test_a_code_is_read_from_a_picture() -> None:
    assert decode(picture(CODE)) == (CODE,)
    assert decode(np.full((480, 640), 128, np.uint8)) == ()
    jpeg, _, _ = encode_jpeg(av.VideoFrame.from_ndarray(picture(CODE), format="gray"), 400_000)
    assert decode_jpeg(jpeg) == (CODE,)


def test_without_the_library_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zxingcpp", None)
    with pytest.raises(DeviceMissing, match=r"edge-node\[qr\]"):
        decode(picture(CODE))


class Room:
    """A camera that sees `texts`, a network that may be away."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.texts: tuple[str, ...] = ()
        self.looks = 0
        self.joined: list[WifiNetwork] = []
        self.is_online = False
        self.fails: list[Exception] = []
        self.setup = WifiSetup(self.clock, lambda: self.is_online, self.look, self.join)

    async def look(self) -> tuple[str, ...]:
        self.looks += 1
        return self.texts

    async def join(self, network: WifiNetwork) -> None:
        if self.fails:
            raise self.fails.pop()
        self.joined.append(network)


@asynccontextmanager
async def a_room(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    monkeypatch.setattr(wifi_setup, "LOOK_EVERY_S", 0.001)
    room = Room()
    work = asyncio.create_task(room.setup.run(Quiet()))
    try:
        yield room
    finally:
        work.cancel()
        await asyncio.wait([work])


async def test_a_long_press_then_a_code(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with a_room(monkeypatch) as room:
        room.setup.arm()
        await eventually(lambda: room.looks > 2)
        room.texts = ("https://example.com",)
        await eventually(lambda: "no Wi-Fi code" in caplog.text)
        room.fails = [RetryLater("the network is out of reach")]
        room.texts = (CODE,)
        await eventually(lambda: room.joined and not room.setup.armed)
        assert room.joined == [WifiNetwork("Doors", "wpa", "canary-pass")]
    assert "out of reach" in caplog.text and "canary" not in caplog.text
    assert caplog.text.count("no Wi-Fi code: show") <= 1


async def test_it_looks_only_when_asked_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with a_room(monkeypatch) as room:
        room.is_online = True
        room.setup.arm()
        assert "nobody can move it" in caplog.text
        room.is_online = False
        room.setup.arm()
        await eventually(lambda: room.looks > 0)
        room.setup.arm()  # begins anew
        await eventually(lambda: caplog.text.count("hold the Wi-Fi code") == 2)
        room.clock.advance(ARMED_S)
        await eventually(lambda: not room.setup.armed)
        assert "for another try" in caplog.text and not room.joined


async def test_the_nodes_own_button(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    gpio = {"driver": "mock", "button": [{"name": "call", "pin": "GPIO17", "long_action": "wifi"}]}
    async with a_node(Handles(), None, {"gpio": gpio}) as node:
        node.press("call")
        await asyncio.sleep(0)
        assert "Wi-Fi code" not in caplog.text
        node.intercom.press("call:long")
        await eventually(lambda: "hold the Wi-Fi code to the camera" in caplog.text)
