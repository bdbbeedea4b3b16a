"""What `ps` shows of this program while it works: never a secret, not of its children either."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge_node.cli.main import main
from tests.provision.cards import CANARY, FLEET, boot_partition
from tests.support.hub_client import running_hub
from tests.support.process import ROOT, Child
from tests.support.waiting import eventually

HASH = "$6$rounds=5000$canaryinthemine$0123456789abcdefghijklmnopqrstuv"
KEY = "pk_live_canary4711"
# Python's own report of every program that is started: a child may be gone before /proc is looked at.
TELL = """
import os, sys
def _tell(event, words):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.spawn"):
        with open(os.environ["EDGE_NODE_TOLD"], "a") as file:
            file.write(f"{event} {words!r}\\n")
sys.addaudithook(_tell)
"""


class Watch:
    """Arguments and environments of a process with all its descendants, as often as look() is called."""

    def __init__(self, folder: Path) -> None:
        self.told = folder / "told"
        self.told.touch()
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(TELL)
        self.env = {"PYTHONPATH": f"{folder / 'hook'}:{ROOT}", "EDGE_NODE_TOLD": str(self.told)}
        self.arguments: set[str] = set()
        self.environments: set[str] = set()

    def look(self, pid: int) -> None:
        """`pid` leads a session of its own."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
                if session == pid:
                    self.arguments.add((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                    self.environments.add((process / "environ").read_text(errors="replace"))
            except OSError:
                continue  # it has just ended

    def shows(self, *secrets: str) -> list[str]:
        """Which of these were to be seen."""
        seen = "\n".join((*self.arguments, *self.environments, self.told.read_text()))
        return [secret for secret in secrets if secret in seen]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Secrets in files that the fleet's file names."""
    (tmp_path / "wifi.secret").write_text(CANARY)
    (tmp_path / "user.hash").write_text(HASH)
    text = FLEET.replace("@env:WIFI", "@file:wifi.secret")
    (tmp_path / "fleet.toml").write_text(
        text.replace('name = "keeper"\n', 'name = "keeper"\npassword_hash = "@file:user.hash"\n')
    )
    (tmp_path / "fleet.csv").write_text("id,name\n" + "".join(f"gate-{n},Gate {n}\n" for n in range(1, 4)))
    words = ["hub", "claim", "new", "--file", str(tmp_path / "register.json"), "--out", str(tmp_path / "claims.csv")]
    assert main([*words, "--fleet", str(tmp_path / "fleet.csv")]) == 0
    return tmp_path


def watched(watch: Watch, words: Sequence[str]) -> str:
    """Runs a command to its end and looks all the while; what it printed."""
    done = subprocess.Popen(
        [sys.executable, "-m", "edge_node", *words],
        env={**os.environ, **watch.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while done.poll() is None and time.monotonic() < deadline:
        watch.look(done.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            done.wait(0.02)
    done.kill()
    said, _ = done.communicate(timeout=10)
    assert done.returncode == 0, said
    return said


def commands(fleet: Path) -> dict[str, Callable[[], list[str]]]:
    given = ["--fleet", str(fleet / "fleet.toml"), "--claims", str(fleet / "claims.csv"), "--out", str(fleet / "out")]
    boot = str(boot_partition(fleet / "boot"))
    return {
        "batch": lambda: ["provision", "batch", str(fleet / "fleet.csv"), *given],
        "new": lambda: ["provision", "new", "gate-2", *given, "--boot", boot],
        "write": lambda: ["provision", "write", str(fleet / "out/gate-2"), "--boot", boot, "--force"],
        "labels": lambda: ["provision", "labels", str(fleet / "out")],
    }


def test_provisioning(fleet: Path, watch: Watch) -> None:
    said = [watched(watch, words()) for words in commands(fleet).values()]
    codes = [line.split(",")[1] for line in (fleet / "claims.csv").read_text().splitlines()[1:]]
    written = (fleet / "boot/network-config").read_text()
    psk = written.partition('password: "')[2].partition('"')[0]
    assert len(psk) == 64 and HASH in (fleet / "boot/user-data").read_text(), "they were at work with them"
    secrets = (CANARY, HASH, psk, *codes)
    assert len([line for line in watch.arguments if "edge_node provision" in line]) >= 3, "it was looked at in time"
    assert watch.shows(*secrets) == []
    assert [secret for secret in secrets if secret in "".join(said)] == []


def test_there_is_no_way_to_say_one(fleet: Path, watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*commands(fleet)["batch"](), "--password", CANARY])
    assert "unrecognized arguments" in capsys.readouterr().err


def test_the_watch_sees_what_is_wrong(watch: Watch) -> None:
    """The child that says one is named by Python's report, however soon it is gone."""
    inner = f"import subprocess; subprocess.run(['true', {CANARY!r}])"
    subprocess.run([sys.executable, "-c", inner], env={**os.environ, **watch.env}, check=True, timeout=60)
    assert watch.shows(CANARY) == [CANARY]
    child = subprocess.Popen(["sleep", "60"], env={"SECRET": HASH}, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not watch.shows(HASH) and time.monotonic() < deadline:  # the kernel shows it a little after the start
            watch.look(child.pid)
    finally:
        child.kill()
        child.wait()
    assert watch.shows(HASH) == [HASH]


NODE = """
[node]
id = "front-door"
[channel]
url = "{url}"
name = "home/front-door"
[video]
source = "test"
[audio]
microphone = "test"
speaker = "file:{folder}/heard.wav"
[gpio]
driver = "mock"
"""


async def test_the_node(tmp_path: Path, watch: Watch) -> None:
    """With all it starts, until it is at its hub."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "api_key").write_text(KEY + "\n")
    async with running_hub(dev_key=KEY) as hub:
        (tmp_path / "edge-node.toml").write_text(NODE.format(url=hub.url, folder=tmp_path))
        env = {**watch.env, "RUNTIME_DIRECTORY": str(tmp_path), "CREDENTIALS_DIRECTORY": str(credentials)}
        async with Child.edge_node("run", "--config", str(tmp_path / "edge-node.toml"), env=env) as node:

            def joined() -> bool:
                watch.look(node.pid)
                return any("publishing: on home/front-door" in line for line in node.text)

            await eventually(joined, timeout_s=60, every_s=0.05)
            watch.look(node.pid)
    assert any("edge_node run" in line for line in watch.arguments)
    assert watch.shows(KEY) == [] and KEY not in "\n".join(node.text)
