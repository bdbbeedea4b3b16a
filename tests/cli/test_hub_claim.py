"""Claims and devices from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from edge_node.cli.main import main
from edge_node.hub.enrol_file import Device, changing, hashed, read_register


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "enrolment.json"


def test_a_fleets_claims_go_into_a_file_of_their_own(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, out = tmp_path / "fleet.csv", tmp_path / "claims.csv"
    fleet.write_text("id,name\ngate-1,Gate\ngate-2,Other\n")
    words = ["hub", "claim", "new", "--file", str(file), "--out", str(out)]
    assert main([*words, "--fleet", str(fleet)]) == 0
    assert main([*words, "gate-3", "--hours", "1", "--channels", "office"]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["node"] for row in rows] == ["gate-1", "gate-2", "gate-3"]
    assert out.stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr()
    claims = read_register(file).claims.values()
    for row, claim in zip(rows, claims, strict=True):
        assert claim.hash == hashed(row["code"]) and row["code"] not in said.out + said.err + file.read_text()
    assert [claim.channels for claim in claims] == [
        ("home/*", "telemetry/gate-1"), ("home/*", "telemetry/gate-2"), ("office",)
    ]  # fmt: skip
    for wrong, reason in (
        (words, "name the nodes"),
        ([*words, "a", "a"], "named twice"),
        ([*words, "--fleet", str(tmp_path / "none")], "cannot be read"),
        ([*words, "--fleet", str(out)], "no column id"),
        (["hub", "claim", "new", "a", "--file", str(file), "--out", str(tmp_path)], "cannot be written"),
    ):
        assert main(wrong) == 2 and reason in capsys.readouterr().err


def test_lists_show_no_codes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--file", str(file)]
    assert main(["hub", "claim", "list", *at]) == 0 and "no claims" in capsys.readouterr().out
    assert main(["hub", "claim", "new", "gate-1", *at]) == 0
    code = capsys.readouterr().out.strip().removeprefix("gate-1: ")
    assert main(["hub", "claim", "new", "gate-2", "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out)["claims"][0]["node"] == "gate-2"
    assert main(["hub", "claim", "list", *at]) == 0
    shown = capsys.readouterr().out
    assert "gate-1" in shown and code not in shown
    assert main(["hub", "claim", "list", "--json", *at]) == 0
    assert "hash" not in json.loads(capsys.readouterr().out)["claims"][0]
    assert main(["hub", "claim", "revoke", "gate-1", *at]) == 0
    assert main(["hub", "claim", "revoke", "gate-1", *at]) == 2


def test_devices(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--file", str(file)]
    assert main(["hub", "device", "list", *at]) == 0 and "no devices" in capsys.readouterr().out
    with changing(file) as register:
        register.devices["gate-1"] = Device(node="gate-1", key="00" * 32, enrolled=1, claim="x" * 8)
    assert main(["hub", "device", "list", *at]) == 0 and "gate-1" in capsys.readouterr().out
    assert main(["hub", "device", "revoke", "gate-1", "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out) == {"revoked": "gate-1"}
    assert main(["hub", "device", "revoke", "gate-1", *at]) == 2
    assert main(["hub", "device", "list", "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["devices"][0]["revoked"]


def test_the_usual_place_is_beside_the_key_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hub.toml").write_text(f'state_dir = "{tmp_path}/state"\n')
    assert main(["hub", "claim", "new", "gate-1", "--config", str(tmp_path / "hub.toml")]) == 0
    assert (tmp_path / "state" / "enrolment.json").exists()
