"""The real unit under a real systemd, in a container; own command: bash tests/vm/nspawn/run.sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parent / "nspawn" / "run.sh"


@pytest.mark.systemd
@pytest.mark.timeout(900)
def test_the_unit_under_a_real_systemd() -> None:
    done = subprocess.run(["bash", str(RUN)], capture_output=True, text=True, check=False, timeout=840)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": ok all\n") == 2, done.stdout
