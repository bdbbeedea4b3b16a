"""Plays the test sound on this machine's speaker while its microphone listens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from edge_node.dsp.pcm import Pcm, silence
from edge_node.dsp.sound_check import Heard, check_sound_pcm, examine
from edge_node.media.echo.control import EchoControl
from edge_node.media.sound_pair import SoundPair
from edge_node.media.soundcard import WORKER
from edge_node.ports import BLOCK_FRAMES

DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What was heard, and how the devices did: `echo_cancel` is what ran at the end, `together` one common clock."""

    heard: Heard
    together: bool
    echo_cancel: str
    echo_return_loss_db: float | None
    xruns: int
    device_ms: float | None


class _Listening(EchoControl):
    """Remembers pairs as they come from the card."""

    def __init__(self) -> None:
        super().__init__("auto")
        self.pairs: list[tuple[Pcm, Pcm]] = []

    def together(self, captured: Pcm, played: Pcm) -> Pcm:
        self.pairs.append((captured, played))
        return super().together(captured, played)

    def to_play(self, block: Pcm) -> Pcm:
        return block  # a chirp that is turned down would tell nothing

    def apart(self, captured: Pcm, played: Pcm) -> Pcm:
        self.pairs.append((captured, played))
        return super().apart(captured, played)


async def check_sound(microphone: str, speaker: str, worker: Sequence[str] = WORKER) -> Checked:
    """Takes about nine seconds. Raises DeviceMissing or DeviceLost."""
    sound = check_sound_pcm()
    listening = _Listening()
    pair = SoundPair(microphone, speaker, echo=listening, worker=worker)
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    at = 0

    def pull(frames: int) -> Pcm:
        nonlocal at
        block = sound[at : at + frames] if listening.pairs else silence(frames)
        at += len(block) if listening.pairs else 0
        if at >= len(sound):
            loop.call_soon_threadsafe(done.set)
        return np.concatenate((block, silence(frames - len(block))))

    halves = [asyncio.ensure_future(pair.speaker.run(pull))]
    halves.append(asyncio.ensure_future(pair.microphone.run(lambda pcm: None)))
    ended = asyncio.ensure_future(done.wait())
    try:
        await asyncio.wait([*halves, ended], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        for half in halves:
            if half.done():
                half.result()
        together, device_ms = pair.together, _sum(pair.microphone.latency_ms, pair.speaker.latency_ms)
    finally:
        for task in (*halves, ended):
            task.cancel()
        for task in (*halves, ended):
            with suppress(Exception, asyncio.CancelledError):
                await task
    nothing = (silence(BLOCK_FRAMES), silence(BLOCK_FRAMES))
    captured, played = (np.concatenate(way) for way in zip(*(listening.pairs or [nothing]), strict=True))
    xruns = pair.microphone.xruns + pair.speaker.xruns
    return Checked(examine(captured, played), together, listening.label, listening.return_loss_db, xruns, device_ms)


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
