"""Each change of the call is heard as it should."""

from __future__ import annotations

import numpy as np

from edge_node.call.effects import CallView, Phase
from edge_node.call.messages import Reason
from edge_node.dsp.pcm import Pcm
from edge_node.node.announcer import MOMENTS, Announcer

SOUNDS = {moment: np.full(3, number, np.int16) for number, moment in enumerate(MOMENTS)}


class Loudspeaker:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, pcm: Pcm) -> None:
        self.heard.append(MOMENTS[pcm[0]])

    def repeat(self, pcm: Pcm) -> None:
        self.heard.append(MOMENTS[pcm[0]] + "…")

    def quiet(self) -> None:
        self.heard.append("-")

    def taken(self) -> str:
        heard, self.heard = " ".join(self.heard), []
        return heard


def test_a_ring_is_heard_until_somebody_answers() -> None:
    speaker, remote = Loudspeaker(), Loudspeaker()
    announcer = Announcer(speaker, remote, SOUNDS.__getitem__)
    announcer.call_changed(CallView())
    assert speaker.taken() == ""
    announcer.call_changed(CallView(Phase.RINGING, "c"))
    announcer.call_changed(CallView(Phase.RINGING, "c", muted=True))
    assert speaker.taken() == "- press ringing…"
    announcer.call_changed(CallView(Phase.ACTIVE, "c", "anna", Reason.ANSWERED))
    assert speaker.taken() == "- answered"
    remote.taken()
    announcer.limit_near()
    assert speaker.taken() == remote.taken() == "warning", "at both ends"
    announcer.call_changed(CallView(Phase.IDLE, "c", "anna", Reason.LIMIT))
    assert speaker.taken() == "- ended"
    assert remote.taken() == "-"


def test_the_voice_agent_listens() -> None:
    speaker = Loudspeaker()
    announcer = Announcer(speaker, Loudspeaker(), SOUNDS.__getitem__)
    announcer.call_changed(CallView(Phase.RINGING, "c"))
    speaker.taken()
    announcer.call_changed(CallView(Phase.ACTIVE, "c", attended=True))
    assert speaker.taken() == "- attended"
    announcer.call_changed(CallView(Phase.ACTIVE, "c", attended=True, muted=True))
    assert speaker.taken() == ""
    announcer.call_changed(CallView(Phase.ACTIVE, "c", "anna"))
    assert speaker.taken() == "- answered", "a person takes over"


def test_nobody_answers() -> None:
    speaker = Loudspeaker()
    announcer = Announcer(speaker, Loudspeaker(), SOUNDS.__getitem__)
    for reason, heard in ((Reason.TIMEOUT, "- unanswered"), (Reason.DECLINED, "- unanswered"), (Reason.CANCELLED, "-")):
        announcer.call_changed(CallView(Phase.RINGING, "c"))
        speaker.taken()
        announcer.call_changed(CallView(Phase.IDLE, "c", None, reason))
        assert speaker.taken() == heard


def test_the_node_is_called() -> None:
    speaker = Loudspeaker()
    announcer = Announcer(speaker, Loudspeaker(), SOUNDS.__getitem__)
    announcer.call_changed(CallView(Phase.INCOMING, "c", "anna"))
    assert speaker.taken() == "- incoming…"
    announcer.call_changed(CallView(Phase.IDLE, "c", "anna", Reason.TIMEOUT))
    assert speaker.taken() == "-", "that nobody answered is for who rang"
