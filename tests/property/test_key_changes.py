"""Changing a key is a JSON merge patch: what comes out is what the merged document says."""

import contextlib
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.access.changes import KeyChanges, merged
from app.access.terms import KeyTerms
from app.errors import InvalidRequestError
from tests.support.keys import NOW

TEXT = st.text("abc", max_size=3)
SHARES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
COUNTS = st.integers(1, 5)
BUDGETS = st.lists(
    st.fixed_dictionaries(
        {"usd": SHARES, "period": st.sampled_from(["day", "week", "month"])},
        optional={"on_low": st.sampled_from(["reject", "degrade"])},
    ),
    max_size=2,
)
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
TERMS: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXT,
    "owner": TEXT,
    "team": TEXT,
    "models": st.lists(TEXT, max_size=2),
    "policies": st.lists(TEXT, max_size=2),
    "cost_quality": SHARES,
    "least_cost_quality": SHARES,
    "most_cost_quality": SHARES,
    "limits": st.dictionaries(st.sampled_from(LIMITS), COUNTS),
    "budgets": BUDGETS,
    "cache": st.booleans(),
    "disabled": st.booleans(),
    "metadata": st.dictionaries(TEXT, TEXT, max_size=3),
}
NULLS = {
    **{name: values | st.none() for name, values in TERMS.items()},
    "limits": st.dictionaries(st.sampled_from(LIMITS), COUNTS | st.none()) | st.none(),
    "metadata": st.dictionaries(TEXT, TEXT | st.none(), max_size=3) | st.none(),
}
FEW = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def record_of(terms):
    return KeyTerms.model_validate(terms).to_record(key_id="key-0", digest="0" * 64, now=NOW)


@given(
    terms=st.fixed_dictionaries({}, optional=TERMS).map(lambda terms: {"name": "x", **terms}),
    patch=st.fixed_dictionaries({}, optional=NULLS),
)
@FEW
def test_a_changed_key_is_the_one_that_the_merged_document_makes(terms, patch):
    with contextlib.suppress(ValidationError):
        before = record_of(terms)
        changes = KeyChanges.model_validate_json(json.dumps(patch))
        try:
            after = changes.apply(before, now=NOW)
        except InvalidRequestError as error:
            with contextlib.suppress(ValidationError):
                record_of(merged(terms, patch))
                raise AssertionError(f"refused, but a key may be made so: {error}") from error
            return
        assert after == record_of(merged(terms, patch))
        assert changes.apply(after, now=NOW) == after


# RFC 7396, appendix A.
CASES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


def test_documents_are_merged_as_the_standard_says():
    for target, patch, result in CASES:
        assert merged(target, patch) == result
