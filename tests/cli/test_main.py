"""The command line: words, exit statuses, one sentence on stderr, nothing heavy before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_node.cli.common import config_or_none, default_config, printable
from edge_node.cli.main import main
from edge_node.errors import Bug, RetryLater, SettingsError, UsageError

GOOD = '[channel]\nname = "home/front-door"\napi_key = "pk_live_canary123"\n'


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | int], None]:
    """Puts a stand-in in place of `doctor` that raises, or returns, this."""

    def install(outcome: BaseException | int) -> None:
        def run(_: object) -> int:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        module = types.ModuleType("edge_node.cli.doctor")
        module.main = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "edge_node.cli.doctor", module)

    return install


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (0, 0, ""),
        (RetryLater("the hub is away: wait"), 1, "edge-node: the hub is away: wait\n"),
        (Bug("this should not be"), 1, "edge-node: this should not be\n"),
        (UsageError("no such door: use door"), 2, "edge-node: no such door: use door\n"),
        (SettingsError(["a is wrong", "b is wrong"]), 78, "edge-node: a is wrong\nedge-node: b is wrong\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_statuses(
    command: Callable[[BaseException | int], None],
    capsys: pytest.CaptureFixture[str],
    outcome: BaseException | int,
    status: int,
    text: str,
) -> None:
    command(outcome)
    assert main(["doctor"]) == status
    assert capsys.readouterr().err == text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stauts"], 'did you mean "status"?'),
        (["zzz"], '"zzz" is not among simulate, run'),
        ([], "required"),
        (["open"], "DOOR"),
        (["simulate", "--port", "x"], '"x" is no number'),
        (["simulate", "--port", "70000"], "not between 0 and 65535"),
        (["simulate", "--duration", "-1"], "not between"),
        (["simulate", "--duration", "nan"], "not between"),
        (["config"], "check|show|schema"),
    ],
)
def test_wrong_words_are_one_sentence_and_two(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert expected in text
    assert text.count("\n") == 1
    assert "--help)" in text


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from edge_node.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(', '.join({'av', 'aiortc', 'numpy', 'pydantic', 'asyncio', 'websockets'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in (
        "simulate",
        "run",
        "hub",
        "status",
        "press",
        "open",
        "answer",
        "hangup",
        "reload",
        "monitor",
        "doctor",
    ):
        assert f"\n    {word} " in done.stdout


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    code = "import sys; from edge_node.cli.main import main; sys.exit(main(['config', 'schema']))"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "edge_node", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("edge-node ")


def test_config_check_knows_lights_and_boards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "node.toml"
    head = '[channel]\nname = "x"\napi_key = "pk_live_12345678"\n'
    led = '[[gpio.led]]\nname = "status"\npin = "GPIO27"\n[[rule]]\non = "data"\ndo = "led:status=flicker"\n'
    for text, told in ((led, "flicker"), ('[gpio]\nboard = "pi-9"\n', "pi-zero-2-w")):
        path.write_text(head + text)
        assert main(["config", "check", str(path)]) == 78
        assert told in capsys.readouterr().err


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.toml"
    path.write_text(GOOD)
    assert main(["config", "check", str(path)]) == 0
    assert "is fine: node node-" in capsys.readouterr().out
    path.write_text(GOOD + "[video]\nsorce = 1\nfps = 0\n")
    assert main(["config", "check", str(path)]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert any('video.sorce is no setting (did you mean "source"?)' in line for line in lines)


def test_config_show_masks_and_names_origins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "edge-node.toml"
    path.write_text(GOOD)
    assert main(["config", "show"]) == 0
    text = capsys.readouterr().out
    assert "canary" not in text
    line = next(line for line in text.splitlines() if line.startswith("channel.api_key"))
    assert line.split() == ["channel.api_key", "***", str(path)]
    assert main(["config", "show", "--config", str(path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"key": "channel.name", "value": "home/front-door", "origin": str(path)} in rows


def test_config_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "edge-node settings"


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"board", "camera", "encoder", "sound", "pins", "network", "clock", "power"} <= {
        one["area"] for one in found
    }
    assert main(["doctor"]) == 0
    assert "board    " in capsys.readouterr().out


def test_run_without_settings_ends_with_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(tmp_path / "absent.toml")]) == 78
    assert "does not exist: create it" in capsys.readouterr().err
    assert main(["run"]) == 78


def test_hub_refuses_an_open_door(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hub", "--host", "0.0.0.0", "--dev-key", "pk_dev_canary1234"]) == 78
    text = capsys.readouterr().err
    assert "--insecure-dev-key" in text
    assert "canary" not in text


def test_where_the_settings_are(tmp_path: Path) -> None:
    assert default_config({}) == Path("/etc/edge-node/edge-node.toml")
    assert default_config({"CONFIGURATION_DIRECTORY": "/a:/b"}) == Path("/a/edge-node.toml")
    assert config_or_none(Path("x")) == Path("x")
    assert config_or_none(None) is None
    (tmp_path / "edge-node.toml").write_text("")
    assert config_or_none(None) == tmp_path / "edge-node.toml"


def test_text_from_others_cannot_drive_a_terminal() -> None:
    assert printable("a\x1b[2Jb\n") == "a?[2Jb?"
    assert printable("x" * 300) == "x" * 200
