"""`python -m tests.bench.echo`: what each canceller leaves of the echo in the synthetic room, and what it costs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from edge_node.media.echo.control import EchoControl, Mode
from edge_node.media.echo.livekit_apm import LivekitCanceller
from edge_node.media.echo.speexdsp import SpeexCanceller
from edge_node.ports import EchoCanceller
from tests.bench.runner import Report, present, words
from tests.support.room import Room, blocks, power_db, samples, speech

DELAYS_MS = (5.0, 60.0, 150.0, 300.0)
WAYS: dict[str, tuple[Mode, Callable[[], EchoCanceller | None], float]] = {
    "livekit": ("auto", LivekitCanceller, 35.0),
    "speexdsp": ("auto", SpeexCanceller, 20.0),
    "half-duplex": ("half-duplex", lambda: None, 40.0),
}
"""With the least loss of echo that issue 5 asks for, in dB."""
NOTE = "synthetic speech, one static linear room: real ones give less"


def measure(report: Report, name: str, delay_ms: float, seconds: float) -> None:
    """Adds the loss from 1.5 s on, that of the last second, and the share of a core."""
    mode, make, least_db = WAYS[name]
    far = speech(seconds, 1)
    room = Room(delay_ms)
    heard = room.echo(far) + room.noise(len(far))
    control = EchoControl(mode, make, load=lambda work: work())
    control.opened(delay_ms)
    pairs = list(zip(blocks(heard), blocks(far), strict=True))
    begin = time.process_time()
    sent = samples([control.together(*pair) for pair in pairs])
    cpu = (time.process_time() - begin) / seconds * 100.0
    for label, since_s in (("from 1.5 s", 1.5), ("at the end", seconds - 1.0)):
        loss_db = power_db(heard, since_s, seconds) - power_db(sent, since_s, seconds)
        report.judge(f"{name}, echo after {delay_ms:.0f} ms, {label}", loss_db, "dB", NOTE, at_least=least_db)
    report.add(f"{name}, echo after {delay_ms:.0f} ms, processor", cpu, "%", "of one core")


def main(argv: Sequence[str]) -> int:
    args = words("echo", "what is left of the echo").parse_args(argv)
    report = Report("echo", args.quick)
    for name in WAYS:
        for delay_ms in DELAYS_MS[:1] if args.quick else DELAYS_MS:
            try:
                measure(report, name, delay_ms, 3.0 if args.quick else 30.0)
            except (ImportError, OSError) as err:
                report.reasons.append(f"{name}: {err}")
                break
    present(report, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
