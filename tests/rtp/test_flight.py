from __future__ import annotations

import pytest

from edge_node.rtp.flight import DEAF_S, EMPTY_IN_S, FORGET_S, LEAST_SHARE, UNSURE_SHARE, Flight
from edge_node.rtp.history import Burst, History
from edge_node.rtp.packetize import Cut

SIZE = 1000


class Sending:
    """One packet of SIZE bytes every 10 ms, which is 800 kbit/s."""

    def __init__(self, first: int = 65_500) -> None:
        self.history = History()
        self.flight = Flight(self.history)
        self.first = first
        self.count = 0

    def until(self, now: float) -> None:
        while self.count * 0.01 <= now + 1e-9:
            burst = Burst(self.first + self.count, 0, 1, Cut([bytes(SIZE)]), 0, b"", self.count * 0.01, 1)
            self.history.add(burst)
            self.count += 1

    def hear(self, confirmed: int, now: float) -> None:
        """A report confirms this many packets."""
        self.until(now)
        self.flight.heard((self.first + confirmed - 1) & 0xFFFF, self.count * SIZE, now)


def settled() -> Sending:
    """A path of 20 ms there and back; the second report came at 1.2 s."""
    sending = Sending()
    sending.hear(99, 1.0)
    sending.hear(119, 1.2)
    return sending


def test_an_empty_path_holds_what_is_under_way() -> None:
    flight = settled().flight
    assert flight.delivered_kbps == pytest.approx(800) and flight.waiting_bytes == 0
    assert flight.carries(1200) == 1200


def test_what_waits_is_sent_off_before_the_path_gets_its_share() -> None:
    sending = settled()
    flight = sending.flight
    flight.carries(1200)
    sending.hear(129, 1.4)  # half of what was sent arrived
    assert flight.delivered_kbps == pytest.approx(400)
    assert flight.waiting_bytes == pytest.approx(12_000 - 400 * 125 * 0.02, abs=1)
    assert flight.carries(1000) == pytest.approx(400 - 11_000 / 125 / EMPTY_IN_S, abs=1)
    sending.hear(130, 1.6)
    assert flight.delivered_kbps and flight.carries(1000) == int(LEAST_SHARE * flight.delivered_kbps)  # never nothing
    sending.hear(179, 1.8)
    assert flight.waiting_bytes == 0 and flight.carries(1000) == 1000


def test_a_short_queue_changes_nothing_while_the_receiver_estimates_as_before() -> None:
    sending = Sending()
    sending.hear(99, 1.0)
    sending.hear(115, 1.2)
    sending.flight.carries(1200)
    sending.hear(132, 1.4)
    assert sending.flight.waiting_bytes > 0 and sending.flight.carries(1190) == 1190


def test_a_long_queue_halves_an_estimate_until_that_falls_itself() -> None:
    sending = settled()
    sending.flight.carries(1200)
    sending.hear(126, 1.4)
    assert sending.flight.carries(1190) == 1190 * UNSURE_SHARE
    sending.hear(136, 1.6)
    assert sending.flight.carries(900) < 0.3 * 900


def test_a_radio_that_let_packets_wait_is_not_believed_again_soon() -> None:
    sending = settled()
    sending.flight.carries(1200)
    sending.hear(126, 1.4)
    assert sending.flight.carries(1200) == 600
    sending.hear(159, 1.6)
    assert sending.flight.carries(1200) == 1200
    sending.hear(166, 1.8)
    assert sending.flight.waiting_bytes > 0 and sending.flight.carries(1200) == 1200
    sending.hear(round(100 * DEAF_S) + 159, 1.6 + DEAF_S)
    assert sending.flight.carries(1200) == 1200
    sending.hear(round(100 * DEAF_S) + 166, 1.8 + DEAF_S)
    assert sending.flight.carries(1200) == 600


def test_a_queue_that_stays_while_the_estimate_does_is_none() -> None:
    sending = settled()
    sending.flight.carries(1200)
    told = []
    for now in (1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8):
        sending.hear(round(100 * now) - 19, now)
        told.append(sending.flight.carries(1200))
    assert told[0] < 1200 and told[-1] == 1200 and sending.flight.waiting_bytes > 0


def test_reports_that_follow_each_other_closely_measure_no_rate() -> None:
    sending = settled()
    sending.hear(119, 1.21)
    assert sending.flight.delivered_kbps == pytest.approx(800)


def test_nothing_is_known_from_one_report_or_of_packets_long_gone() -> None:
    sending = Sending()
    sending.hear(99, 1.0)
    sending.flight.carries(1200)
    assert sending.flight.delivered_kbps is None
    sending.hear(100, 1.1)
    assert sending.flight.waiting_bytes > 0 and sending.flight.carries(1000) == 1000
    sending.hear(101, 9.0)
    assert sending.flight.delivered_kbps is None


def test_a_route_that_became_longer_is_no_queue_for_ever() -> None:
    sending = settled()
    waits = []
    for step in range(round(2 * FORGET_S / 0.2) + 2):
        now = 1.4 + step * 0.2
        sending.hear(round(now * 100) - 19, now)  # 0.2 s there and back from now on
        waits.append(sending.flight.waiting_bytes)
    assert waits[0] > 0 and waits[-1] == 0


def test_a_pause_is_no_queue() -> None:
    sending = settled()
    sending.flight.heard((sending.first + sending.count - 1) & 0xFFFF, sending.count * SIZE, 1.25)
    assert sending.flight.waiting_bytes == 0
