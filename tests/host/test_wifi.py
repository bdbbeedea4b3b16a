"""What NetworkManager is told, by whom a password is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_node.errors import DeviceMissing, RetryLater
from edge_node.host import wifi
from edge_node.host.wifi import FRESH, NAME, editor_script, join_wifi
from edge_node.protocol.wifi_code import WifiNetwork

NETWORK = WifiNetwork("Doors", "wpa", "canary-pass")
FAKE = """#!/usr/bin/env python3
import json, sys
from pathlib import Path
heard = Path(__file__).with_name("heard")
with heard.open("a") as file:
    file.write(json.dumps({"words": sys.argv[1:], "said": sys.stdin.read()}) + "\\n")
print("Error: not authorized", file=sys.stderr)
sys.exit(4 if sys.argv[2] in Path(__file__).with_name("refuses").read_text().split() else 0)
"""


@pytest.fixture
def nmcli(tmp_path: Path) -> Path:
    path = tmp_path / "nmcli"
    path.write_text(FAKE)
    path.chmod(0o755)
    (tmp_path / "refuses").write_text("delete")
    return path


def heard(nmcli: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in nmcli.with_name("heard").read_text().splitlines()]


def refuse(nmcli: Path, verb: str) -> None:
    nmcli.with_name("refuses").write_text(verb)


async def test_a_network_is_kept_and_joined(nmcli: Path) -> None:
    await join_wifi(NETWORK, [str(nmcli)])
    told = heard(nmcli)
    assert [line["words"][1] for line in told] == ["delete", "edit", "up", "delete", "modify"]  # type: ignore[index]
    assert told[-1]["words"] == ["connection", "modify", "id", FRESH, "connection.id", NAME]
    assert "set 802-11-wireless-security.psk" in str(told[1]["said"])
    assert "canary" not in json.dumps(told), "neither as an argument nor as it was typed"


async def test_one_that_cannot_be_joined_costs_no_network(nmcli: Path) -> None:
    """Its password may be wrong: the one from before has to be there still."""
    refuse(nmcli, "up")
    with pytest.raises(RetryLater):
        await join_wifi(NETWORK, [str(nmcli)])
    deleted = [line["words"] for line in heard(nmcli) if "delete" in line["words"]]  # type: ignore[operator]
    assert deleted == [["connection", "delete", "id", FRESH]] * 2


async def test_what_it_refuses_is_told_without_the_password(nmcli: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(nmcli, "up")
    with pytest.raises(RetryLater, match="may not change networks") as caught:
        await join_wifi(NETWORK, [str(nmcli)])
    assert "canary" not in str(caught.value)
    with pytest.raises(DeviceMissing, match="NetworkManager"):
        await join_wifi(NETWORK, ["/none/nmcli"])
    monkeypatch.setattr(wifi, "DEADLINE_S", 0.05)
    with pytest.raises(RetryLater, match="in reach"):
        await join_wifi(NETWORK, ["sh", "-c", "exec sleep 60"])


def test_the_kinds_of_networks() -> None:
    assert "security" not in editor_script(WifiNetwork("Guests", "open"))
    script = editor_script(WifiNetwork("a", "sae", "12345678", hidden=True))
    assert "key-mgmt sae" in script and "psk 12345678" in script and "hidden yes" in script
