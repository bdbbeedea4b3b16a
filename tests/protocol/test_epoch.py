from __future__ import annotations

from collections import deque

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_node.protocol.epoch import Epoch, EpochEffect, Introduce, StartOver, Verify
from edge_node.protocol.payloads import Hello
from tests.support.property import patient


def test_the_first_hello_is_learnt() -> None:
    end = Epoch("me")
    assert end.hello() == Hello("me")
    assert end.heard(Hello("you"), settled=False) == []
    assert end.hello() == Hello("me", "you")
    assert Epoch("me").heard(Hello("you", "me"), settled=False) == []


def test_who_knows_an_older_self_of_this_end_is_told() -> None:
    assert Epoch("me").heard(Hello("you", "an older me"), settled=False) == [Introduce()]


def test_the_same_epoch_changes_nothing() -> None:
    end = Epoch("me")
    end.heard(Hello("you", "me"), settled=False)
    for known in (None, "me", "an older me"):
        assert end.heard(Hello("you", known), settled=True) == []


def test_who_began_anew_is_told_about_this_end_and_both_start_over() -> None:
    end = Epoch("me")
    end.heard(Hello("you"), settled=False)
    assert end.heard(Hello("you again"), settled=True) == [Introduce(), StartOver()]
    assert end.heard(Hello("once more"), settled=False) == [Introduce(), StartOver()]
    assert end.hello() == Hello("me", "once more")


def test_who_knows_this_end_already_is_told_nothing() -> None:
    end = Epoch("me")
    end.heard(Hello("you"), settled=False)
    assert end.heard(Hello("you again", "me"), settled=True) == [StartOver()]


def test_a_first_hello_in_the_middle_of_a_call_is_looked_into() -> None:
    assert Epoch("me").heard(Hello("you"), settled=True) == [Introduce(), Verify()]
    assert Epoch("me").heard(Hello("you", "an older me"), settled=True) == [Introduce(), Verify()]
    assert Epoch("me").heard(Hello("you", "me"), settled=True) == [Verify()]


class End:
    """One end whose `agreed` is the pair of epochs its connection belongs to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.rebuilt = 0
        self.begin()

    def begin(self) -> None:
        """As a process that was killed and came back."""
        self.count += 1
        self.epoch = Epoch(f"{self.name}{self.count}")
        self.agreed: frozenset[str] | None = None
        self.outbox: deque[Hello] = deque([self.epoch.hello()])

    def hear(self, hello: Hello, other: End) -> None:
        self.do(self.epoch.heard(hello, settled=self.agreed is not None), other)

    def do(self, effects: list[EpochEffect], other: End) -> None:
        for effect in effects:
            match effect:
                case Introduce():
                    self.outbox.append(self.epoch.hello())
                case StartOver():
                    self.rebuilt += self.agreed is not None
                    self.agreed = None
                case Verify():
                    if self.agreed != other.agreed:  # nobody answers over the connection
                        self.agreed = None


ACTIONS = st.lists(st.sampled_from(["a>b", "b>a", "again-a", "again-b", "drop-a", "drop-b", "call"]), max_size=40)


def play(actions: list[str]) -> dict[str, End]:
    ends = {"a": End("a"), "b": End("b")}

    def deliver(source: str) -> None:
        one, other = ends[source], ends["b" if source == "a" else "a"]
        if one.outbox:
            other.hear(one.outbox.popleft(), one)

    for action in actions:
        verb, _, who = action.partition("-")
        if verb == "again":
            ends[who].begin()
        elif verb == "drop":  # what was under way is lost; on its return it says hello and sees what still works
            one, other = ends[who], ends["b" if who == "a" else "a"]
            other.outbox.clear()
            one.outbox = deque([one.epoch.hello()])
            one.do([Verify()], other)
        elif verb == "call":  # descriptions go the same way as hellos, behind them
            while any(end.outbox for end in ends.values()):
                deliver("a")
                deliver("b")
            for end in ends.values():
                end.agreed = frozenset(end.epoch.own for end in ends.values())
        else:
            deliver(verb[0])
    for _ in range(10):
        deliver("a")
        deliver("b")
    assert not any(end.outbox for end in ends.values()), "they never stop talking"
    return ends


# The hello of a's first self went to b's first self alone, that of its second one knows b already.
@example(["a>b", "again-b", "call", "drop-b", "again-a", "b>a", "drop-a"])
@settings(patient, max_examples=500)
@given(ACTIONS)
def test_nobody_keeps_a_connection_to_somebody_who_is_no_more(actions: list[str]) -> None:
    ends = play(actions)
    now = frozenset(end.epoch.own for end in ends.values())
    assert all(end.agreed in (None, now) for end in ends.values())


@settings(patient, max_examples=200)
@given(st.lists(st.sampled_from(["a>b", "b>a", "drop-a", "drop-b"]), max_size=40))
def test_drops_of_the_signalling_cost_no_connection(actions: list[str]) -> None:
    ends = play(["call", *actions])
    assert all(end.agreed is not None and end.rebuilt == 0 for end in ends.values())


@settings(patient, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("bc"), st.sampled_from("abc")), max_size=30))
def test_two_programs_with_one_id_do_not_talk_for_ever(sent: list[tuple[str, str]]) -> None:
    """Both hear what is said to their id; the third hears both."""
    ends = {name: Epoch(name) for name in "abc"}
    queue = deque((name, ends[name].hello()) for name in "abc")
    queue.extend((name, Hello(name, known)) for name, known in sent)
    budget = 10 * (len(queue) + 1)
    while queue and budget:
        budget -= 1
        source, hello = queue.popleft()
        for name in "bc" if source == "a" else "a":
            if Introduce() in ends[name].heard(hello, settled=True):
                queue.append((name, ends[name].hello()))
    assert budget, "they never stop talking"
