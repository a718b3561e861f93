"""Whatever an issuer sends is refused, or becomes a record that can be stored and read again."""

import contextlib
import json

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.access.terms import KeyTerms
from app.keys import KeyRecord
from app.stores._sqlite_keys import decode_key
from tests.support.keys import NOW

TEXT = st.text(max_size=12) | st.sampled_from(
    ["search", "a b", "\ud800", "\x1b[2J", "ünï", "x" * 600]
)
NUMBERS = st.floats() | st.integers() | st.integers(0, 3) | st.floats(0, 1)
COUNTS = st.none() | NUMBERS
JUNK = st.none() | st.booleans() | NUMBERS | TEXT | st.lists(TEXT, max_size=2)
BUDGET = st.fixed_dictionaries(
    {"usd": NUMBERS, "period": st.sampled_from(["day", "week", "month"]) | TEXT},
    optional={"on_low": st.sampled_from(["reject", "degrade"]), "degrade_from": NUMBERS},
)
TERMS = st.fixed_dictionaries(
    {"name": TEXT},
    optional={
        "owner": TEXT | JUNK,
        "team": TEXT | JUNK,
        "expires_in_s": COUNTS,
        "models": st.lists(TEXT, max_size=3) | JUNK,
        "policies": st.lists(TEXT, max_size=3) | JUNK,
        "cost_quality": COUNTS,
        "least_cost_quality": NUMBERS,
        "most_cost_quality": NUMBERS,
        "limits": st.dictionaries(
            st.sampled_from(
                ["requests_per_minute", "tokens_per_minute", "concurrent_requests", "x"]
            ),
            COUNTS,
        )
        | JUNK,
        "budgets": st.lists(BUDGET | JUNK, max_size=4) | JUNK,
        "cache": st.booleans() | JUNK,
        "metadata": st.dictionaries(TEXT, TEXT, max_size=3) | JUNK,
        "digest": TEXT,
    },
)
FEW = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@given(terms=TERMS)
@example(terms={"name": "x", "budgets": [{"usd": 9e6, "period": "day"}]})
@example(terms={"name": "x", "models": ["\ud800"]})
@FEW
def test_terms_are_refused_or_become_a_record_that_reads_back_the_same(terms):
    with contextlib.suppress(ValidationError):
        accepted = KeyTerms.model_validate_json(json.dumps(terms))
        assert "digest" not in terms
        record = accepted.to_record(key_id="key-000000000000", digest="0" * 64, now=NOW)
        assert decode_key(msgspec.json.encode(record)) == record
        assert isinstance(record, KeyRecord)
        assert record.least_cost_quality <= record.most_cost_quality
    with contextlib.suppress(ValidationError):
        # The web framework reads JSON its own way, which lets lone surrogates through.
        accepted = KeyTerms.model_validate(terms)
        record = accepted.to_record(key_id="key-000000000000", digest="0" * 64, now=NOW)
        assert decode_key(msgspec.json.encode(record)) == record
