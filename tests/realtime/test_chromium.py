"""Calls with Debian's Chromium: trickled and hidden candidates, both orders of ids, offers from either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from edge_node.hub.server import Hub
from edge_node.protocol import sdp
from edge_node.realtime.events import NegotiationError
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from tests.support.browser import chromium
from tests.support.hub_client import running_hub
from tests.support.peers import CodedVideo, Tone, Watcher, hears, peer_of, token
from tests.support.waiting import eventually

pytestmark = pytest.mark.chromium
SCRIPT = Path(__file__).with_name("chromium_peer.js").read_text()
NODE = "node-m"


@asynccontextmanager
async def page() -> AsyncIterator[Page]:
    async with chromium("--autoplay-policy=no-user-gesture-required") as browser:
        opened = await browser.new_page()
        await opened.add_script_tag(content=SCRIPT)
        yield opened


async def join(page: Page, hub: Hub, peer_id: str, **options: Any) -> None:
    url = f"{hub.url}/v1?token={token(peer_id)}"
    await page.evaluate("([url, options]) => connectPeer(url, 'room', options)", [url, options])


async def until(ask: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await ask():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def seen(page: Page, frames: int = 20, timeout_s: float = 30.0) -> dict[str, Any]:
    """Waits until the page decoded so many pictures and heard something."""
    found: dict[str, Any] = {}

    async def enough() -> bool:
        nonlocal found
        if not await page.evaluate(f"() => Boolean(peer.remotes['{NODE}'])"):
            return False
        found = await page.evaluate(f"() => peer.stats('{NODE}')")
        return bool(found["frames"] >= frames and found["energy"] > 0)

    try:
        await until(enough, timeout_s)
    except TimeoutError:
        raise AssertionError(f"{found} {await page.evaluate('() => peer.errors')}") from None
    return found


def node_of(hub: Hub, video: CodedVideo) -> MeteredPeer:
    node = peer_of(hub, NODE, receive=("audio",), ice_servers=[])
    stream = MediaStream(id="node:front")
    node.add_track(video, stream, {"role": "camera", "node": "front"})
    node.add_track(Tone(440), stream, {"role": "microphone", "node": "front"})
    return node


@pytest.mark.parametrize("browser_id", ["a-browser", "z-browser"])
@pytest.mark.parametrize("options", [{}, {"offer": True}, {"tone": 1000}, {"offer": True, "tone": 1000}], ids=str)
async def test_pictures_and_sound(browser_id: str, options: dict[str, Any]) -> None:
    async with running_hub() as hub, CodedVideo() as video, page() as browser:
        node = node_of(hub, video)
        watcher = Watcher(node)
        errors: list[Any] = []
        await node.join("room")
        await join(browser, hub, browser_id, **options)
        await eventually(lambda: browser_id in watcher.remotes)
        watcher.remotes[browser_id].on(NegotiationError, errors.append)
        found = await seen(browser)
        assert found["mime"] == "video/H264"
        if "tone" in options:
            await hears(await watcher.track("audio"), 1000)
        tracks = await browser.evaluate(f"() => peer.remotes['{NODE}'].tracks")
        assert {t["kind"] for t in tracks} == {"audio", "video"}
        assert all("node:front" in t["streams"] for t in tracks if t["streams"])
        # The microphone comes later: a renegotiation from the browser's side.
        await browser.evaluate(f"() => {{ peer.talk('{NODE}', 1500) }}")
        await hears(await watcher.track("audio", 1 if "tone" in options else 0), 1500)
        # And one from the node's side: numbers of extensions and formats stay.
        node.add_track(Tone(600), MediaStream(id="more"), {"role": "more"})
        await until(lambda: browser.evaluate(f"() => peer.remotes['{NODE}'].tracks.length === 3"))
        before = (await seen(browser))["frames"]
        await seen(browser, before + 20)
        assert await browser.evaluate("() => peer.errors") == []
        assert errors == []
        await node.close()


async def test_a_browser_that_goes_and_comes_back() -> None:
    async with running_hub() as hub, CodedVideo() as video, page() as browser:
        node = node_of(hub, video)
        await node.join("room")
        for _ in range(2):
            await join(browser, hub, "browser", offer=True)
            await seen(browser)
            await browser.evaluate(
                "() => { peer.socket.close(); Object.values(peer.remotes).forEach((r) => r.pc.close()) }"
            )
            await eventually(lambda: not node.remote_peers)
            assert not video.views
        await node.close()


async def test_a_browser_that_refuses_all_takes_a_later_offer() -> None:
    async with running_hub() as hub, CodedVideo() as video, page() as browser:
        node = peer_of(hub, NODE, receive=("audio",), ice_servers=[])
        node.add_track(video, MediaStream(id="node:front"))
        watcher = Watcher(node)
        errors: list[str] = []
        await node.join("room")
        await browser.evaluate(
            """() => {
              const stock = RTCPeerConnection.prototype.setLocalDescription;
              const vp8 = RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => c.mimeType === 'video/VP8');
              window.answers = [];
              window.refuses = true;
              RTCPeerConnection.prototype.setLocalDescription = async function () {
                const answers = this.signalingState === 'have-remote-offer';
                const videos = this.getTransceivers().filter((t) => t.receiver.track.kind === 'video');
                videos.forEach((t) => t.setCodecPreferences(window.refuses ? vp8 : []));
                await stock.call(this);
                if (answers) window.answers.push(this.localDescription.sdp);
              };
            }"""
        )
        await join(browser, hub, "z-browser")
        await eventually(lambda: "z-browser" in watcher.remotes)
        remote = watcher.remotes["z-browser"]
        remote.on(NegotiationError, lambda e: errors.append(str(e.err)))
        for number in (1, 2):
            await eventually(lambda: errors and remote.state == "idle")
            (answer,) = await browser.evaluate("() => window.answers.splice(0)")
            assert [(s.kind, s.rejected) for s in sdp.read(answer)] == [("video", True)]
            if number == 1:
                node.remove_track(video)
                node.add_track(video, MediaStream(id="node:again"))
                await until(lambda: browser.evaluate("() => window.answers.length > 0"))
        await browser.evaluate("() => { window.refuses = false }")
        node.add_track(Tone(600))
        await seen(browser)
        assert len(errors) == 1 and "takes nothing of the video it is offered" in errors[0]
        assert await browser.evaluate("() => peer.errors") == []
        await node.close()


async def test_a_browser_without_h264_gets_the_sound() -> None:
    async with running_hub() as hub, CodedVideo() as video, page() as browser:
        node = node_of(hub, video)
        watcher = Watcher(node)
        errors: list[str] = []
        await node.join("room")
        await browser.evaluate(
            """() => {
              const stock = RTCPeerConnection.prototype.setLocalDescription;
              const vp8 = RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => c.mimeType === 'video/VP8');
              RTCPeerConnection.prototype.setLocalDescription = function () {
                const videos = this.getTransceivers().filter((t) => t.receiver.track.kind === 'video');
                videos.forEach((t) => t.setCodecPreferences(vp8));
                return stock.call(this);
              };
            }"""
        )
        await join(browser, hub, "z-browser", offer=True)
        await eventually(lambda: "z-browser" in watcher.remotes)
        watcher.remotes["z-browser"].on(NegotiationError, lambda e: errors.append(str(e.err)))

        async def audible() -> bool:
            found = await browser.evaluate(f"() => peer.stats('{NODE}')")
            return bool(found["energy"] > 0)

        await until(audible)
        await eventually(lambda: errors)
        assert "cannot take video/H264" in errors[0]
        await node.close()


@pytest.mark.parametrize("browser_id", ["a-browser", "z-browser"])
@pytest.mark.parametrize("options", [{}, {"offer": True, "tone": 1000}], ids=str)
async def test_d06_a_connection_built_anew_is_taken_by_a_browser_that_kept_its_own(
    browser_id: str, options: dict[str, Any]
) -> None:
    async with running_hub() as hub, CodedVideo() as video, page() as browser:
        node = node_of(hub, video)
        watcher = Watcher(node)
        await node.join("room")
        await join(browser, hub, browser_id, **options)
        await seen(browser)
        for _ in range(2):
            before = (await seen(browser))["frames"]
            pc = node.remote_peers[0].pc
            node.remote_peers[0].connection.renew()
            await eventually(lambda: node.remote_peers[0].pc is not pc)  # noqa: B023
            await eventually(lambda: node.remote_peers[0].state == "connected", 30)
            await seen(browser, before + 40)
        if "tone" in options:
            await hears(watcher.tracks[-1].track, 1000)
        assert watcher.removed == []
        assert await browser.evaluate("() => peer.errors") == []
        await node.close()
