"""The link emulator of the tests: what it does to packets, and that our peers and Chromium meet through it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path as File
from typing import Any

import pytest

from edge_node.realtime.streams import MediaStream
from tests.support.browser import chromium
from tests.support.hub_client import running_hub
from tests.support.link import NOWHERE, Path, check_username, running_link
from tests.support.peers import CodedVideo, Watcher, peer_of, token
from tests.support.waiting import eventually

HANDSHAKE = b"\x16" + bytes(99)


def rtp(number: int, payload_type: int = 97, size: int = 100) -> bytes:
    return bytes([0x80, payload_type]) + number.to_bytes(2, "big") + bytes(size - 4)


def test_a_good_path_changes_nothing() -> None:
    path = Path()
    assert [path.admit(rtp(n), 5.0) for n in range(3)] == [5.0, pytest.approx(5.0), pytest.approx(5.0)]
    assert path.counters.packets == path.counters.media_packets == 3 and path.counters.bytes == 300


def test_loss_is_seeded_and_spares_the_handshake() -> None:
    def run(seed: int) -> list[bool]:
        path = Path(seed=seed, loss_percent=20)
        assert all(path.admit(HANDSHAKE, 0.0) is not None for _ in range(100))
        fates = [path.admit(rtp(n), 0.0) is None for n in range(1000)]
        assert path.counters.lost == path.counters.dropped == sum(fates)
        return fates

    assert run(1) == run(1) != run(2)
    assert 150 < sum(run(1)) < 250


def test_order_is_kept_but_by_late_ones() -> None:
    path = Path(seed=3, delay_ms=10, jitter_ms=20)
    at = [path.admit(rtp(n), n / 1000) or 0.0 for n in range(200)]
    assert at == sorted(at) and all(0.01 <= t - n / 1000 <= 0.031 for n, t in enumerate(at))
    path = Path(late_percent=100, late_ms=12)
    assert path.admit(rtp(0), 1.0) == pytest.approx(1.012) and path.counters.late == 1
    assert path.admit(HANDSHAKE, 1.0) == 1.0


def test_a_narrow_path_has_a_queue_that_overflows_at_its_tail() -> None:
    path = Path(rate_kbps=800, queue_bytes=250)  # 100 bytes a millisecond
    fates = [path.admit(rtp(n), 0.0) for n in range(4)]
    assert fates == [pytest.approx(0.001), pytest.approx(0.002), None, None] and path.counters.overflowed == 2
    assert path.admit(rtp(4), 0.0015) == pytest.approx(0.003)
    path.set(rate_kbps=80)
    assert path.admit(rtp(5), 0.002) == pytest.approx(0.0265)  # what waits goes at the new rate too
    path.set(rate_kbps=None)
    assert path.admit(rtp(6), 1.0) == 1.0
    assert Path(rate_kbps=800, queue_bytes=50).admit(rtp(0), 0.0) == pytest.approx(0.001)


def test_what_is_sent_again_is_told_apart() -> None:
    path = Path(repairs=False, rtx_types={98})
    assert path.admit(rtp(1), 0.0) is not None
    assert path.admit(rtp(1), 0.0) is None and path.admit(rtp(500, 98), 0.0) is None
    assert path.admit(bytes([0x80, 205]) + bytes(20), 0.0) is not None  # RTCP is no repair
    count = path.counters
    assert (count.media_packets, count.resent_packets, count.resent_bytes, count.filtered) == (1, 2, 200, 2)
    path.set(repairs=True, drop=lambda packet: packet[1] == 98)
    assert path.admit(rtp(1), 0.0) is not None and path.admit(rtp(7, 98), 0.0) is None
    path.set(open=False)
    assert path.admit(HANDSHAKE, 0.0) is None
    for number in range(6000):
        path.admit(rtp(number), 0.0)
    assert len(path._known) <= 4097


def test_the_name_in_an_ice_check() -> None:
    name = b"\0\x06\0\x05abc:d\0\0\0"
    assert check_username(b"\0\1" + bytes(18) + b"\0\x24\0\4abcd" + name) == "abc:d"
    assert check_username(b"\0\1" + bytes(18)) is None and check_username(rtp(1)) is None


async def test_signals_get_other_addresses() -> None:
    async with running_hub() as hub, running_link(hub) as link:
        candidate = "candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host generation 0"
        changed = link._candidate("aa", candidate).split(" ")
        assert changed[4] == "127.0.0.1" and int(changed[5]) != 5000 and changed[6:] == candidate.split(" ")[6:]
        assert link._candidate("aa", candidate) == " ".join(changed)
        for bad in (
            "candidate:1 1 tcp 2130706431 127.0.0.1 9 typ host tcptype active",
            "candidate:1 1 udp 2130706431 ::1 5000 typ host",
            "candidate:1 1 udp 2130706431 abc.local 5000 typ host",
            "candidate:1 1 udp 1 127.0.0.1 5000 typ srflx raddr 0.0.0.0 rport 0",
        ):
            assert link._candidate("aa", bad).split(" ")[4] == NOWHERE
        for text in ('{"type":"ping"}', '{"type":"send","to":"x","data":5}', '{"type":"send","to":"x","data":{}}'):
            assert link.rewrite("aa", text).replace(" ", "") == text


async def test_our_peers_talk_through_it() -> None:
    async with running_hub() as hub, running_link(hub, delay_ms=5) as link, CodedVideo() as video:
        sender, receiver = peer_of(link, "aa"), peer_of(link, "zz")
        watcher = Watcher(receiver)
        sender.add_track(video, MediaStream(id="node:x"))
        await sender.join("room")
        await receiver.join("room")
        track = await watcher.track("video")
        async with asyncio.timeout(30):
            for _ in range(20):
                await track.recv()
        there, back = link.path("aa", "zz"), link.path("zz", "aa")
        assert there.counters.media_packets >= 20 and back.counters.packets > 0 and there.rtx_types
        assert not link.unknown
        # Its settings change at any time, and nothing goes around it.
        link.set(loss_percent=100)
        await eventually(lambda: there.counters.lost > 20)
        await receiver.close()
        await sender.close()


async def test_the_hubs_pages_come_through() -> None:
    async with running_hub() as hub, running_link(hub) as link:

        def get(path: str) -> tuple[int, bytes]:
            with urllib.request.urlopen(link.url.replace("ws", "http", 1) + path, timeout=5) as answer:
                return answer.status, answer.read()

        status, body = await asyncio.to_thread(get, "/healthz")
        assert status == 200 and body
        with pytest.raises(urllib.error.HTTPError) as err:
            await asyncio.to_thread(get, "/nothing-here")
        assert err.value.code == 404
        err.value.close()


@pytest.mark.chromium
async def test_chromium_talks_through_it() -> None:
    script = File(__file__).with_name("chromium_peer.js").read_text()
    async with (
        running_hub() as hub,
        running_link(hub, delay_ms=10) as link,
        CodedVideo() as video,
        chromium() as browser,
    ):
        node = peer_of(link, "node", receive=("audio",), ice_servers=[])
        node.add_track(video, MediaStream(id="node:front"))
        await node.join("room")
        page = await browser.new_page()
        await page.add_script_tag(content=script)
        address = f"{link.url}/v1?token={token('browser')}"
        await page.evaluate("([url, options]) => connectPeer(url, 'room', options)", [address, {}])
        found: dict[str, Any] = {"frames": 0}
        async with asyncio.timeout(30):
            while found["frames"] < 20:
                await asyncio.sleep(0.05)
                if await page.evaluate("() => Boolean(peer.remotes['node'])"):
                    found = await page.evaluate("() => peer.stats('node')")
        assert link.path("node", "browser").counters.media_packets >= 20
        assert link.path("browser", "node").counters.packets > 0
        await node.close()
