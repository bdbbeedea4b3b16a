"""Runs in the guest: takes JSON lines {"id", "shell", "timeout_s"} on a virtio port, gives {"id", "status", "out"}."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

PORT = Path("/dev/virtio-ports/virtual.pi")


def run(shell: str, timeout_s: float) -> tuple[int, str]:
    """Exit status and output of a shell command; 124 when it takes too long."""
    try:
        done = subprocess.run(
            ["/bin/bash", "-c", shell],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        return 124, (err.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def main() -> None:
    with PORT.open("r+b", buffering=0) as port:
        text = b""
        while True:
            piece = port.read(4096)
            if not piece:  # nobody is at the other end
                time.sleep(0.1)
                continue
            text += piece
            while b"\n" in text:
                line, _, text = text.partition(b"\n")
                asked = json.loads(line)
                status, out = run(asked["shell"], asked["timeout_s"])
                answer = json.dumps({"id": asked["id"], "status": status, "out": out}).encode() + b"\n"
                while answer:
                    answer = answer[port.write(answer) or 0 :]


if __name__ == "__main__":
    main()
