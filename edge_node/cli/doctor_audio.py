"""What `edge-node doctor --audio` makes of the sound that it played to itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_node.host.findings import Finding, Level

if TYPE_CHECKING:
    from edge_node.dsp.sound_check import Heard
    from edge_node.media.sound_check import Checked

AREA = "sound"
FAINT_DBFS = -45.0
NOISY_DBFS = -45.0
CLIPPED_PERCENT = 0.05
SLOW_MS = 300.0
ENOUGH_DB = 15.0
DRIFT_PPM = 10.0
BELIEVABLE_PPM = 1000.0
"""No quartz is worse: it is no drift but a jump."""
MIXER = "run alsamixer, choose the card with F6"


def findings(checked: Checked) -> list[Finding]:
    """In the words of somebody who has never heard of decibels, where there is something to do."""
    heard = checked.heard
    if heard.dead:
        todo = f"{MIXER}, press F4 and take the microphone off mute (M)"
        return [Finding(AREA, Level.PROBLEM, "the microphone gives nothing, not even noise", todo)]
    if heard.delay_ms is None:
        todo = f"plug the speaker in, {MIXER}, turn up speaker (F3) and microphone (F4), then run this again"
        return [Finding(AREA, Level.PROBLEM, "the microphone does not hear the speaker", todo)]
    return [*_levels(heard), *_timing(checked, heard.delay_ms), *_echo(checked)]


def _levels(heard: Heard) -> Iterator[Finding]:
    text = f"the chirp arrives at {heard.level_dbfs:.0f} dBFS, {heard.loss_db or 0.0:.0f} dB below what was played"
    faint = heard.level_dbfs < FAINT_DBFS
    todo = f"{MIXER}, turn up the microphone (F4) or the speaker (F3)" if faint else ""
    yield Finding(AREA, Level.NOTE if faint else Level.OK, text, todo)
    if heard.clipped_percent > CLIPPED_PERCENT:
        text = f"the microphone is overdriven: {heard.clipped_percent:.1f} % of the sound is cut off"
        yield Finding(AREA, Level.PROBLEM, text, f"{MIXER}, turn down the microphone (F4), then the speaker (F3)")
    noisy = heard.noise_dbfs > NOISY_DBFS
    todo = "look for hum: another power supply, a shorter cable, less microphone gain" if noisy else ""
    yield Finding(AREA, Level.NOTE if noisy else Level.OK, f"the room is at {heard.noise_dbfs:.0f} dBFS", todo)


def _timing(checked: Checked, delay_ms: float) -> Iterator[Finding]:
    slow = delay_ms > SLOW_MS
    todo = "a sound server between may add this: use the card itself (a name with hw:)" if slow else ""
    yield Finding(AREA, Level.NOTE if slow else Level.OK, f"speaker to microphone takes {delay_ms:.0f} ms", todo)
    drift = checked.heard.drift_ppm
    if drift is not None and abs(drift) > BELIEVABLE_PPM:
        todo = "stop what else this machine does; use the card itself (a name with hw:), without a sound server"
        yield Finding(AREA, Level.NOTE, "the delay jumped while the sound was played: some of it was lost", todo)
    elif drift is not None:
        drifts = abs(drift) > DRIFT_PPM
        shared = "on one stream" if checked.together else "on two streams"
        todo = "use one card for microphone and speaker" if drifts or not checked.together else ""
        text = f"the clocks of microphone and speaker, {shared}, differ by {drift:+.0f} millionths"
        yield Finding(AREA, Level.NOTE if todo else Level.OK, text, todo)
    if checked.xruns:
        text = f"sound was lost {checked.xruns} times"
        yield Finding(AREA, Level.NOTE, text, "stop what else this machine does, and use its own power supply")


def _echo(checked: Checked) -> Iterator[Finding]:
    loss = checked.echo_return_loss_db
    shown = "cannot be measured" if loss is None else f"{loss:.0f} dB less of it is sent"
    if checked.echo_cancel == "half-duplex":
        todo = (
            "both can talk at once with a canceller that works: pip install 'edge-node[aec]', a quieter speaker, "
            "more space between speaker and microphone, one card for both"
        )
        yield Finding(AREA, Level.NOTE, f"echo is kept away by taking turns: {shown}", todo)
        return
    weak = loss is not None and loss < ENOUGH_DB
    todo = "turn the speaker down, or move it away from the microphone" if weak else ""
    yield Finding(AREA, Level.NOTE if weak else Level.OK, f"echo is cancelled by {checked.echo_cancel}: {shown}", todo)
