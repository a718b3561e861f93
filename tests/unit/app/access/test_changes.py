"""What a change of a key's terms comes to."""

import pytest
from pydantic import ValidationError

from app.access.changes import KeyChanges
from app.access.terms import KnownNames
from app.errors import InvalidRequestError
from app.keys import Budget, Limits, OnLow, Period
from tests.support.keys import NOW, new_record

KNOWN = KnownNames(models=frozenset({"a"}), policies=frozenset({"p"}), teams=frozenset({"t"}))


@pytest.fixture
def record():
    return new_record(
        owner="ops",
        team="gone",
        expires_at=NOW + 60,
        models=frozenset({"a", "gone"}),
        limits=Limits(requests_per_minute=5, concurrent_requests=2),
        budgets=(Budget(usd=1, period=Period.DAY, on_low=OnLow.DEGRADE),),
        metadata={"a": "1", "b": "2"},
    )[0]


def changed(record, **said):
    return KeyChanges.model_validate(said).apply(record, now=NOW)


def test_what_is_not_said_stays(record):
    assert changed(record) == record
    assert changed(record, cache=True).team == "gone"


def test_limits_and_metadata_are_merged_and_lists_replaced(record):
    after = changed(
        record,
        limits={"requests_per_minute": None, "tokens_per_minute": 9},
        metadata={"a": None, "c": "3"},
        budgets=[{"usd": 2, "period": "month"}],
        models=["a"],
    )
    assert after.limits == Limits(tokens_per_minute=9, concurrent_requests=2)
    assert after.metadata == {"b": "2", "c": "3"}
    assert after.budgets == (Budget(usd=2, period=Period.MONTH),)
    assert after.models == frozenset({"a"})


def test_null_takes_away_what_was_said(record):
    names = ("owner", "team", "expires_in_s", "models", "limits", "budgets", "metadata")
    after = changed(record, **dict.fromkeys(names))
    assert (after.owner, after.team, after.expires_at, after.models) == ("", None, None, None)
    assert (after.limits, after.budgets, after.metadata) == (Limits(), (), {})


@pytest.mark.parametrize(
    ("said", "expires_at"),
    [
        ({"expires_in_s": 10}, NOW + 10),
        ({"expires_at": NOW + 99}, NOW + 99),
        ({"expires_at": None}, None),
    ],
)
def test_when_a_key_ends_is_said_from_now_or_as_a_moment(record, said, expires_at):
    assert changed(record, **said).expires_at == expires_at


@pytest.mark.parametrize("at", [NOW, NOW - 1, NOW + 20 * 366 * 86_400.0])
def test_a_key_ends_in_the_future_and_within_bounds(record, at):
    with pytest.raises(InvalidRequestError) as caught:
        changed(record, expires_at=at)
    assert caught.value.param == "expires_at"


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"name": None}, "name"),
        ({"cost_quality": 0.2, "least_cost_quality": 0.5}, "cost_quality"),
        ({"least_cost_quality": 0.8, "most_cost_quality": 0.2}, "least_cost_quality"),
        ({"budgets": [{"usd": 1, "period": "day"}] * 2}, "budgets"),
        ({"metadata": {str(i): "x" for i in range(15)}}, "metadata"),
    ],
)
def test_what_does_not_fit_together_names_the_field(record, said, param):
    with pytest.raises(InvalidRequestError) as caught:
        changed(record, **said)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "said",
    [
        {"key_id": "key-000000000000"},
        {"created_at": 1},
        {"revoked_at": None},
        {"expires_at": NOW + 1, "expires_in_s": 1},
        {"limits": {"rpm": 1}},
        {"models": []},
        {"disabled": "perhaps"},
    ],
)
def test_what_is_no_term_is_refused(said):
    with pytest.raises(ValidationError):
        KeyChanges.model_validate(said)


def test_only_names_that_are_said_must_be_configured():
    KeyChanges(cache=True, models=None).check(KNOWN)
    for said, param in (
        ({"models": {"a", "b"}}, "models"),
        ({"policies": {"q"}}, "policies"),
        ({"team": "gone"}, "team"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            KeyChanges.model_validate(said).check(KNOWN)
        assert caught.value.param == param
