"""Whatever is sent to what manages keys and tells of spending is taken or refused."""

import asyncio
import json
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.main import create_app
from app.outcomes.sqlite import SqliteOutcomes
from tests.support.gateway import stub_config
from tests.support.keys import DictStore
from tests.support.spending import random_rows

TOKEN = "a-token-of-the-tests"  # noqa: S105  (opens nothing else)
FIELDS = st.sampled_from(
    [
        *("name", "owner", "team", "expires_in_s", "expires_at", "models", "policies", "limits"),
        *("cost_quality", "least_cost_quality", "most_cost_quality", "budgets", "cache"),
        *("disabled", "metadata", "digest", "requests_per_minute", "usd", "period", "x"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["day", "sim-nano", "\ud800", "\x00", 1e308, 10**400, -0.0])
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=10,
)
BODIES = st.dictionaries(FIELDS, DOCUMENTS, max_size=4).map(json.dumps) | st.text(max_size=20)
NAMES = st.sampled_from(
    [
        *("from", "to", "group_by", "key", "team", "model", "upstream", "policy", "format"),
        *("limit", "after", "status", "owner", "name", "key_id", "x"),
    ]
)
VALUES = st.text(max_size=8) | st.sampled_from(
    [
        *("7d", "999999w", "2026-11-01", "9999-12-31", "0001-01-01", "1795000000", "1e99", "nan"),
        *("key,model,hour", "month,day,team,upstream,policy", "key,,", "csv", "json", "-1", "0"),
        *("1000", "9" * 400, "\x00", "\ud800", "' OR 1=1 --", "active", "null"),
    ]
)
QUERIES = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(
    lambda pairs: "&".join(
        f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in pairs
    )
)
FEW = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
REFUSALS = {400, 404, 412, 415}


@pytest.fixture(scope="module")
def ask(artifacts, tmp_path_factory):
    """Return a function that asks the application, and a key that may be changed."""
    directory = tmp_path_factory.mktemp("fuzzed")
    changes = {"auth": {"mode": "keys"}, "store": {"data_dir": "data"}}
    config = stub_config(
        directory, "http://127.0.0.1:9", changes=changes, env={"STEELYARD_ADMIN_TOKEN": TOKEN}
    )
    sink = SqliteOutcomes(directory / "data")
    sink.open()
    sink.write(random_rows(50, seed=3))
    sink.close()
    store = DictStore()
    record, secret = store.keys.issue()
    app = create_app(config, artifacts=artifacts, store=store)
    with asyncio.Runner() as runner:

        async def asked(method, path, token, **options):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                headers = {"authorization": f"Bearer {token}", **options.pop("headers", {})}
                return await client.request(method, path, headers=headers, **options)

        def ask(method, path, *, token=TOKEN, **options):
            return runner.run(asked(method, path, token, **options))

        yield ask, record.key_id, secret


@given(body=BODIES, tag=st.sampled_from([None, "*", '"1"', "x", '"' + "9" * 300 + '"', ",,"]))
@example(body='{"limits": {"requests_per_minute": 1e999}}', tag=None)
@example(body='{"metadata": {"a": null}, "name": "\\ud800"}', tag=None)
@FEW
def test_any_change_of_a_key_is_made_or_refused(ask, body, tag):
    asked, key_id, _ = ask
    headers = {"content-type": "application/json", **({} if tag is None else {"if-match": tag})}
    response = asked(
        "PATCH",
        f"/admin/keys/{key_id}",
        content=body.encode("utf-8", "surrogatepass"),
        headers=headers,
    )
    assert response.status_code == 200 or response.status_code in REFUSALS
    if response.status_code != 200:
        assert set(response.json()["error"]) >= {"message", "type", "param", "code"}
    assert asked("GET", f"/admin/keys/{key_id}").json()["key_id"] == key_id


@given(
    path=st.sampled_from(["/admin/spend", "/admin/keys", "/admin/audit", "/v1/usage"]),
    query=QUERIES,
)
@example(path="/admin/spend", query="from=999999w&group_by=month")
@example(path="/v1/usage", query="from=0001-01-01&to=9999-12-31T23:59:59-12:00")
@FEW
def test_any_question_is_answered_or_refused(ask, path, query):
    asked, key_id, secret = ask
    if path == "/v1/usage":
        # The key may have been disabled by the test above.
        asked("PATCH", f"/admin/keys/{key_id}", json={"disabled": False, "expires_at": None})
    response = asked("GET", f"{path}?{query}", token=secret if path == "/v1/usage" else TOKEN)
    assert response.status_code == 200 or response.status_code in REFUSALS
