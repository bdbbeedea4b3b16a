"""aioice without mDNS."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import aioice.ice
import pytest

from edge_node.realtime import no_mdns

ALONE = """
import sys
from edge_node.realtime.no_mdns import leave_mdns_out
leave_mdns_out()
import aiortc, aioice.ice
assert not [name for name in sys.modules if name.split(".")[0] == "dns"]
assert not aioice.ice.mdns.is_mdns_hostname("b6c0ad9f-2d07-4b8d-b0f0-51b6ae0b2c05.local")
"""


def test_dnspython_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_program_that_has_aioice_already_keeps_it() -> None:
    before = sys.modules[no_mdns.NAME]
    no_mdns.leave_mdns_out()
    assert sys.modules[no_mdns.NAME] is before is not no_mdns


def test_aioice_asks_for_nothing_else() -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(Path(aioice.ice.__file__).read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mdns"
    }
    assert used <= {"MDnsProtocol", "is_mdns_hostname", "create_mdns_protocol"}


async def test_what_stands_in_is_never_called() -> None:
    assert not no_mdns.is_mdns_hostname("a.local")
    with pytest.raises(NotImplementedError):
        await no_mdns.create_mdns_protocol()
