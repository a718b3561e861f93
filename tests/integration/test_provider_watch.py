"""A model that silently becomes a worse one, over real sockets: warned of, demoted, back."""

from collections import Counter

import httpx
import pytest

from tests.support.stub import StubThread

TOKEN = "t" * 32
ADMIN = {"authorization": f"Bearer {TOKEN}"}
WATCH = {"learn_from": 60, "return_after_s": 80_000.0}
FREE_ENOUGH = {"usd_per_day": 50.0, "every_s": 80_000.0}
"""Nothing is asked by itself while a test runs; it asks for what it wants."""
HARD = "Prove theorem {} about primes step by step with a rigorous algorithm."
BEST, WORST = "sim-frontier", "sim-nano"
LEARNED = 110
CANARIES = 200


class World:
    """A gateway and an upstream whose models can be exchanged."""

    def __init__(self, gateway, origin, client):
        self.url, self.app, self.origin, self.client = gateway.url, gateway.app, origin, client
        self.n = 0

    def ask(self, model="auto", **more):
        self.n += 1
        answer = self.client.post(
            f"{self.url}/v1/chat/completions",
            json={
                "model": model,
                "messages": [{"role": "user", "content": HARD.format(self.n)}],
                **more,
            },
            headers={"x-cost-quality": "1"} if model == "auto" else {},
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["x-route-model"], answer.headers.get("x-route-watch")

    def ask_often(self, n, model="auto", **more):
        """Ask; what is known is looked at often enough that nothing is left out."""
        found = []
        for at in range(n):
            found.append(self.ask(model, **more))
            if at % 10 == 9:
                self.watched()
        return found

    def watched(self, model=BEST):
        answer = self.client.get(f"{self.url}/admin/watch", headers=ADMIN)
        assert answer.status_code == 200, answer.text
        return next(each for each in answer.json()["data"] if each["model"] == model)

    def order(self, **order):
        return self.client.post(f"{self.url}/admin/watch", json=order, headers=ADMIN)

    def canaries(self, n, model=BEST):
        """Ask canaries, no further than to another level."""
        level = self.watched(model)["level"]
        for _ in range(n):
            told = self.order(action="check", model=model).json()["data"][0]["level"]
            if told != level:
                return told
        return level

    def disguise(self, by, model=BEST, **more):
        told = self.client.post(
            f"{self.origin}/stub/disguise", json={"model": model, "by": by, **more}
        )
        assert told.status_code == 200, told.text

    def metrics(self, name):
        text = self.client.get(f"{self.url}/metrics").text
        return {
            line.partition(" ")[0].removeprefix(name): float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(name)
        }


@pytest.fixture
def world(fresh_gateway):
    """Start a gateway that watches, with an upstream of its own."""
    with httpx.Client(timeout=300) as client, StubThread() as stub:

        def start(mode, *, canaries=None, changes=None):
            gateway = fresh_gateway(
                {
                    "upstreams.stub.base_url": f"{stub.origin}/v1",
                    "watch": {**WATCH, "mode": mode, "canaries": canaries or {}},
                    **(changes or {}),
                },
                env={"STEELYARD_ADMIN_TOKEN": TOKEN},
            )
            return World(gateway, stub.origin, client)

        yield start


def test_a_worse_tier_is_warned_of_demoted_and_back_when_it_is_as_it_was(world):
    gateway = world("demote", canaries=FREE_ENOUGH)
    assert set(gateway.ask_often(LEARNED)) == {(BEST, None)}
    assert gateway.order(action="check", model=BEST, n=CANARIES).status_code == 200
    learned = gateway.watched()
    assert learned["level"] == "ok"
    assert (learned["canaries_known"], learned["canaries_needed"]) == (30, 0)

    gateway.disguise(WORST)
    answers = gateway.ask_often(400)
    told = [watch for model, watch in answers if model == BEST]
    n_warned, n_demoted = told.index("warning"), len(told)
    assert n_warned < n_demoted < 400  # within a thousand, and traffic moved for good
    assert {model for model, _ in answers[n_demoted:]} == {"sim-large"}
    demoted = gateway.watched()
    assert (demoted["level"], demoted["why"][0]) == ("demoted", "shorter")
    assert gateway.ask(BEST) == (BEST, "demoted")  # who asks for it by name gets it, and is told
    explained = gateway.client.post(
        f"{gateway.url}/v1/route",
        json={"model": "auto", "messages": [{"role": "user", "content": HARD}]},
    ).json()
    found = {each["model"]: each["exclusion"] for each in explained["candidates"]}
    assert found[BEST] == "demoted"
    changes = gateway.metrics("gateway_watch_changes_total")
    assert {k.split('"')[1]: v for k, v in changes.items()} == {"warning": 1, "demoted": 1}

    assert gateway.canaries(20) == "demoted"
    gateway.disguise(BEST)
    assert gateway.canaries(100) == "returning"
    assert gateway.ask() == (BEST, "returning")
    assert gateway.canaries(30) == "ok"
    assert set(gateway.ask_often(30)) == {(BEST, None)}
    assert gateway.metrics("gateway_canaries_total")
    spent = gateway.metrics('gateway_cost_usd_total{model="sim-frontier",role="canary"}')
    assert sum(spent.values()) > 0


def test_canaries_alone_find_it_within_sixty(world):
    gateway = world("demote", canaries=FREE_ENOUGH)
    gateway.order(action="check", model=BEST, n=CANARIES)
    gateway.disguise("sim-small")
    assert gateway.canaries(60) == "warning"


def test_by_default_a_model_is_warned_of_and_goes_on(world):
    gateway = world("warn")
    gateway.ask_often(LEARNED)
    gateway.disguise(WORST)
    answers = gateway.ask_often(400)
    assert {model for model, _ in answers} == {BEST}
    assert answers[-1] == (BEST, "warning")
    refused = gateway.order(action="check", model=BEST)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "action")
    assert gateway.order(action="clear", model=BEST).json()["data"][0]["level"] == "ok"
    assert gateway.ask() == (BEST, None)


SEVERAL = {
    "router": "carrot",
    "candidates": [BEST, "sim-large", WORST],
    "default_model": "sim-large",
    "workflow": {
        "kind": "cascade",
        "stages": [BEST, "sim-large"],
        "acceptor": {"kind": "judge", "model": "sim-medium", "deadline_s": 20.0},
    },
}


@pytest.mark.parametrize("stream", [False, True])
def test_answers_of_several_calls_show_a_worse_tier_too(world, stream):
    gateway = world("warn", changes={"policies.default": SEVERAL})
    answers = gateway.ask_often(LEARNED, stream=stream)
    served_last = sum(model == "sim-large" for model, _ in answers)
    learned = gateway.watched()
    # Each draft counts once, whether it serves or not; what a judge says does not.
    assert (learned["level"], learned["answers"]) == ("ok", LEARNED)
    assert gateway.watched("sim-large")["answers"] == served_last
    assert gateway.watched("sim-medium")["answers"] == 0
    gateway.disguise(WORST)
    gateway.ask_often(150, stream=stream)
    changed = gateway.watched()
    assert (changed["level"], changed["why"][0]) == ("warning", "shorter")
    assert "shorter" in changed["evidence_by_signal"]
    assert gateway.watched("sim-large")["level"] == "ok"


def test_what_is_asked_in_a_workflows_own_words_counts_without_its_length(world):
    workflow = {"kind": "agents", "modes": ["debate"], "max_agents": 3}
    gateway = world("warn", changes={"policies.default": SEVERAL | {"workflow": workflow}})
    answer = gateway.client.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "auto", "messages": [{"role": "user", "content": HARD}]},
        headers={"x-route-explain": "full"},
    ).json()
    called = Counter(each["model"] for each in answer["steelyard"]["calls"])
    assert {each["role"] for each in answer["steelyard"]["calls"]} == {"helper", "answer"}
    found = gateway.client.get(f"{gateway.url}/admin/watch", headers=ADMIN).json()["data"]
    assert {each["model"]: each["answers"] for each in found if each["answers"]} == called
    watch = gateway.app.state.steelyard.gateway.watch
    assert not any(each.known.profile.lengths for each in watch)


def test_a_draft_by_another_model_is_one_mismatch(world):
    gateway = world("warn", changes={"policies.default": SEVERAL})
    gateway.disguise(WORST, told=True)
    gateway.ask()
    gateway.watched()
    found = gateway.metrics("gateway_watch_mismatches_total")
    assert sum(found.values()) == 1


def test_of_a_model_in_two_places_the_one_that_changed_is_left_alone(world):
    places = [{"upstream": "stub", "upstream_model": name} for name in (BEST, "sim-large")]
    gateway = world(
        "demote", changes={"models.both": {"deployments": places, "spec": "claude-opus-4-5"}}
    )
    order = {"action": "pin", "model": "both", "upstream_model": BEST, "level": "demoted"}
    assert gateway.order(**order).json()["data"][0]["pinned"]
    assert {gateway.ask("both") for _ in range(6)} == {("both", None)}
    gateway.order(action="pin", model="both", level="demoted")
    assert gateway.ask("both") == ("both", "demoted")


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_that_answered_is_compared_with_the_one_that_was_asked_for(world, stream):
    gateway = world("warn")
    gateway.disguise(WORST, told=True)
    assert gateway.ask(BEST, stream=stream) == (BEST, f"mismatch; answered={WORST}")
    assert gateway.ask("sim-large", stream=stream) == ("sim-large", None)
    gateway.watched()
    found = gateway.metrics("gateway_watch_mismatches_total")
    assert sum(found.values()) == 1


def test_a_name_that_is_listed_is_no_mismatch(world):
    gateway = world("warn", changes={f"models.{BEST}.answers_as": ["sim-na*"]})
    gateway.disguise(WORST, told=True)
    assert gateway.ask(BEST) == (BEST, None)


def test_where_nothing_is_watched_nothing_is_told(world):
    gateway = world("off")
    gateway.disguise(WORST, told=True)
    assert gateway.ask(BEST) == (BEST, None)
    answer = gateway.client.get(f"{gateway.url}/admin/watch", headers=ADMIN).json()
    assert (answer["mode"], answer["data"]) == ("off", [])


@pytest.mark.parametrize(
    ("order", "param"),
    [
        ({"action": "clear", "model": "nobody"}, "model"),
        ({"action": "pin", "model": BEST}, "level"),
        ({"action": "clear", "model": BEST, "level": "ok"}, "level"),
        ({"action": "dance", "model": BEST}, "action"),
        ({"action": "check", "model": BEST, "n": 0}, "n"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(world, order, param):
    refused = world("warn").order(**order)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
