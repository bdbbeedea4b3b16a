"""Calls between our SDK and the official ones through our hub: see README.md beside this file.

The usual run plays each foreign SDK with ours, in both directions and both orders of ids; EDGE_NODE_INTEROP=full plays
every pair, also two foreign ones (reported as found), with both codecs and reconnects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product

import pytest

from tests.support.interop_call import Case, Outcome, play
from tests.support.interop_programs import FOREIGN, KINDS, OURS

FULL = os.environ.get("EDGE_NODE_INTEROP") == "full"
# Playing, with every deadline of a call between two foreign peers running out.
CALL_TIMEOUT_S = 900
# A foreign SDK on a busy machine may offer later than ours waits for it, and then does not find metadata any more.
TRIES = 3


def quick_cases() -> Iterator[Case]:
    for foreign, smaller in product(FOREIGN, (True, False)):
        codec = "VP8" if foreign == "official-js-node" else "H264"
        yield Case(OURS, foreign, smaller, codec)
        yield Case(foreign, OURS, smaller, codec)
        if foreign != "official-js-chromium":  # test_d34_…
            yield Case(OURS, foreign, smaller, both_ways=True)


def full_cases() -> Iterator[Case]:
    for sender, receiver, smaller in product(KINDS, KINDS, (True, False)):
        yield Case(sender, receiver, smaller, "H264")
        yield Case(sender, receiver, smaller, "VP8", reconnects=True)
        yield Case(sender, receiver, smaller, both_ways=True)


async def played(case: Case, outcomes: list[Outcome]) -> Outcome:
    """The first good call of TRIES, or the last one; two foreign programs get one try."""
    for left in reversed(range(TRIES)):
        outcome = await play(case)
        if not left or not case.has_ours or not outcome.failures:
            break
        print(f"{case}: once more after {outcome.failures}")
    outcomes.append(outcome)
    return outcome


@pytest.mark.timeout(CALL_TIMEOUT_S)
@pytest.mark.parametrize("case", list(full_cases() if FULL else quick_cases()), ids=str)
async def test_call(case: Case, outcomes: list[Outcome]) -> None:
    outcome = await played(case, outcomes)
    if case.has_ours:
        assert not outcome.failures


@pytest.mark.timeout(CALL_TIMEOUT_S)
@pytest.mark.parametrize("smaller", [True, False])
async def test_d34_metadata_reaches_a_browser_that_offers(smaller: bool, outcomes: list[Outcome]) -> None:
    outcome = await played(Case(OURS, "official-js-chromium", smaller, both_ways=True), outcomes)
    assert outcome.features["metadata both ways"] == "ok"
