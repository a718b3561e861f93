"""Rows of the decision log for tests of what is spent."""

import itertools
import random

import msgspec

from app.calls import CallRole
from app.outcomes.calls import StoredCall, text_of
from app.outcomes.rows import OutcomeRow

BEGIN = 1_795_000_000.0
"""2026-11-18T11:06:40Z."""
_ids = itertools.count()

_PLAIN = OutcomeRow(
    request_id="req-1",
    decision_id="dec-1",
    time=BEGIN,
    key_id="key-1",
    team=None,
    policy="default",
    policy_version="v1",
    model="small",
    upstream="stub",
    reason="best",
    status=200,
    error=None,
    input_tokens=10,
    cached_input_tokens=4,
    output_tokens=20,
    reasoning_tokens=5,
    estimated=False,
    cost_nusd=1_000,
    predicted_quality=0.75,
    predicted_cost_nusd=900,
    decide_s=0.001,
    overhead_s=0.002,
    time_to_first_token_s=0.5,
    duration_s=1.5,
    propensity=1.0,
)


def spent_row(**changes: object) -> OutcomeRow:
    """Return a row of a decision of its own."""
    return msgspec.structs.replace(_PLAIN, decision_id=f"dec-{next(_ids):06}", **changes)


def _call(rng: random.Random) -> StoredCall:
    return StoredCall(
        role=rng.choice(list(CallRole)).value,
        model=rng.choice(["small", "large", "large@terse"]),
        upstream=rng.choice([None, "stub"]),
        error=rng.choice([None, "hedge_lost"]),
        input_tokens=rng.choice([None, 0, rng.randrange(10_000)]),
        cached_input_tokens=rng.choice([None, 3]),
        output_tokens=rng.choice([None, rng.randrange(10_000)]),
        estimated=rng.random() < 0.3,
        cost_nusd=rng.choice([None, 0, rng.randrange(10**9)]),
    )


def random_rows(n: int, *, seed: int, days: float = 20) -> list[OutcomeRow]:
    """Return rows of a few keys, teams and models over some days, with all that can be missing."""
    rng = random.Random(seed)
    return [
        spent_row(
            time=BEGIN + rng.random() * days * 86_400,
            key_id=rng.choice(["key-1", "key-2", "key-3", None]),
            team=rng.choice([None, "search", "ads"]),
            model=rng.choice([None, "small", "large", "large@terse"]),
            upstream=rng.choice([None, "stub"]),
            policy=rng.choice(["default", "economy"]),
            session_id=rng.choice([None, "session-1", "session-2"]),
            agent_id=rng.choice([None, "agent-1"]),
            status=rng.choice([200, 200, 200, 429, 499, 502]),
            error=rng.choice([None, None, "upstream_timeout"]),
            cache=rng.choice([None, "hit", "miss"]),
            input_tokens=rng.choice([None, 0, rng.randrange(10_000)]),
            cached_input_tokens=rng.choice([None, 3]),
            output_tokens=rng.choice([None, rng.randrange(10_000)]),
            reasoning_tokens=rng.choice([None, 7]),
            estimated=rng.random() < 0.3,
            cost_nusd=rng.choice([None, 0, rng.randrange(10**9)]),
            calls=text_of([_call(rng) for _ in range(rng.randrange(4))]),
        )
        for _ in range(n)
    ]
