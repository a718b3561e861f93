"""What operators are told of what comes next for a model."""

import pytest

from routers.watch.next_step import alone_at, demoted_at, next_step, tried_at
from routers.watch.signals import Signal
from routers.watch.watched import Level, Rule, Tested, Watched

DEMOTES = Rule(demotes=True, learn_from=50, return_after_s=600.0)


@pytest.mark.parametrize(
    ("known", "rule", "told"),
    [
        (Watched(), DEMOTES, "is tested from its answer 51 of a kind of request on"),
        (Watched(detectors={Signal.EMPTY: Tested()}), DEMOTES, "warning at evidence 100000"),
        (Watched(level=Level.WARNING), Rule(), "ok at return evidence 1000"),
        (
            Watched(level=Level.WARNING),
            DEMOTES,
            "demoted at evidence 1e+07 (times apart), ok at return evidence 1000",
        ),
        (
            Watched(level=Level.DEMOTED),
            DEMOTES,
            "returns at return evidence 1000, or is tried after its time",
        ),
        (
            Watched(level=Level.RETURNING, n_probation=30),
            DEMOTES,
            "ok after 70 answers (a canary counts as five), demoted by a warning",
        ),
        (
            Watched(level=Level.WARNING, pinned=Level.OK),
            DEMOTES,
            "stays ok until an operator clears it",
        ),
    ],
    ids=["new", "tested", "warned of", "may be demoted", "demoted", "returning", "pinned"],
)
def test_what_has_to_come(known, rule, told):
    assert next_step(known, rule) == told


def test_a_demoted_model_is_tried_later_each_time_that_it_was_in_vain():
    known = Watched(level=Level.DEMOTED, since=1_000.0)
    assert tried_at(known, DEMOTES) == 1_600.0
    known.n_vain = 2
    assert tried_at(known, DEMOTES) == 3_400.0
    # And no sooner than that.
    assert known.review(rule=DEMOTES, now=3_399.0) == []
    assert [each.level for each in known.review(rule=DEMOTES, now=3_400.0)] == [Level.RETURNING]
    assert tried_at(known, DEMOTES) is None


def test_where_models_are_not_demoted_there_is_no_such_evidence():
    assert demoted_at(Rule()) is None
    assert demoted_at(DEMOTES) == 1e7


def test_one_signal_alone_needs_what_its_weight_leaves_of_it():
    at = alone_at(DEMOTES)[Signal.EMPTY]
    wealth = [at] * len(Tested().wealth)
    known = Watched(detectors={Signal.EMPTY: Tested(wealth=wealth)})
    assert known.evidence() == pytest.approx(DEMOTES.alarm)
