"""`python -m tests.bench footprint`: memory of `edge-node run` with its children, what it writes.

The daemon is measured from outside, with hub and camera in processes of their own: an RTSP camera whose pictures are
handed through, then test pictures (raw, as from a USB camera) through the software encoder, whose speed was measured at
the start. Sound is on PulseAudio null sinks, with the echo canceller to be used. What is judged is VmRSS of the daemon
alone; its sound process, which holds PortAudio, is in the rows "with its children".
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import runner
from tests.bench.footprint.meter import family, memory, written_bytes
from tests.bench.runner import Report
from tests.support.pulse import PulseLab, pulse_lab, why_not
from tests.support.site import Site

IDLE_MB = 110
"""What issue 7 allows a node that nobody watches."""
SETTLE_S = 20.0


class Bench:
    """One site after the other."""

    def __init__(self, lab: PulseLab, report: Report, watch_s: float) -> None:
        self._lab = lab
        self._report = report
        self._watch_s = watch_s

    async def run(self, camera: str) -> None:
        """`camera`: rtsp or test."""
        with tempfile.TemporaryDirectory() as folder:
            site = Site(Path(folder), self._lab)
            state = site.folder / "state"
            state.mkdir(mode=0o700)
            text = site.config.read_text().replace('source = "rtsp"', f'source = "{camera}"')
            text = text.replace('echo_cancel = "off"', 'echo_cancel = "auto"')
            site.config.write_text(text.replace("interval_s = 1\n", "interval_s = 10\n"))
            try:
                await asyncio.gather(site.start_hub(), site.start_camera())
                await site.start_node(STATE_DIRECTORY=str(state))
                await site.whole()
                await self._look(site, f"{camera}, no viewer", IDLE_MB)
                async with site.viewer():
                    await site.whole(viewers=1)
                    await self._look(site, f"{camera}, one viewer")
            finally:
                await site.stop()

    async def _look(self, site: Site, what: str, limit_mb: float | None = None) -> None:
        assert site.node is not None
        node, report = site.node, self._report
        await asyncio.sleep(min(SETTLE_S, self._watch_s))
        wrote, lines, cpu_s = written_bytes(node.pid), len(node.text), runner.cpu_s(node.pid)
        await asyncio.sleep(self._watch_s)
        own, *others = [memory(pid) for pid in family(node.pid)]
        if limit_mb is None:
            report.add(f"{what}: resident", round(own.rss_mb, 1), "MB", "the daemon alone")
        else:
            report.judge(f"{what}: resident", round(own.rss_mb, 1), "MB", "the daemon alone", at_most=limit_mb)
        report.add(f"{what}: anonymous", round(own.anonymous_mb, 1), "MB", "of it the pages of no file")
        total, who = sum(others, own), f"its {len(others)} children"
        report.add(f"{what}: resident with its children", round(total.rss_mb, 1), "MB", f"the sum of it and {who}")
        report.add(f"{what}: share", round(total.pss_mb, 1), "MB", f"PSS of it and {who}")
        report.add(f"{what}: private", round(total.private_mb, 1), "MB", "what their end would free")
        per_hour = 3600 / self._watch_s
        report.add(f"{what}: written", (written_bytes(node.pid) - wrote) * per_hour / 1e3, "kB/h", "to any disk")
        report.add(f"{what}: journal", (len(node.text) - lines) * per_hour, "lines/h")
        cpu_ms = (runner.cpu_s(node.pid) - cpu_s) / self._watch_s * 1e3
        report.add(f"{what}: processor", round(cpu_ms), "ms/s", "of one core, the daemon alone")


async def measure(report: Report, args: argparse.Namespace) -> None:
    watch_s = args.seconds or (2.0 if args.quick else 60.0)
    with pulse_lab() as lab:
        bench = Bench(lab, report, watch_s)
        for camera in ("rtsp",) if args.quick else ("rtsp", "test"):
            await bench.run(camera)


def main(argv: Sequence[str]) -> int:
    words = runner.words("footprint", __doc__ or "")
    words.add_argument("--seconds", type=float, help="how long each state is watched (default: 60)")
    args = words.parse_args(argv)
    report = Report("footprint")
    if reason := why_not():
        report.reasons.append(reason)
    else:
        asyncio.run(measure(report, args))
    runner.present(report, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
