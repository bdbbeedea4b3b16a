"""Echo cancelling on the synthetic room of facts/audio.md, as pure arrays.

EDGE_NODE_ECHO_S=60 makes the scenes longer. Synthetic speech and one static linear room: real ones give lower figures.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

from edge_node.dsp.pcm import RATE, Pcm
from edge_node.errors import SettingsError
from edge_node.media.echo import control as module
from edge_node.media.echo.control import EchoControl, Work, best_canceller
from edge_node.media.echo.livekit_apm import LivekitCanceller
from edge_node.media.echo.speexdsp import SpeexCanceller
from edge_node.ports import EchoCanceller
from tests.support.room import Room, Samples, blocks, power_db, samples, speech

SCENE_S = float(os.environ.get("EDGE_NODE_ECHO_S", "8"))
DELAYS_MS = [5.0, 60.0, 150.0, 300.0]
DOUBLE_S = 4.0
"""From here on somebody talks, too, in a scene with double talk."""


def speex() -> SpeexCanceller:
    try:
        return SpeexCanceller()
    except OSError as err:
        pytest.skip(str(err))


def at_once(work: Work) -> None:
    work()


def run(control: EchoControl, captured: Samples, played: Samples) -> tuple[Samples, list[str]]:
    """What is sent, and what kept the echo away in each block."""
    sent, labels = [], []
    for pair in zip(blocks(captured), blocks(played), strict=True):
        sent.append(control.together(*pair))
        labels.append(control.label)
    return samples(sent), labels


def scene(delay_ms: float, seconds: float = SCENE_S) -> tuple[Samples, Samples]:
    """What the microphone hears, what the speaker plays."""
    far = speech(seconds, 1)
    room = Room(delay_ms)
    return room.echo(far) + room.noise(len(far)), far


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_with_livekit_the_echo_is_35_db_down_within_1_5_s(delay_ms: float) -> None:
    heard, far = scene(delay_ms)
    control = EchoControl(make=LivekitCanceller, load=at_once)
    control.opened(delay_ms)
    sent, labels = run(control, heard, far)
    assert power_db(heard, 0.5, 1.5) - power_db(sent, 0.5, 1.5) >= 35.0
    assert power_db(heard, 1.5, SCENE_S) - power_db(sent, 1.5, SCENE_S) >= 35.0
    assert labels[0] == "half-duplex", "until livekit has shown that it works"
    assert labels[-1] == "livekit"
    assert control.return_loss_db is not None and control.return_loss_db >= 35.0
    assert control.delay_ms == pytest.approx(delay_ms, abs=3.0)


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_livekit_alone_needs_no_turns_once_it_has_learnt(delay_ms: float) -> None:
    heard, far = scene(delay_ms)
    control = EchoControl("on", make=LivekitCanceller)
    sent, labels = run(control, heard, far)
    assert power_db(heard, 3.0, SCENE_S) - power_db(sent, 3.0, SCENE_S) >= 35.0
    assert set(labels) == {"livekit"}


def kept_db(near: Samples, echo: Samples, sent: Samples) -> float:
    """How much the near voice changed: median over 100 ms pieces in which it exceeds the echo by 6 dB."""
    changes = []
    for at in np.arange(DOUBLE_S, len(near) / RATE - 0.1, 0.1):
        own = power_db(near, at, at + 0.1)
        if own > power_db(echo, at, at + 0.1) + 6.0 and own > -40.0:
            changes.append(power_db(sent, at, at + 0.1) - own)
    assert len(changes) > 10
    return float(np.median(changes))


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_with_livekit_both_may_talk_at_once(delay_ms: float) -> None:
    heard, far = scene(delay_ms)
    near = speech(SCENE_S, 2, 210.0)
    near[: int(DOUBLE_S * RATE)] = 0.0
    control = EchoControl(make=LivekitCanceller, load=at_once)
    sent, labels = run(_opened(control), heard + near, far)
    assert labels[-1] == "livekit", "double talk is no reason to take turns"
    assert abs(kept_db(near, heard, sent)) <= 3.0


def _opened(control: EchoControl) -> EchoControl:
    control.opened(60.0)
    return control


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_with_speexdsp_the_echo_is_20_db_down(delay_ms: float) -> None:
    heard, far = scene(delay_ms, max(SCENE_S, 14.0))
    control = EchoControl(make=speex, load=at_once)
    sent, labels = run(_opened(control), heard, far)
    assert power_db(heard, 0.5, 2.0) - power_db(sent, 0.5, 2.0) >= 35.0, "in turns until it has learnt"
    assert power_db(heard, 9.0, 14.0) - power_db(sent, 9.0, 14.0) >= 20.0
    assert labels[-1] == "speexdsp"


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_without_a_canceller_they_take_turns(delay_ms: float) -> None:
    heard, far = scene(delay_ms)
    room = Room(delay_ms)
    control = EchoControl(make=lambda: None, load=at_once)
    sent, labels = run(_opened(control), heard, far)
    noise = 10 ** (room.noise_dbfs / 10)
    echo = 10 ** (power_db(heard, 0.0, SCENE_S) / 10) - noise
    left = max(10 ** (power_db(sent, 0.0, SCENE_S) / 10) - noise, 1e-12)
    assert 10 * np.log10(echo / left) >= 40.0
    assert set(labels) == {"half-duplex"}


def test_two_clocks_mean_turns_whatever_canceller_there_is() -> None:
    heard, far = scene(60.0)
    control = EchoControl(make=LivekitCanceller, load=at_once)
    control.opened(None)
    sent = []
    for captured, played in zip(blocks(heard), blocks(far), strict=True):
        control.played(played)
        sent.append(control.captured(captured))
    assert control.label == "half-duplex"
    assert power_db(heard, 0.5, SCENE_S) - power_db(samples(sent), 0.5, SCENE_S) >= 30.0, "down to the room's noise"


def test_nothing_is_loaded_before_something_is_played() -> None:
    heard, far = scene(60.0, 6.0)
    waiting: list[Work] = []
    control = _opened(EchoControl(make=LivekitCanceller, load=waiting.append))
    run(control, heard[:RATE], np.zeros_like(far[:RATE]))
    assert not waiting, "silence needs no canceller"
    run(control, heard, far)
    assert len(waiting) == 1 and control.label == "half-duplex", "asked for once, not there yet"
    waiting[0]()
    _, labels = run(control, heard, far)
    assert labels[-1] == "livekit"


def test_it_is_loaded_beside_the_sounds_thread() -> None:
    made_in: list[str] = []

    def make() -> EchoCanceller:
        made_in.append(threading.current_thread().name)
        return Drifts()

    control = _opened(EchoControl(make=make))
    loud, quiet = np.full(480, 1000, np.int16), np.zeros(480, np.int16)
    control.together(quiet, loud)
    for thread in threading.enumerate():
        if thread.name == "echo-canceller":
            thread.join(10.0)
    assert made_in == ["echo-canceller"]


class Drifts:
    """A canceller that works for three seconds."""

    label = "livekit"

    def __init__(self) -> None:
        self.blocks = 0

    def process(self, captured: Pcm, played: Pcm) -> Pcm:
        self.blocks += 1
        return (captured * 0.05).astype(np.int16) if self.blocks < 300 else captured

    def set_delay(self, delay_ms: float) -> None:
        pass


def test_a_canceller_that_no_longer_works_is_helped_by_turns() -> None:
    heard, far = scene(60.0, 14.0)
    control = EchoControl(make=Drifts, load=at_once)
    sent, labels = run(_opened(control), heard, far)
    assert labels[290] == "livekit"
    assert labels[-1] == "half-duplex"
    assert power_db(heard, 12.0, 14.0) - power_db(sent, 12.0, 14.0) >= 30.0


class Breaks(Drifts):
    def process(self, captured: Pcm, played: Pcm) -> Pcm:
        raise RuntimeError("bad frame")


def test_a_canceller_that_raises_does_not_end_the_call() -> None:
    heard, far = scene(60.0, 2.0)
    control = EchoControl("on", make=Breaks)
    sent, _ = run(control, heard, far)
    assert control.label == "half-duplex"
    assert power_db(heard, 0.5, 2.0) - power_db(sent, 0.5, 2.0) >= 30.0


def test_off_touches_nothing_and_half_duplex_needs_no_library() -> None:
    heard, far = scene(60.0, 1.0)
    off = EchoControl("off", make=_forbidden)
    sent, _ = run(off, heard, far)
    assert np.array_equal(sent, samples(blocks(heard)))
    assert off.captured(blocks(heard)[0]) is not None and off.return_loss_db is None
    assert EchoControl("half-duplex", make=_forbidden).label == "half-duplex"


def _forbidden() -> EchoCanceller | None:
    raise AssertionError("nobody asked for a canceller")


def test_on_without_any_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match=r"edge-node\[aec\]"):
        EchoControl("on", make=lambda: None)


def test_the_best_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = best_canceller()
    assert found is not None and found.label == "livekit", "the aec extra is part of the development requirements"

    def broken() -> EchoCanceller:
        raise OSError("wrong architecture")

    monkeypatch.setattr(module, "LivekitCanceller", broken)
    monkeypatch.setattr(module, "SpeexCanceller", broken)
    assert best_canceller() is None
    monkeypatch.setattr(module, "SpeexCanceller", Drifts)
    assert isinstance(best_canceller(), Drifts)


@pytest.mark.parametrize("make", [LivekitCanceller, speex])
def test_silence_stays_silence_and_a_voice_alone_stays(make: Callable[[], EchoCanceller]) -> None:
    near = speech(3.0, 2, 200.0)
    sent, _ = run(EchoControl("on", make=make), near, np.zeros_like(near))
    assert abs(power_db(sent, 1.0, 3.0) - power_db(near, 1.0, 3.0)) <= 3.0
