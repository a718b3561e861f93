import httpx
import pytest
from fastapi import FastAPI

from app.access.issuing import Issuer
from app.access.terms import KnownNames
from app.api.admin import admin_router
from app.gateway.money.admission import Admission
from app.gateway.money.allowances import Allowance, Allowances
from app.keys import Budget, Limits, Period
from app.main import create_app
from app.stores.claims import BudgetLimit, Claim, Scope, ScopeKind, Settlement
from app.stores.memory import MemoryStore
from tests.support.gateway import stub_config
from tests.support.keys import NOW, DictKeys, DictStore, SetClock
from tests.support.requests import assert_openai_error

TOKEN = "a-token-of-the-tests"  # noqa: S105  (opens nothing else)
KNOWN = KnownNames(models=frozenset(), policies=frozenset(), teams=frozenset({"search"}))


def client_of(app):
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://test",
        headers={"authorization": f"Bearer {TOKEN}"},
    )


@pytest.fixture
def keys():
    return DictKeys()


@pytest.fixture
async def admin(artifacts, keys, tmp_path):
    """Talk to the admin API of a gateway whose keys can be cut off."""
    changes = {"auth": {"mode": "keys"}, "store": {"data_dir": "data"}}
    config = stub_config(
        tmp_path, "http://127.0.0.1:9", changes=changes, env={"STEELYARD_ADMIN_TOKEN": TOKEN}
    )
    app = create_app(config, artifacts=artifacts, store=DictStore(keys))
    async with client_of(app) as client:
        yield client


async def test_where_a_keys_limits_stand_is_told_in_dollars(keys):
    counters = MemoryStore(None, clock=SetClock()).store.counters
    admission = Admission(
        counters=counters,
        allowances=Allowances(
            gateway=Allowance(budgets=(Budget(usd=100, period=Period.MONTH),)),
            teams={"search": Allowance(limits=Limits(concurrent_requests=5))},
        ),
        specs={},
        lifetime_s=600,
        now=SetClock(),
    )
    record, _ = keys.issue(
        team="search",
        limits=Limits(requests_per_minute=60),
        budgets=(Budget(usd=2, period=Period.DAY),),
    )
    scope = Scope(ScopeKind.KEY, record.key_id)
    (standing, _, _) = await admission.standings.of(_caller(record))
    period = standing.budgets[0].period_id
    budget = BudgetLimit(period_id=period, limit_nusd=2_000_000_000, ends_in_s=1000)
    for request_id, reserve_nusd in (("done", 10), ("running", 250_000_000)):
        claim = Claim(
            scope=scope, requests_per_minute=60, budgets=(budget,), reserve_nusd=reserve_nusd
        )
        await counters.admit(request_id, [claim], lifetime_s=600)
    settlement = Settlement(scope=scope, tokens=9, cost_nusd=500_000_000, budgets=(budget,))
    await counters.settle("done", [settlement])

    app = FastAPI()
    app.include_router(
        admin_router(Issuer(keys, lambda: KNOWN), token=TOKEN, standings=admission.standings.of)
    )
    async with client_of(app) as client:
        told = (await client.get(f"/admin/keys/{record.key_id}/standing")).json()
    assert told["key_id"] == record.key_id
    of_key, of_team, of_gateway = told["scopes"]
    assert of_key["scope"] == f"key:{record.key_id}"
    assert of_key["budgets"] == [
        {
            "period": period,
            "limit_usd": 2.0,
            "spent_usd": 0.5,
            "reserved_usd": 0.25,
            "left_usd": 1.25,
        }
    ]
    assert of_key["requests"]["limit"] == 60
    assert of_key["requests"]["remaining"] == 58
    assert of_key["tokens"] is None
    assert of_key["in_flight"] == 1
    assert (of_team["scope"], of_gateway["scope"]) == ("team:search", "gateway")
    assert of_gateway["budgets"][0]["limit_usd"] == 100.0


def _caller(record):
    from app.access.guard import Caller

    return Caller(record, record.key_id, record.team)


async def test_without_its_store_the_admin_api_is_unavailable_and_recovers(admin, keys):
    record, _ = keys.issue()
    keys.down = True
    for response in (
        await admin.get("/admin/keys"),
        await admin.post("/admin/keys", json={"name": "x"}),
        await admin.delete(f"/admin/keys/{record.key_id}"),
    ):
        assert assert_openai_error(response, status=503)["code"] == "store_unavailable"
        assert response.headers["retry-after"] == "1"
    keys.down = False
    assert (await admin.get("/admin/keys")).status_code == 200


async def test_without_its_store_the_gateway_lets_nobody_in_that_it_does_not_know(admin, keys):
    _, known = keys.issue()
    _, unknown = keys.issue()

    async def ask(secret):
        return await admin.get("/v1/models", headers={"authorization": f"Bearer {secret}"})

    assert (await ask(known)).status_code == 200
    keys.down = True
    assert (await ask(known)).status_code == 200
    response = await ask(unknown)
    assert assert_openai_error(response, status=503)["code"] == "store_unavailable"
    keys.down = False
    assert (await ask(unknown)).status_code == 200


async def test_a_team_must_be_configured(keys):
    app = FastAPI()
    app.include_router(admin_router(Issuer(keys, lambda: KNOWN), token=TOKEN, now=SetClock(NOW)))
    async with client_of(app) as client:
        response = await client.post("/admin/keys", json={"name": "x", "team": "search"})
    assert response.json()["team"] == "search"
