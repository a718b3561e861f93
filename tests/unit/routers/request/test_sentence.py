import itertools

import numpy as np
import pytest

from routers.decisions import CandidateEstimate, Decision, Exclusion, Reason
from routers.request.layout import DOMAINS, KINDS, LEVELS, Description
from routers.request.sentence import describe, domain_of, frequency, kind_of, level_of, why


def request(kind="question", level="trivial", domain="everyday", *, sure=0.9):
    def chances(names, name):
        rest = (1 - sure) / (len(names) - 1)
        return np.asarray([[sure if each == name else rest for each in names]], np.float32)

    return Description(
        levels=chances(LEVELS, level),
        kinds=chances(KINDS, kind),
        domains=chances(DOMAINS, domain),
        log_tokens=np.asarray([5.0], np.float32),
    )


def estimate(model_id, quality, cost_usd, *, exclusion=None):
    return CandidateEstimate(
        model_id=model_id,
        quality=quality,
        quality_std=None if quality is None else 0.1,
        input_tokens=10,
        output_tokens=100.0,
        output_tokens_upper=200.0,
        cost_usd=cost_usd,
        cost_usd_upper=cost_usd,
        exclusion=exclusion,
        exclusion_detail=None if exclusion is None else "because",
    )


def decision(chosen, *candidates, reason=Reason.KNOB):
    return Decision(
        model_id=chosen,
        fallbacks=(),
        candidates=candidates,
        reason=reason,
        usd_per_quality=0.1,
    )


POOL = (estimate("large", 0.9, 0.012), estimate("small", 0.7, 0.001), estimate("tiny", 0.4, 0.0001))
ALIKE = (estimate("large", 0.99, 0.012), estimate("small", 0.985, 0.001))


@pytest.mark.parametrize(
    ("chance", "words"),
    [
        (0.0, "hardly ever"),
        (0.01, "one time in a hundred"),
        (0.02, "one time in fifty"),
        (0.05, "one time in twenty"),
        (0.1, "one time in ten"),
        (0.2, "one time in five"),
        (0.3, "three times in ten"),
        (0.4, "four times in ten"),
        (0.5, "one time in two"),
        (0.6, "six times in ten"),
        (0.9, "nine times in ten"),
        (1.0, "nearly always"),
    ],
)
def test_chances_are_said_as_people_say_them(chance, words):
    assert frequency(chance) == words


def test_every_chance_has_words_and_larger_ones_never_sound_smaller():
    told = [frequency(chance) for chance in np.linspace(0, 1, 501)]
    assert len(dict.fromkeys(told)) == sum(a != b for a, b in itertools.pairwise(told)) + 1


def test_where_all_do_as_well_the_cheapest_needs_no_other_reason():
    assert why(decision("small", *ALIKE), request()) == (
        "question, trivial: the cheapest model is predicted to do as well"
    )


def test_the_best_model_is_chosen_because_the_cheapest_fails():
    told = why(decision("large", *POOL), request("mathematics", "demanding", "mathematics"))
    assert told == (
        "mathematics, demanding: the cheapest model is predicted to fail six times in ten, "
        "large one time in ten"
    )


def test_a_model_in_the_middle_is_weighed_against_both_ends():
    told = why(decision("small", *POOL), request("code", "demanding", "software"))
    assert told == (
        "code, demanding: the cheapest model is predicted to fail six times in ten, small three "
        "times in ten; large, one time in ten, would cost 12 times as much"
    )


def test_the_cheapest_that_is_worse_says_what_the_best_would_cost():
    assert why(decision("tiny", *POOL)) == (
        "the cheapest model is predicted to fail six times in ten; large, one time in ten, "
        "would cost 120 times as much"
    )


def test_two_models_that_fail_about_as_often_are_told_apart():
    near = (estimate("large", 0.93, 0.02), estimate("small", 0.9, 0.01))
    assert why(decision("large", *near)) == (
        "the cheapest model is predicted to fail one time in ten, large one time in twenty"
    )
    nearer = (estimate("large", 0.91, 0.02), estimate("small", 0.87, 0.01))
    assert why(decision("large", *nearer)) == (
        "the cheapest model is predicted to fail one time in ten, large a little less often"
    )
    assert "large, a little less often, would cost twice as much" in why(decision("small", *nearer))


def test_an_excluded_model_is_compared_with_nobody():
    barred = (*POOL[:2], estimate("tiny", 0.4, 0.0001, exclusion=Exclusion.MAX_COST))
    assert why(decision("large", *barred)).startswith(
        "the cheapest model is predicted to fail three times in ten"
    )


def test_another_position_of_the_knob_has_a_reason_of_its_own():
    routed = decision("small", *POOL)
    assert why(routed, at_knob="large") == why(decision("large", *POOL))
    assert why(routed, at_knob="small") == why(routed)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.PINNED, "large was asked for by name"),
        (Reason.STICKY, "the conversation stays with large"),
        (
            Reason.ROUTER_TIMEOUT,
            "the router took too long, so that large takes it by default",
        ),
        (Reason.ROUTER_ERROR, "the router failed, so that large takes it by default"),
        (
            Reason.MIN_QUALITY_UNMET,
            "no model is predicted to reach the minimum; large comes nearest",
        ),
        (
            Reason.ONLY_ELIGIBLE,
            "only large may take it, and is predicted to fail one time in ten",
        ),
    ],
)
def test_other_reasons_than_the_knob_are_said_as_they_are(reason, words):
    assert why(decision("large", *POOL, reason=reason)) == words


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("pool", [POOL, ALIKE, (), (estimate("large", None, None),)])
@pytest.mark.parametrize("described", [None, request()])
def test_there_is_a_sentence_for_every_decision(reason, pool, described):
    told = why(decision("large", *pool, reason=reason), described)
    assert "large" in told or "cheapest" in told
    assert not told.endswith(".")
    assert "None" not in told


def test_a_worse_and_dearer_choice_is_not_praised():
    told = why(
        decision(
            "small",
            estimate("large", 0.8, 0.02),
            estimate("small", 0.7, 0.001),
            estimate("tiny", 0.75, 0.0001),
        )
    )
    assert told == (
        "small is predicted to fail three times in ten; large, one time in five, would cost "
        "20 times as much"
    )


def test_models_without_a_price_are_compared_by_quality_alone():
    unpriced = (estimate("large", 0.9, None), estimate("small", 0.7, None))
    assert why(decision("large", *unpriced)) == (
        "large is predicted to fail least often, one time in ten"
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request("question", "easy", "law"), "question on law, easy"),
        (request("translation", "easy", "language"), "translation, easy"),
        (request("code", "very demanding", "data"), "code (data), very demanding"),
        (request("code", "moderate", "software"), "code, moderate"),
        (request("document", "moderate", "finance"), "long document on finance, moderate"),
    ],
)
def test_a_request_is_described_by_kind_domain_and_level(asked, words):
    assert describe(asked) == words


def test_what_is_not_known_is_not_said():
    vague = request("question", "moderate", "law", sure=0.2)
    assert (kind_of(vague), domain_of(vague)) == (None, None)
    assert describe(vague) == level_of(vague)


def test_the_level_is_the_middle_one_of_those_that_it_may_be():
    levels = np.asarray([[0.45, 0.1, 0.15, 0.0, 0.3]], np.float32)
    asked = request()
    asked = Description(
        levels=levels, kinds=asked.kinds, domains=asked.domains, log_tokens=asked.log_tokens
    )
    assert level_of(asked) == "easy"
