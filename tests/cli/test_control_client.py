"""The client's end of the control socket, against daemons that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_node.cli.control_client import call
from edge_node.errors import Bug, EdgeNodeError, RetryLater, UsageError


@contextmanager
def daemon(path: Path, answer: bytes | None) -> Iterator[None]:
    """Answers one connection with these bytes; None: accepts, says nothing until the end."""
    done = threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        conversation, _ = listener.accept()
        with conversation:
            conversation.recv(65536)
            if answer is None:
                done.wait(10)
            else:
                conversation.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(10)
        listener.close()


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"", RetryLater, "without an answer"),
        (b"nonsense\n", RetryLater, "without an answer"),
        (b'{"ok": true}\n', RetryLater, "without an answer"),
        (b'{"ok": false}\n', RetryLater, "without an answer"),
        (b'{"ok": false, "kind": "failed", "error": "stuck"}\n', EdgeNodeError, "stuck"),
        (b'{"ok": false, "kind": "new", "error": "x"}\n', Bug, "unknown kind new"),
        (b"x" * (1 << 20) + b"yyy", RetryLater, "without an answer"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: bytes, error: type[Exception], text: str) -> None:
    with daemon(tmp_path / "s", answer), pytest.raises(error, match=text):
        call(tmp_path / "s", "status", timeout_s=10)


def test_a_silent_daemon_has_a_deadline(tmp_path: Path) -> None:
    with daemon(tmp_path / "s", None), pytest.raises(RetryLater, match=r"did not answer within 0\.05 s"):
        call(tmp_path / "s", "status", timeout_s=0.05)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match=r"no edge-node runs at .*: start it"):
        call(tmp_path / "s", "status")
    (tmp_path / "file").write_text("")
    with pytest.raises(RetryLater, match="no edge-node runs"):
        call(tmp_path / "file", "status")
    with pytest.raises(UsageError, match="more than 107 bytes"):
        call(tmp_path / ("x" * 120), "status")
    with pytest.raises(RetryLater, match="broke"):
        call(tmp_path / "file" / "s", "status")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(UsageError, match="join the group edge-node"):
        call(tmp_path / "s", "status")
