"""What looks like a mistake and may be none is told with its line; what is shipped has none."""

import copy
import datetime as dt

import pytest

from app.check.credentials import credential_doubts
from app.check.doubts import doubts
from app.check.servable import check_servable
from app.check.summary import summary
from app.config import load_config
from tests.support.gateway import CONFIGS, read_yaml, write_yaml

TODAY = dt.date(2026, 11, 29)


@pytest.fixture
def load(tmp_path):
    """Load the default configuration with changes to it or to its catalogue ("models.yaml:…")."""

    def load(changes=()):
        documents = {name: read_yaml(CONFIGS / name) for name in ("gateway.yaml", "models.yaml")}
        for path, value in dict(changes).items():
            name, _, rest = path.rpartition(":")
            *parents, last = rest.split("|")
            place = documents[name or "gateway.yaml"]
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = copy.deepcopy(value)
        for name, document in documents.items():
            write_yaml(tmp_path / name, document)
        return load_config(tmp_path / "gateway.yaml", env={}, secrets_needed=False)

    return load


@pytest.fixture
def found(load, artifacts):
    def found(changes=()):
        config = load(changes)
        prepared = check_servable(config, artifacts=artifacts, here=False)
        return doubts(config, prepared, here=False, today=TODAY)

    return found


PRICES = "models.yaml:models|claude-opus-5-5|prices"
BUDGET = {"budgets": [{"usd": 1, "period": "day"}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"upstreams|stub|base_url": "http://127.0.0.1:8081"}, "has no path"),
        (
            {"upstreams|stub|kind": "gemini", "upstreams|stub|base_url": "http://127.0.0.1/v1"},
            "want an x-goog-api-key of everybody",
        ),
        ({"upstreams|stub|base_url": "http://127.0.0.1:8081/"}, "want /v1 before that"),
        (
            {"upstreams|x": {"base_url": "https://a.openai.azure.com/v1", "kind": "openai"}},
            "looks like Azure",
        ),
        ({"upstreams|x": {"base_url": "http://a/v1"}}, "upstreams.x: serves none of the models"),
        ({"routers|x": {}}, "routers.x: is used by none of the policies"),
        (
            {"upstreams|stub|timeouts": {"first_token_s": 10_000}},
            "timeouts.first_token_s: 10000 seconds are never reached: total_s ends it after 600",
        ),
        (
            {"upstreams|stub|timeouts": {"connect_s": 90}},
            "connect_s: 90 seconds are never reached: first_token_s ends it after 60",
        ),
        (
            {"upstreams|stub|timeouts": {"total_s": 700}},
            "total_s: 700 seconds are never reached: server.request_timeout_s ends it after 600",
        ),
        ({"policies|default|hedge_after_s": 700}, "hedge_after_s: 700 seconds are never over"),
        ({f"{PRICES}|output_usd_per_mtok": 0.00003}, "output_usd_per_mtok: 3e-05 US dollars per"),
        ({f"{PRICES}|output_usd_per_mtok": 0.00003}, "that would be 30, or 0.03"),
        ({f"{PRICES}|input_usd_per_mtok": 3000}, "more than any model costs"),
        ({f"{PRICES}|cached_input_usd_per_mtok": 11}, "is more than the price of input that is"),
        ({f"{PRICES}|date": dt.date(2027, 1, 1)}, "models.yaml: line"),
        ({f"{PRICES}|date": dt.date(2027, 1, 1)}, "2027-01-01 has not come yet"),
        (
            {f"{PRICES}|input_usd_per_mtok": None, "allowances": {"key": BUDGET}},
            "models.sim-frontier: has no price, so it is refused where a budget would have to pay",
        ),
        (
            {f"{PRICES}|output_usd_per_mtok": None, "allowances": {"teams": {"a": BUDGET}}},
            "one for team a",
        ),
        ({f"{PRICES}|input_usd_per_mtok": None}, "only chosen where the price does not matter"),
        ({"policies|economy|candidates": ["sim-small"]}, "holds one model"),
        (
            {
                "models|sim-nano|predicted_as": "claude-opus-5-5",
                "policies|quality|candidates": ["sim-nano", "sim-frontier"],
            },
            "policies.quality.candidates: are all predicted as claude-opus-5-5",
        ),
        ({"outcomes": {"keep_days": 3}}, "outcomes.keep_days: has no effect: there is no decision"),
        ({"auth": {"mode": "none", "fresh_s": 1}}, "auth.fresh_s: has no effect"),
        ({"store": {"prefix": "x"}}, "store.prefix: has no effect: it is for store.kind: redis"),
        ({"allowances": {"teams": {"a": {}}}}, "teams.a: has no effect: only keys have teams"),
        (
            {"server|max_rss_mb": 50},
            "max_rss_mb: 50 is very little: an idle gateway",
        ),
        ({"server|max_lag_s": 0.001}, "server.max_lag_s: 0.001 is very little"),
        (
            {"server|host": "0.0.0.0", "server|keep_alive_s": 5, "auth": {"mode": "none"}},  # noqa: S104
            "server.keep_alive_s: 5 seconds are no longer than load balancers keep",
        ),
        ({"policies|default|router_deadline_s": 0.0001}, "sim-medium would take every request"),
        (
            {
                "upstreams|stub|base_url": "http://models.example/v1",
                "upstreams|stub|timeouts": {"connect_s": 0.001},
            },
            "timeouts.connect_s: 0.001 seconds are hardly enough",
        ),
        (
            {
                "policies|economy|candidates": ["sim-small", "sim-nano"],
                "models.yaml:models|llama-3.1-8b-instruct|capabilities": [],
                "models.yaml:models|gpt-4.1-nano|capabilities": ["tools"],
            },
            "policies.economy.candidates: cannot stream",
        ),
        (
            {"models|sim-nano|predicted_as": "gpt-6.2-sol"},
            "policies.default.candidates: no result was ever published of gpt-6.2-sol, so sim-nano",
        ),
        ({"stub|port": 8082}, "stub: listens on the port of none of the upstreams"),
    ],
)
def test_what_may_be_a_mistake_is_told_with_its_line(found, changes, words):
    lines = found(changes)
    assert any(words in line for line in lines), lines
    assert all(line.startswith(("gateway.yaml: line ", "models.yaml: line ")) for line in lines)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upstreams|stub|timeouts": {"total_s": 120}},
        {"server|request_timeout_s": 100},
        {"allowances": {"gateway": BUDGET}},
        {"upstreams|stub|base_url": "https://api.deepseek.com"},
        {f"{PRICES}|cached_input_usd_per_mtok": 0.01},
    ],
)
def test_what_is_usual_is_not_doubted(found, changes):
    stub = "stub: listens on the port"
    assert [each for each in found(changes) if stub not in each] == []


def test_the_summary_names_prices_with_their_age_borrowed_predictions_limits_and_secrets(
    load, artifacts
):
    config = load(
        {
            "models|sim-nano|predicted_as": "gpt-4-1106-preview",
            "models|sim-large|limits": {"concurrent_requests": 7},
            "upstreams|stub|api_key_env": "ALPHA_KEY",
            "allowances": {"key": BUDGET},
            "models.yaml:models|claude-sonnet-4-5|prices|date": dt.date(2026, 2, 1),
        }
    )
    prepared = check_servable(config, artifacts=artifacts, here=False)

    def told(*, here):
        lines = summary(config, prepared, here=here, today=TODAY)
        return [" ".join(line.split()) for line in lines]

    lines = told(here=True)
    assert (
        "sim-nano at stub 0.1 / 0.1 USD per million tokens in / out of 2026-05-01 (6 months old) "
        "borrows the predictions of gpt-4-1106-preview"
    ) in lines
    assert any(line.startswith("sim-large") and line.endswith("(9 months old)") for line in lines)
    assert "key 1 USD a day" in lines
    assert "model sim-large 7 requests at once" in lines
    assert "key of stub from ALPHA_KEY not set" in lines
    assert any(line.startswith("auto:default = auto router carrot,") for line in lines)
    (doubt,) = (line for line in lines if "unverified" in line)
    assert doubt.startswith("auto:default, auto:economy, auto:quality: evidence prior: known by")
    assert "key of stub from ALPHA_KEY not looked at" in told(here=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"upstreams|stub|token_command": ["no-such-program", "x"]},
            "no program 'no-such-program'",
        ),
        ({"upstreams|stub|token_file": "run/token"}, "run/token' here"),
    ],
)
def test_where_tokens_come_from_is_looked_at_on_the_machine(load, changes, words):
    config = load(changes)
    (doubt,) = credential_doubts(config, here=True)
    assert words in doubt.message
    assert list(credential_doubts(config, here=False)) == []
