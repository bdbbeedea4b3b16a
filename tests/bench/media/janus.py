"""Janus from Debian with its streaming plugin, fed with plain RTP, as something to compare with."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edge_node.rtp.packetize import Cut, h264
from tests.bench.media.publisher import FPS, every_picture
from tests.support.h264_clip import load_clip
from tests.support.process import free_port, listens
from tests.support.rtsp_server import rtp
from tests.support.waiting import eventually

ABSENT = "Janus is not installed: apt-get install janus"
PAYLOAD_TYPE = 96


def missing() -> str | None:
    """Why there is no Janus here; None when there is one."""
    found = shutil.which("janus") is not None and _modules("plugins", "streaming") is not None
    return None if found else ABSENT


def _modules(folder: str, name: str) -> Path | None:
    return next(Path("/usr/lib").glob(f"*/janus/{folder}/libjanus_{name}.so"), None)


def _write_config(folder: Path, http_port: int, rtp_port: int) -> None:
    for kind, name in (("plugins", "streaming"), ("transports", "http")):
        module = _modules(kind, name)
        assert module is not None
        (folder / kind).mkdir()
        (folder / kind / module.name).symlink_to(module)
    for kind in ("events", "loggers"):
        (folder / kind).mkdir()
    folders = "\n".join(
        f'  {kind}_folder = "{folder / kind}"' for kind in ("plugins", "transports", "events", "loggers")
    )
    (folder / "janus.jcfg").write_text(
        f'general: {{\n  configs_folder = "{folder}"\n{folders}\n  debug_level = 2\n  session_timeout = 0\n}}\n'
        'nat: {\n  ice_enforce_list = "127.0.0.1,lo"\n  ice_ignore_list = "vmnet"\n}\n'
    )
    (folder / "janus.transport.http.jcfg").write_text(
        f'general: {{\n  json = "plain"\n  base_path = "/janus"\n  http = true\n  port = {http_port}\n'
        '  ip = "127.0.0.1"\n  https = false\n}\nadmin: {\n  admin_http = false\n}\n'
    )
    (folder / "janus.plugin.streaming.jcfg").write_text(
        f'clip: {{\n  type = "rtp"\n  id = 1\n  media = (\n    {{\n      type = "video"\n      mid = "v"\n'
        f'      port = {rtp_port}\n      pt = {PAYLOAD_TYPE}\n      codec = "h264"\n'
        '      fmtp = "profile-level-id=42e01f;packetization-mode=1"\n    }\n  )\n}\n'
    )


class Janus:
    """One running Janus; a viewer is a handle of its one session."""

    def __init__(self, base: str, pid: int) -> None:
        self._base = base
        self.pid = pid
        self._session = ""
        self._handles: list[str] = []
        self._poll: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1000)

    async def begin(self) -> None:
        self._session = str((await self._ask("", janus="create"))["data"]["id"])
        self._poll = asyncio.create_task(self._listen())

    async def end(self) -> None:
        if self._poll is not None:
            await self._ask(f"/{self._session}", janus="destroy")
            self._poll.cancel()
            await asyncio.wait([self._poll])

    async def offer(self) -> tuple[int, str]:
        """A viewer's number, and what Janus offers it."""
        attached = await self._ask(f"/{self._session}", janus="attach", plugin="janus.plugin.streaming")
        handle = str(attached["data"]["id"])
        self._handles.append(handle)
        await self._message(handle, {"request": "watch", "id": 1})
        offered = await self._event(handle, "jsep")
        return len(self._handles) - 1, offered["jsep"]["sdp"]

    async def answer(self, index: int, sdp: str) -> None:
        """Returns when media may flow."""
        handle = self._handles[index]
        await self._message(handle, {"request": "start"}, {"type": "answer", "sdp": sdp})
        await self._event(handle, "webrtcup")

    async def _message(self, handle: str, body: dict[str, Any], jsep: dict[str, Any] | None = None) -> None:
        more = {"jsep": jsep} if jsep else {}
        await self._ask(f"/{self._session}/{handle}", janus="message", body=body, **more)

    async def _event(self, handle: str, what: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                event = await self._events.get()
                if str(event.get("sender")) == handle and (what in event or event.get("janus") == what):
                    return event

    async def _listen(self) -> None:
        while True:
            found = await asyncio.to_thread(_fetch, f"{self._base}/{self._session}?maxev=5", None)
            for event in found if isinstance(found, list) else [found]:
                if not self._events.full():
                    self._events.put_nowait(event)

    async def _ask(self, path: str, **fields: Any) -> dict[str, Any]:
        body = json.dumps({"transaction": "bench", **fields}).encode()
        answer = await asyncio.to_thread(_fetch, self._base + path, body)
        assert answer["janus"] in ("success", "ack"), answer
        return answer  # type: ignore[no-any-return]


def _fetch(url: str, body: bytes | None) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
    with urllib.request.urlopen(request, timeout=40) as answer:
        return json.loads(answer.read())


async def feed(clip_path: Path, port: int) -> None:
    """Plays the clip as plain RTP, cut as our own sender cuts it, until cancelled."""
    clip = load_clip(clip_path, FPS)
    cuts = [Cut(h264(b"".join(b"\0\0\0\1" + nal for nal in unit))).payloads for unit in clip.units]
    sequence = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))

        def give(count: int, now: float) -> None:
            nonlocal sequence
            payloads = cuts[count % len(cuts)]
            for index, payload in enumerate(payloads):
                marker = index == len(payloads) - 1
                ticks = count * 90_000 // FPS
                try:
                    sock.send(rtp(payload, sequence, ticks, marker=marker, ssrc=1, payload_type=PAYLOAD_TYPE))
                except ConnectionRefusedError:
                    pass
                sequence += 1

        await every_picture(give)


@asynccontextmanager
async def running_janus(clip: Path) -> AsyncIterator[Janus]:
    """Janus, fed by this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        http_port, rtp_port = free_port(), free_port()
        _write_config(folder, http_port, rtp_port)
        log = (folder / "log").open("wb")
        process = await asyncio.create_subprocess_exec("janus", "-F", name, "-i", "127.0.0.1", stdout=log, stderr=log)
        feeding = asyncio.create_task(feed(clip, rtp_port))
        janus = Janus(f"http://127.0.0.1:{http_port}/janus", process.pid)
        try:
            await eventually(lambda: process.returncode is not None or listens(http_port))
            assert process.returncode is None, (folder / "log").read_text()
            await janus.begin()
            yield janus
        finally:
            await janus.end()
            feeding.cancel()
            await asyncio.wait([feeding])
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()
            log.close()
