"""Half-duplex: no echo comes through, and the microphone is open again soon."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.half_duplex import LEARNT_MS, TOO_LONG_MS, HalfDuplex
from edge_node.dsp.pcm import RATE, silence, to_int16
from tests.support.room import Room, Samples, blocks, power_db, samples, speech

SPEECH_S = 3.0


@pytest.mark.parametrize("delay_ms", [5.0, 60.0, 150.0, 300.0])
def test_no_echo_comes_through_and_the_switch_is_quick(delay_ms: float) -> None:
    far = speech(SPEECH_S, 1)
    far[int(2.0 * RATE) :] = 0.0
    room = Room(delay_ms)
    echo = room.echo(far)
    gate = HalfDuplex()
    sent, open_at = [], None
    for number, (captured, played) in enumerate(zip(blocks(echo), blocks(far), strict=True)):
        sent.append(gate.process(captured, played, delay_ms))
        if number * 0.01 >= 2.0 and open_at is None and not gate.closed:
            open_at = number * 0.01
    assert power_db(echo, 0.0, SPEECH_S) - power_db(samples(sent), 0.0, SPEECH_S) >= 40.0
    assert open_at is not None
    assert open_at - (2.0 + delay_ms / 1000.0) <= 0.15, "after the echo's last direct sound"


def test_whoever_is_played_closes_the_microphone_within_its_block() -> None:
    near, far = blocks(speech(1.0, 2)), blocks(speech(1.0, 3))
    gate = HalfDuplex()
    assert gate.process(near[0], silence(480), 60.0) is near[0]
    out = gate.process(near[20], np.maximum(far[30], 1000), 60.0)
    assert gate.closed
    assert np.abs(out[260:]).max() <= 33, "60 dB down after the ramp"


def test_the_ramp_is_no_click() -> None:
    loud = np.full(480, 20_000, np.int16)
    gate = HalfDuplex()
    down = gate.process(loud, loud, 0.0)
    ups = [gate.process(loud, silence(480), 0.0) for _ in range(20)]
    sound = np.concatenate((down, *ups)).astype(np.int32)
    assert np.abs(np.diff(sound)).max() < 100
    assert sound[-1] == 20_000


class Call:
    """Somebody far off talks all the time, somebody near for a while, through a speaker that the gate may turn down."""

    def __init__(
        self, near_dbfs: float, near_at_s: float, near_s: float, total_s: float = 7.0, seed: int = 1,
        delay_ms: float = 60.0, louder: float = 1.0,
    ) -> None:  # fmt: skip
        """`louder`: factor of the echo from 3 s on."""
        far = speech(total_s, seed)
        room = Room(delay_ms, seed=seed)
        self.near = np.zeros_like(far)
        begin, end = int(near_at_s * RATE), int((near_at_s + near_s) * RATE)
        self.near[begin:end] = speech(near_s, seed + 100, 200.0, near_dbfs)[: end - begin]
        noise = room.noise(len(far))
        late, size = int(delay_ms * RATE / 1000), 10_240
        spectrum = np.fft.rfft(room.response()[late:], size)
        self.echo = np.zeros(len(far) + late + size)
        """Of what was really played."""
        self.opened: list[bool] = []
        self.closed: list[bool] = []
        gate, lead, sent = HalfDuplex(), [silence(480)] * 2, []
        for number, offered in enumerate(blocks(far)):
            at = number * 480
            lead.append(gate.play(offered))
            played = lead.pop(0)
            gain = louder if at >= 3.0 * RATE else 1.0
            self.echo[at + late : at + late + size] += gain * np.fft.irfft(
                np.fft.rfft(played / 32768.0, size) * spectrum, size
            )
            heard = to_int16(self.echo[at : at + 480] + self.near[at : at + 480] + noise[at : at + 480])
            sent.append(gate.process(heard, played, delay_ms))
            self.opened.append(gate.broken_in)
            self.closed.append(gate.closed)
        self.sent = samples(sent)
        frames = len(self.sent)
        self.near, self.echo, noise = self.near[:frames], self.echo[:frames], noise[:frames]
        self.gains = _gains(self.sent, self.near + self.echo + noise)
        before = room.echo(np.concatenate((np.zeros(960), far)))[:frames]
        """What would be heard of the far talker with nothing done."""
        self.loss_db = float(10 * np.log10(np.mean(before**2) / np.mean((self.gains * self.echo) ** 2)))

    def near_sent(self, begin_s: float, end_s: float) -> float:
        """The share of the near voice's power that is sent."""
        part = slice(int(begin_s * RATE), int(end_s * RATE))
        return float(np.sum((self.gains * self.near)[part] ** 2) / np.sum(self.near[part] ** 2))


def _gains(sent: Samples, heard: Samples) -> Samples:
    """The gain of each sample, from what it did to pieces of 2.5 ms: never less than it was."""
    pieces = [np.abs(sound).reshape(-1, 120) for sound in (sent, heard)]
    gains = np.max(pieces[0], axis=1) / np.maximum(np.max(pieces[1], axis=1), 1e-6)
    return np.repeat(gains, 120)


@pytest.mark.parametrize(("seed", "delay_ms"), [(1, 5.0), (1, 150.0), (1, 300.0), (1, 60.0), (2, 60.0), (3, 60.0)])
def test_who_is_clearly_louder_than_the_echo_breaks_in(seed: int, delay_ms: float) -> None:
    """The speaker is turned down meanwhile: no echo is sent, with the near talk or without."""
    call = Call(near_dbfs=-9.0, near_at_s=4.0, near_s=2.5, total_s=8.0, seed=seed, delay_ms=delay_ms)
    assert not any(call.opened[:400])
    assert 0.2 <= call.opened.index(True) / 100 - 4.0 <= 0.9
    assert not any(call.opened[730:]), "and closed again soon after"
    assert call.near_sent(5.5, 6.5) >= 0.9, "who has broken in is heard"
    assert call.loss_db >= 40.0


@pytest.mark.parametrize("delay_ms", [5.0, 60.0, 150.0])
def test_the_microphone_opens_soon_after_the_speaker_is_turned_down(delay_ms: float) -> None:
    call = Call(near_dbfs=-9.0, near_at_s=4.0, near_s=2.5, delay_ms=delay_ms)
    turned = call.opened.index(True)
    opens = call.closed.index(False, turned)
    lead_s = 0.03
    assert (opens - turned) / 100 <= lead_s + delay_ms / 1000 + 0.15, "150 ms after the last of the loud echo"


@pytest.mark.parametrize("seed", range(1, 3))
def test_the_echo_alone_never_breaks_in(seed: int) -> None:
    call = Call(near_dbfs=-90.0, near_at_s=4.0, near_s=0.5, total_s=12.0, seed=seed)
    assert not any(call.opened)
    assert call.loss_db >= 40.0


def test_a_louder_echo_that_breaks_in_is_learnt_after_a_few_times() -> None:
    call = Call(near_dbfs=-90.0, near_at_s=4.0, near_s=0.5, total_s=15.0, louder=3.5)
    assert any(call.opened[300:]) and not any(call.opened[1200:])
    assert call.loss_db >= 40.0


def test_who_goes_on_talking_keeps_the_turn() -> None:
    call = Call(near_dbfs=-9.0, near_at_s=3.0, near_s=6.0, total_s=10.0)
    assert call.near_sent(4.0, 9.0) >= 0.85
    assert call.loss_db >= 40.0


def test_the_speaker_is_never_turned_down_for_nobody() -> None:
    """Not when a canceller works, nor when the microphone is switched off in the middle of a word."""
    gate, loud = HalfDuplex(), np.full(480, 3000, np.int16)
    steady(gate, 500, 3000, 2.0)
    steady(gate, 10_000, 3000, 0.5)
    assert gate.broken_in
    assert np.array_equal(gate.play(loud, taking_turns=False), loud)
    turned = [gate.play(loud) for _ in range(60)]
    assert np.abs(turned[1]).max() <= 3, "60 dB"
    assert np.array_equal(turned[-1], loud)


def test_a_bang_does_not_break_in() -> None:
    assert not any(Call(near_dbfs=-3.0, near_at_s=4.0, near_s=0.12).opened)


def steady(gate: HalfDuplex, captured: int, played: int, seconds: float) -> int:
    """In how many blocks somebody had broken in."""
    opened = 0
    for _ in range(int(seconds * 100)):
        gate.process(np.full(480, captured, np.int16), np.full(480, played, np.int16), 0.0)
        opened += gate.broken_in
    return opened


def test_nobody_breaks_in_before_the_echo_is_known() -> None:
    gate = HalfDuplex()
    assert steady(gate, 10_000, 3000, LEARNT_MS / 1000) == 0


def test_who_has_the_turn_keeps_it_while_the_other_side_is_silent() -> None:
    gate = HalfDuplex()
    steady(gate, 500, 3000, 2.0)
    steady(gate, 10_000, 3000, 0.5)
    assert steady(gate, 10_000, 0, 1.0) == 100
    assert not gate.closed
    assert steady(gate, 10, 0, 1.0) < 100


def test_an_echo_that_has_become_louder_is_learnt_again() -> None:
    gate = HalfDuplex()
    assert steady(gate, 500, 3000, 2.0) == 0
    assert 0 < steady(gate, 5000, 3000, TOO_LONG_MS / 1000 + 2.0) <= TOO_LONG_MS / 10 + 1
    assert steady(gate, 5000, 3000, 5.0) == 0


def test_what_is_played_softly_teaches_nothing() -> None:
    gate = HalfDuplex()
    assert steady(gate, 20, 100, 3.0) == 0
    assert steady(gate, 10_000, 3000, 0.9) == 0
