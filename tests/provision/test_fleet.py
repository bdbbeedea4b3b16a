"""From a fleet's two files to its cards, or to every problem with its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_node.errors import SettingsError
from edge_node.provision import fleet as room
from edge_node.provision.card import CA_ON_DEVICE, Card
from edge_node.provision.fleet import Row, Secrets, build, read_claims, read_fleet, read_rows
from edge_node.settings import from_dict
from tests.provision.cards import CA, CANARY, CODE, FLEET, SSH_KEY

ENV = {"WIFI": CANARY}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


def cards(file: Path, *rows: dict[str, str], claims: bool = True) -> list[Card]:
    found = [Row(f"t.csv row {number}", row) for number, row in enumerate(rows, start=2)]
    codes = {row["id"]: CODE for row in rows if "id" in row} if claims else {}
    return build(read_fleet(file), found, codes, Secrets(file.parent, ENV))


def problems(file: Path, *rows: dict[str, str], claims: bool = True) -> str:
    with pytest.raises(SettingsError) as caught:
        cards(file, *rows, claims=claims)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def test_a_row_and_what_all_share_make_a_card(file: Path) -> None:
    (file.parent / "ca.crt").write_text(CA)
    file.write_text(FLEET.replace("[hub]", '[hub]\nca_file = "ca.crt"'))
    one, two = cards(file, {"id": "Gate_1", "name": "Gate", "channel": "home/x", "role": "camera"}, {"id": "gate-2"})
    assert one.hostname == "gate-1" and one.wifi is not None and one.user is not None
    assert one.settings["node"] == {"id": "Gate_1", "name": "Gate", "role": "camera"}
    assert one.settings["channel"]["name"] == "home/x" and two.settings["channel"]["name"] == "home/gate-2"
    channel = from_dict(two.settings).channel
    assert channel.enrolled and str(channel.ca_file) == CA_ON_DEVICE
    assert two.claim is not None and two.claim.ca == CA


def test_without_a_hub_the_settings_bring_their_own_credential(file: Path) -> None:
    text = FLEET.replace('[hub]\nurl = "wss://hub.example:9292"', '[settings.channel]\napi_key = "@env:WIFI"')
    file.write_text(text)
    assert cards(file, {"id": "a"}, claims=False)[0].settings["channel"]["api_key"] == CANARY
    file.write_text(text.replace("@env:WIFI", CANARY))
    assert "settings.channel.api_key stands in clear" in problems(file, {"id": "a"})


def test_every_problem_of_every_row_at_once(file: Path) -> None:
    said = problems(
        file,
        {"id": "gate-1"},
        {"id": "GATE-1"},
        {"name": "nobody"},
        {"id": "b", "hostname": "Not_A_Host"},
        {"id": "c", "wifi": "cellar"},
        {"id": "d", "role": "window"},
    )
    for part in (
        't.csv row 3: id "gate-1" is taken by row 2 already',
        't.csv row 3: hostname "gate-1" is taken by row 2',
        "t.csv row 4: the id is missing",
        "t.csv row 5: hostname",
        't.csv row 6: wifi "cellar" is not in the fleet',
        "t.csv row 7: node.role",
    ):
        assert part in said, said
    assert "no valid claim for gate-1" in problems(file, {"id": "gate-1"}, claims=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("id,nam\na,b\n", 'row 1: "nam" is no column (did you mean "name"?)'),
        ("id,id\na,b\n", "there twice"),
        ("name\na\n", "id is missing"),
        ("id,name\na\n\nb,c,d\n", "row 4: has 3 cells"),
        ("id\n", "no devices"),
        ('id,name\na,"x\n', "row"),
        ("id\n" + "a\n" * 10_001, "10001 devices"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_rows(tmp_path / "t.csv")
    assert reason in str(caught.value)


def test_a_table_from_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffid,name\r\na,"Gate, north"\r\n,\r\n'.encode())
    assert [dict(row.values) for row in read_rows(tmp_path / "t.csv")] == [{"id": "a", "name": "Gate, north"}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = [", "no valid TOML"),
        ("[cards]\n", 'did you mean "card"'),
        ('[wifi.a]\nssid = "x"\npassword = "clear-text"\n', "stands in clear"),
        ('[user]\nname = "a"\npassword_hash = "$6$x"\n', "stands in clear"),
        ('[hub]\nurl = "x"\n', "hub.url"),
    ],
)
def test_fleets_that_are_none(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_fleet(tmp_path / "f.toml")
    assert reason in str(caught.value) and "clear-text" not in str(caught.value)


def test_secrets_come_from_where_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s").write_text("from-file\n")
    asked: list[str] = []
    secrets = Secrets(tmp_path, {"A": "from-env"}, lambda what: asked.append(what) or "typed")  # type: ignore[func-returns-value]
    found: Any = secrets.put_in({"a": "@env:A", "b": ["@file:s", 5], "c": {"d": "@prompt"}, "e": "x@env:A"})
    assert found == {"a": "from-env", "b": ["from-file", 5], "c": {"d": "typed"}, "e": "x@env:A"}
    assert secrets.put_in({"c": {"d": "@prompt"}}) == {"c": {"d": "typed"}} and asked == ["c.d: "], "asked once"
    for reference, reason in (("@env:B", "not set"), ("@file:none", "cannot be read"), ("@env", "names nothing")):
        with pytest.raises(SettingsError, match=reason):
            secrets.put_in({"a": reference})
    with pytest.raises(SettingsError, match="a is asked for, and nobody is there to type it"):
        Secrets(tmp_path, {}, nobody).put_in("@prompt", "a")
    (tmp_path / "s").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="UTF-8"):
        Secrets(tmp_path, {}).put_in("@file:s", "a")
    monkeypatch.setattr(room, "MAX_FILE_BYTES", 0)
    with pytest.raises(SettingsError, match="too large"):
        Secrets(tmp_path, {}).put_in("@file:s", "a")


def nobody(_: str) -> str:
    raise EOFError


def test_a_home_that_is_nobodys(tmp_path: Path, file: Path) -> None:
    with pytest.raises(SettingsError, match="a is ~no-such-user/key, whose ~ is nobody's home"):
        Secrets(tmp_path, {}).put_in("@file:~no-such-user/key", "a")
    file.write_text(FLEET.replace("[hub]", '[hub]\nca_file = "~no-such-user/ca.crt"'))
    assert "hub.ca_file is ~no-such-user/" in problems(file, {"id": "gate-1"})


def test_claims_the_last_of_each_that_is_still_good(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("node,code,expires\na,old,50\nb,first,200\nb,second,200\n")
    assert read_claims(path, 100) == {"b": "second"}
    for text in ("", "id,code\n", "node,code,expires\na,b\n", "node,code,expires\na,b,soon\n", "x" * 200_000):
        path.write_text(text)
        with pytest.raises(SettingsError, match="edge-node hub claim new"):
            read_claims(path, 0)


def test_the_templates_are_valid(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(room.TEMPLATE.replace("~/.ssh/id_ed25519.pub", "key.pub"))
    (tmp_path / "fleet.csv").write_text(room.CSV_TEMPLATE)
    (tmp_path / "key.pub").write_text(SSH_KEY + "\n")
    (tmp_path / "ca.crt").write_text(CA)
    secrets = Secrets(tmp_path, {}, lambda what: CANARY)
    found = build(read_fleet(tmp_path / "fleet.toml"), read_rows(tmp_path / "fleet.csv"), {"gate-1": CODE}, secrets)
    assert [card.id for card in found] == ["gate-1"]
    shared: dict[str, Any] = {"settings": {"node": 5}}
    assert isinstance(room._settings(read_fleet(tmp_path / "fleet.toml"), shared, {}, "a", None), dict)
