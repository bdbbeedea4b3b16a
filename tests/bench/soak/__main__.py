"""`python -m tests.bench soak --hours 12`: half a day of faults in simulated time.

The real node (service, supervisor, intercom, publishing, reporter, clips, privacy) on the real hub machine; Wi-Fi, hub,
camera, sound, disk and clock fail by turns, the power goes, somebody rings, answers and opens the door. The node is
enrolled: the hub's real enrolment gives it tokens, good for an hour by the hub's clock. Media between peers needs real
time: `--real-minutes N` runs the healing journey for about so long instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import runner
from tests.bench.runner import Report
from tests.bench.soak.disk import Disk, own_mounts
from tests.bench.soak.life import Findings, live
from tests.bench.soak.resident import Resident
from tests.bench.soak.schedule import faults

INSIDE = "EDGE_NODE_SOAK_INSIDE"
MAX_GROWTH_MB = 3.0
MAX_GROWTH_PERCENT = 1.0
QUICK_HOURS = 0.4
ROUNDS_PER_MINUTE = 2
"""Of tests/journeys/test_healing.py."""


def tell(report: Report, found: Findings, disk: Disk, resident: Resident, hours: float) -> None:
    for line in found.wrong.values():
        report.reasons.append(f"WRONG: {line}")
    if not disk.real:
        report.reasons.append("a disk that is full or read-only: this kernel lets nobody mount one here")
    report.judge("things that must not be", len(found.wrong), at_most=0)
    report.add("faults", sum(found.faults.values()), "", ", ".join(f"{n} {c}" for n, c in sorted(found.faults.items())))
    report.judge("online, of the time it can be", 100 * found.online_s / max(found.possible_s, 1), "%", at_least=100)
    report.add("starts of the node", found.starts, "", "power cuts")
    report.add("came to the hub", found.admitted, "", "each time with a token of its own, signed for by its device key")
    report.add("starts of its parts after a fault", found.restarts)
    report.add(
        "presses",
        found.presses,
        "",
        f"{resident.answered} answered, {resident.opened} doors opened, {resident.refused} refused",
    )
    report.add("telemetry", resident.samples, "samples", f"{resident.late} late; at most {found.deepest} waited")
    report.add("journal", found.lines / hours, "lines/h", f"{found.line_bytes / hours / 1e3:.1f} kB/h")
    report.add("written to the card", disk.written_bytes / hours / 1e3, "kB/h")
    sizes = found.sizes
    if len(sizes) > 2:
        early, last = sizes[len(sizes) // 3], sizes[-1]
        growth = 100 * (last.blocks - early.blocks) / early.blocks
        about = f"hour {early.at_s / 3600:.1f} to {last.at_s / 3600:.1f}"
        report.judge("memory blocks, growth", growth, "%", about, at_most=MAX_GROWTH_PERCENT)
        report.judge("objects, growth", 100 * (last.objects - early.objects) / early.objects, "%", about,
                     at_most=MAX_GROWTH_PERCENT)  # fmt: skip
        report.judge("resident, growth", last.rss_mb - early.rss_mb, "MB", about, at_most=MAX_GROWTH_MB)
        for name in ("tasks", "threads", "files"):
            report.judge(f"{name}, growth", getattr(last, name) - getattr(early, name), "", about, at_most=2)


def main(argv: Sequence[str]) -> int:
    words = runner.words("soak", __doc__ or "")
    words.add_argument("--hours", type=float, default=12.0, help="simulated (default: 12)")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--clips", action="store_true", help="each press is recorded: takes longer, as sound is encoded")
    words.add_argument("--real-minutes", type=float, help="faults in real time instead, with media")
    args = words.parse_args(argv)
    if args.real_minutes:
        rounds = str(max(1, round(args.real_minutes * ROUNDS_PER_MINUTE)))
        journey = [sys.executable, "-m", "pytest", "-q", "-s", "tests/journeys/test_healing.py"]
        return subprocess.run(journey, env={**os.environ, "EDGE_NODE_ROUNDS": rounds}, check=False).returncode
    if INSIDE not in os.environ:
        command = own_mounts([sys.executable, "-m", "tests.bench.soak", *argv])
        return subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode
    hours = min(args.hours, QUICK_HOURS) if args.quick else args.hours
    report, began_s = Report("soak"), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, disk, resident = live(hours, faults(hours, args.seed), Path(folder), clips=args.clips)
        tell(report, found, disk, resident, hours)
    report.add("took", round(time.monotonic() - began_s), "s", f"for {hours:g} h")
    runner.present(report, args.json)
    return 1 if found.wrong or any(row.holds is False for row in report.rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
