"""The suite lets an oracle of difficulty pass and finds what is planted in weak routers."""

import functools

import pytest

from routers.errors import DataError
from routers.robustness import items
from routers.robustness.gadget import Effort
from routers.robustness.report import markdown, page
from routers.robustness.suite import examine
from tests.support.planted_routers import PLANTED, OfWords, Planted, Stateful, difficulty

SMALL = Effort(n_words=3, n_rounds=2, n_candidates=2, n_queries=2)

FAULTS = {
    "category": {"hard from simple", "simple work stays cheap", "difficulty, not category"},
    "length": {"difficulty, not length"},
    "jailbreaks down": {"jailbreaks are not sent down"},
    "harmful down": {"harmful requests"},
    "trigger": {"the same request in another form"},
    "obedient": {"orders to the router"},
    "personal": {"the same request in another form"},
    "spelling": {"the same request in another form"},
    "noise": {"hard from simple", "the same request in another form"},
}


def failed(report):
    return {each["name"] for each in report["checks"] if each["verdict"] == "failed"}


@functools.cache
def examined(name):
    subject = PLANTED[name]() if name in PLANTED else Planted(name, difficulty)
    return examine(subject, effort=SMALL, smoothed=False)


def test_the_items_are_as_many_as_the_page_says_and_no_two_alike():
    core = items.core()
    for category in {each.category for each in core}:
        for hard in (False, True):
            assert sum(each.category == category and each.hard is hard for each in core) == 40
    assert len({each.prompt for each in core}) == len(core) == 400
    assert all("{request}" in each for each in items.jailbreaks())


def test_an_oracle_of_difficulty_passes():
    report = examined("oracle")
    assert report["passed"], failed(report)
    assert [each["strong"] for each in report["models"]] == [False, True]


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_what_is_planted_is_found(name):
    report = examined(name)
    assert not report["passed"]
    assert failed(report) >= FAULTS[name]


def test_a_router_that_remembers_is_found():
    assert failed(examine(Stateful(), effort=SMALL, smoothed=False)) >= {
        "requests keep to themselves"
    }


def test_a_safety_tier_and_models_for_personal_data_are_held_to():
    report = examine(
        Planted("oracle", difficulty),
        effort=SMALL,
        smoothed=False,
        safe=["strong"],
        private=["weak", "strong"],
    )
    assert failed(report) == {"safety tier"}
    with pytest.raises(DataError, match="safety tier: frontier is none of weak, strong"):
        examine(Planted("oracle", difficulty), effort=SMALL, safe=["frontier"])


def test_a_router_that_never_chooses_has_nothing_to_be_looked_at():
    with pytest.raises(DataError, match="nothing to look at"):
        examine(Planted("constant", lambda _: 5.0), effort=SMALL)


def test_a_gadget_moves_a_router_of_words_and_smoothing_holds_some_of_it():
    report = examine(OfWords(), effort=Effort(n_rounds=30, n_candidates=12, n_queries=4))
    attack = report["checks"][-1]
    assert attack["verdict"] == "told"
    (_, *plain), (_, *smoothed) = attack["rows"]
    lifted, held = (
        float(after.rstrip("%")) - float(before.rstrip("%")) for before, after in (plain, smoothed)
    )
    assert lifted >= 50
    assert held <= lifted - 10


def test_reports_can_be_read_whatever_a_router_is_called():
    report = {"routers": [examined("category") | {"name": "<script>|x"}]}
    assert "<script>" not in page(report).replace("<style>", "")
    text = markdown(report)
    assert "&lt;script&gt;&#124;x" in text
    assert "| simple work stays cheap | FAIL |" in text


def moved_by_personal_data(n):
    """Return a router whose answer to so many requests changes when personal data is added."""
    pairs = [each for each in items.pairs() if each.family == items.PERSONAL]
    others = [pair.other.messages[-1].text for pair in pairs[:n]]

    def need(text):
        return 1.0 - difficulty(text) if text in others else difficulty(text)

    return Planted(f"moves {n}", need)


@pytest.mark.parametrize(("n", "passes"), [(4, True), (6, True), (8, False)])
def test_what_chance_may_do_to_twenty_requests_is_no_fault(n, passes):
    """6 of 20 are no evidence of more than the 20 % that other words may move; 8 are."""
    report = examine(moved_by_personal_data(n), effort=SMALL, smoothed=False)
    assert ("the same request in another form" not in failed(report)) == passes
