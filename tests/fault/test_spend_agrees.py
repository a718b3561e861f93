"""What is told of spending is what the ledger counted, to the billionth, whatever went wrong."""

import math
import time
from dataclasses import replace

import pytest

from app.spend.question import Dimension, Question
from app.spend.source import spend_source
from loadtest.fault_proxy import ProxyFault, even_shares
from loadtest.mixed_traffic import Ended
from tests.support.stores import new_prefix
from tests.support.under_fire import ADMIN_TOKEN, OPEN_FILES, fire_config, run_under_fire

pytestmark = pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs Linux's /proc")

N_REQUESTS = 150
POLICIES = ("default", "economy", "quality")
NUSD = 1e9


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_spending_is_what_budgets_were_charged(stub_thread, artifacts, tmp_path, request, kind):
    stub_thread.reset()
    changes = {f"policies.{name}.hedge_after_s": 0.04 for name in POLICIES}
    env = {"STEELYARD_ADMIN_TOKEN": ADMIN_TOKEN}
    if kind == "redis":
        env["STEELYARD_REDIS_URL"] = request.getfixturevalue("redis_server").url
        changes["store"] = {"kind": "redis", "prefix": new_prefix(), "timeout_s": 5.0}
        changes["outcomes"] = {"sink": "redis"}
    began = time.time()
    fire = run_under_fire(
        tmp_path,
        stub_thread.origin,
        artifacts,
        n_requests=N_REQUESTS,
        shares={**even_shares(0.33), ProxyFault.LATENCY: 0.1},
        seed=11,
        changes=changes,
        env=env,
    )
    assert fire.of(Ended.LEFT)
    source = spend_source(fire_config(tmp_path, stub_thread.origin, changes=changes, env=env))
    question = Question(since=began, until=time.time() + 1, by=(Dimension.KEY,))
    found = source.read(question, deadline=math.inf)
    for key_id, scope in fire.standings.items():
        (budget,) = scope["budgets"]
        assert budget["reserved_usd"] == 0
        assert found[key_id,].cost_nusd == round(budget["spent_usd"] * NUSD) > 0
    lines = [line for lines in fire.ledger.values() for line in lines]
    told = [amounts for group, amounts in found.items() if group[0] in fire.standings]
    assert sum(each.requests for each in told) == len(
        [line for line in lines if line["key_id"] in fire.standings]
    )
    assert sum(each.estimated_requests for each in told) > 0
    assert sum(each.failed_requests for each in told) > 0
    by_role = replace(question, by=(Dimension.ROLE, Dimension.KEY))
    roles = source.read(by_role, deadline=math.inf)
    assert roles["hedge", next(iter(fire.standings))].cost_nusd > 0
    for key_id in fire.standings:  # whatever calls were for, together they are all that was paid
        parts = [each.cost_nusd for (_, key), each in roles.items() if key == key_id]
        assert sum(parts) == found[key_id,].cost_nusd
