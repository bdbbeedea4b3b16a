"""Tokens from a setting, a file, an address, a command."""

from __future__ import annotations

import asyncio
import os
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_node.errors import RetryLater
from edge_node.host import tokens
from edge_node.host.tokens import token_provider
from edge_node.realtime.credential import MAX_CALLS, Credential
from edge_node.settings import from_dict
from tests.support.raw_server import answering
from tests.support.waiting import eventually

NOBODY = "http://127.0.0.1:1"
"""A port where nothing listens."""


async def fetch(**channel: Any) -> str:
    provider = token_provider(from_dict({"channel": {"name": "a", **channel}}).channel)
    return await Credential(None, provider).value()


async def test_a_key_needs_no_token() -> None:
    assert token_provider(from_dict({"channel": {"name": "a", "api_key": "pk"}}).channel) is None


async def test_each_source_gives_its_token(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("from-file\n")
    assert await fetch(token="as-it-is") == "as-it-is"
    assert await fetch(token_file=str(tmp_path / "t")) == "from-file"
    assert await fetch(token_command=["printf", "from-command"]) == "from-command"
    assert await fetch(token_command='printf \'{"token": "from-json"}\'') == "from-json"
    (tmp_path / "t").write_text("renewed\n")
    assert await fetch(token_file=str(tmp_path / "t")) == "renewed"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["false"], "false ended with status 1"),
        (["true"], "true gave no token"),
        (["echo", "two words"], "echo gave no token"),
        (["echo", "{broken"], "echo gave no token"),
        (["/does/not/exist"], "cannot be run"),
    ],
)
async def test_commands_that_give_none(command: list[str], expected: str) -> None:
    with pytest.raises(RetryLater, match=expected):
        await fetch(token_command=command)


async def test_a_command_has_a_deadline_and_does_not_survive_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "TOKEN_DEADLINE_S", 0.05)
    with pytest.raises(RetryLater, match="within 0.05 s: check it".replace(".", r"\.")):
        await fetch(token_command=["sleep", "60"])


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="cannot be read"):
        await fetch(token_file=str(tmp_path / "absent"))


class _Mint(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/token" else 403)
        self.end_headers()
        self.wfile.write(b'{"token": "from-address"}')

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def mint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Mint)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_an_address(mint: str) -> None:
    urllib.request.install_opener(None)  # as in a new process
    assert await fetch(token_url=f"{mint}/token") == "from-address"
    assert urllib.request._opener is None, "one that stays has all the system's authorities in it"  # type: ignore[attr-defined]
    with pytest.raises(RetryLater, match="HTTP status 403"):
        await fetch(token_url=f"{mint}/other")


NESTED = b'{"token": ' + b"[" * 60_000


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as a web server does"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf", "does not answer as a web server does"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + NESTED, "gave no token"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"token": null}', "gave no token"),
        (
            b"HTTP/1.0 302 Found\r\nLocation: http://keeper:s3cret@127.0.0.1/\r\n\r\n",
            r"does not answer as a web server does \(InvalidURL\): check it$",
        ),
    ],
)
async def test_an_address_with_something_else(reply: bytes, told: str) -> None:
    async with answering(reply) as port:
        with pytest.raises(RetryLater, match=f"channel.token_url {told}"):
            await fetch(token_url=f"http://127.0.0.1:{port}/token")


async def test_a_source_that_never_answers_leaves_the_loop_its_threads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    provider = token_provider(from_dict({"channel": {"name": "a", "token_file": str(tmp_path / "token")}}).channel)
    credential = Credential(None, provider)
    hanging: list[asyncio.Task[str]] = [asyncio.create_task(credential.value()) for _ in range(40)]
    await eventually(lambda: sum(task.done() for task in hanging) == 40 - MAX_CALLS)
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(lambda: "others go on") == "others go on"

    def let_go() -> bool:
        os.close(os.open(tmp_path / "token", os.O_RDWR))
        return all(task.done() for task in hanging)

    await eventually(let_go)
    assert all(isinstance(task.exception(), RetryLater | TimeoutError) for task in hanging)


async def test_an_address_where_nobody_is() -> None:
    with pytest.raises(RetryLater, match="cannot be reached"):
        await fetch(token_url=f"{NOBODY}/token")
