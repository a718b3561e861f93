"""The queue by itself: time and places are arguments, so that every order is known."""

import pytest

from app.gateway.queues.fair_line import FairLine, jain_index
from app.gateway.queues.virtual_counters import USUAL_TOKENS, Rank
from app.keys import Priority


class Served:
    """A queue, and who was served in which order."""

    def __init__(self, **options):
        self.line = FairLine(**{"max_waiting": 1_000, **options})
        self.names, self.dropped, self.tickets = [], [], []
        self.now = 0.0

    def join(self, key, n=1, *, tokens=100.0, batch=False, weight=1.0, written=0.0, **options):
        rank = Rank(key, Priority.BATCH if batch else Priority.INTERACTIVE, weight)
        for _ in range(n):
            ticket = self.line.join(
                rank,
                now=self.now,
                read=tokens,
                written=written,
                called=lambda ticket: self.names.append(ticket.rank.who),
                dropped=lambda ticket: self.dropped.append(ticket.rank.who),
                **options,
            )
            self.tickets.append(ticket)
        return ticket

    def serve(self, n=1):
        self.names.clear()
        for _ in range(n):
            self.now += 1.0
            self.line.serve_next(self.now)
        return "".join(self.names)


def test_a_key_that_comes_late_is_served_before_the_backlog_of_another():
    served = Served()
    served.join("h", 10)
    assert served.serve(3) == "hhh"
    served.join("l", 2)
    # It begins where the others stand, and takes turns from there.
    assert served.serve(5) == "lhlhh"


def test_who_was_away_has_no_credit():
    served = Served()
    served.join("h", 30)
    served.join("l", 1)
    served.serve(20)
    served.join("l", 10)
    assert served.serve(8).count("h") >= 4


def test_tokens_count_not_requests():
    served = Served()
    served.join("l", 40, tokens=100.0)
    served.join("h", 10, tokens=400.0)
    order = served.serve(25)
    assert order.count("l") == 20
    assert order.count("h") == 5


def test_weights_are_shares():
    served = Served()
    served.join("a", 40, weight=3.0)
    served.join("b", 40, weight=1.0)
    order = served.serve(40)
    assert order.count("a") == 30


def test_what_an_answer_used_corrects_what_was_charged():
    served = Served()
    served.join("a", 10, written=0.0)
    served.join("b", 10, written=0.0)
    assert served.serve(2) == "ab"
    served.line.settle(served.tickets[0], 500.0)  # 400 more than was thought
    served.line.settle(served.tickets[10], 100.0)
    assert served.serve(5) == "bbbba"


def test_an_answer_of_unknown_length_is_taken_to_be_as_the_keys_last_ones():
    served = Served()
    ticket = served.join("a", written=None)
    assert ticket.cost == 100.0 + USUAL_TOKENS
    served.serve()
    served.join("a", written=None)  # the key stays known
    served.line.settle(ticket, 100.0)
    later = served.join("a", written=None)
    assert later.cost == pytest.approx(100.0 + 0.8 * USUAL_TOKENS)


def test_interactive_requests_go_before_those_of_batches():
    served = Served()
    served.join("b", 5, batch=True)
    served.join("i", 5)
    assert served.serve(10) == "iiiiibbbbb"


def test_batches_get_a_twentieth_of_the_tokens_and_save_nothing_up():
    served = Served()
    served.join("i", 400)
    served.join("b", 100, batch=True)
    order = served.serve(200)
    assert order.index("b") == 19
    assert order.count("b") == 10
    # Alone for a while, they have nothing coming to them for it.
    served = Served()
    served.join("b", 300, batch=True)
    served.serve(100)
    served.join("i", 50)
    assert served.serve(19) == 19 * "i"


def test_a_long_batch_request_waits_until_its_share_suffices():
    served = Served()
    served.join("i", 400)
    served.join("b", batch=True, tokens=1_000.0)
    assert served.serve(400).index("b") == 190


def test_without_a_share_no_batch_request_goes_before_an_interactive_one():
    served = Served(batch_share=0.0)
    served.join("b", 1, batch=True, tokens=0.0)
    served.join("i", 100)
    assert served.serve(101) == 100 * "i" + "b"


def test_in_a_full_queue_the_key_with_most_waiting_makes_room():
    served = Served(max_waiting=4)
    served.join("h", 4)
    assert served.join("h") is None
    assert served.join("l") is not None
    assert served.dropped == ["h"]
    assert served.tickets[3].is_waiting is False
    assert served.join("l") is not None
    assert served.join("l") is None  # two each
    assert served.join("m") is not None
    assert served.line.n_waiting == 4


def test_weights_count_for_the_room_to_wait_too():
    served = Served(max_waiting=4)
    served.join("h", 4, weight=4.0)
    assert served.join("l") is None


def test_batches_make_room_for_interactive_requests_never_the_other_way():
    served = Served(max_waiting=2)
    served.join("b", 2, batch=True)
    served.join("i", 2)
    assert served.dropped == ["b", "b"]
    assert served.join("b", batch=True) is None
    assert not served.line.has_room_for(Rank("b", Priority.BATCH))


def test_who_asks_again_goes_first_of_its_key():
    served = Served()
    served.join("a", 2)
    again = served.join("a", first=True)
    assert served.line.serve_next(0.0) is again


def test_who_cannot_take_what_there_is_keeps_its_place():
    served = Served()
    there_is = {"b"}
    served.join("a", 2, wants=lambda ticket: ticket.rank.who in there_is)
    served.join("b", 1, wants=lambda ticket: ticket.rank.who in there_is)
    assert served.line.serve_next(0.0) is not None
    assert served.line.serve_next(0.0) is None
    assert served.names == ["b"]
    there_is.add("a")
    assert served.serve(2) == "aa"


def test_the_estimated_wait_is_by_turns_and_pace():
    served = Served()
    served.join("h", 60)
    served.serve(41)  # one a second
    assert served.line.estimated_wait_s(Rank("h")) == pytest.approx(20.0)
    # Somebody new goes before whom was served last.
    assert served.line.estimated_wait_s(Rank("l")) == pytest.approx(1.0)
    batch = served.line.estimated_wait_s(Rank("l", Priority.BATCH))
    assert batch == pytest.approx(20.0)


def test_keys_that_are_gone_are_forgotten():
    served = Served(max_accounts=3)
    for number in range(100):
        served.join(f"k{number}")
    assert served.line.n_keys == 100
    served.serve(100)
    assert served.line.n_waiting == 0
    for ticket in served.tickets:
        served.line.settle(ticket, 10_000.0)  # all stand above where one begins
    assert served.line.n_keys <= 3


def test_keys_that_would_begin_where_they_stand_are_forgotten_at_once():
    served = Served()
    for number in range(100):
        served.join(f"k{number}")
    served.serve(100)
    for ticket in served.tickets:
        served.line.settle(ticket, 0.0)
    assert served.line.n_keys == 0


def test_the_fairness_index_tells_of_keys_that_waited_all_the_time():
    served = Served()
    served.join("a", 100, weight=3.0)
    served.join("b", 100)
    assert served.line.fairness() == 1.0
    served.serve(40)
    assert served.line.fairness() == pytest.approx(1.0, abs=0.01)
    assert jain_index([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert jain_index([]) == 1.0
