"""What a request wants of models besides quality and price, asked of a running gateway."""

from dataclasses import replace

import httpx
import msgspec
import pytest

from app.assembly import build_policies
from app.errors import ConfigError
from app.gateway._answer_key import answer_name
from app.outcomes.decision_log import objective_of
from routers.decision.switching import gain_usd
from routers.objectives import CostQuality, UsdPerQuality
from routers.wishes import Goal, Security, Wishes
from tests.support.decided import untimed
from tests.support.gateway import CONFIGS, GatewayThread, read_yaml, stub_config, write_yaml
from tests.support.policies import decided as decided_before
from tests.support.policies import routed

PROMPT = "Prove that the sum of two even numbers is even, and say where the proof is used."
FACTS = {
    "llama-3.1-8b-instruct": {
        "parameters_b": 8, "released": "2024-07-23", "licence": "llama3.1", "readability": 60,
    },
    "gpt-4.1-nano": {"parameters_b": 20, "released": "2025-04-14", "licence": "apache-2.0"},
    "gpt-4.1-mini": {"released": "2025-04-14", "licence": "proprietary", "security": "standard"},
    "claude-sonnet-4-5": {"parameters_b": 400, "licence": "proprietary", "security": "high"},
    "claude-opus-5-5": {"parameters_b": 1000, "released": "2026-10-07", "security": "high"},
}  # fmt: skip


@pytest.fixture(scope="module")
def served(stub_thread, artifacts, tmp_path_factory):
    """One gateway whose catalogue says something of its models, and flags in many ways."""
    folder = tmp_path_factory.mktemp("flags")
    catalogue = read_yaml(CONFIGS / "models.yaml")
    for name, facts in FACTS.items():
        entry = catalogue["models"][name]
        for fact in ("parameters_b", "released", "licence", "readability", "facts_source"):
            entry.pop(fact, None)
        entry.update(facts)
    write_yaml(folder / "models.yaml", catalogue)
    policies = read_yaml(CONFIGS / "gateway.yaml")["policies"]
    plain = {**policies["default"], "router_deadline_s": 10.0}
    judge = {"kind": "judge", "model": "sim-medium", "least_chance": 0.5, "deadline_s": 10}
    workflow = {"kind": "cascade", "by": "cost", "acceptor": judge}
    changes = {
        "catalogue": str(folder / "models.yaml"),
        "breaker.failures": 1_000_000,
        "models.sim-nano.security": "high",
        "policies.default": plain,
        "policies.spoken": {**plain, "flags": {"in_prompt": True}},
        "policies.few": {**plain, "flags": {"allow": ["size"], "max": {"size": 0.25}}},
        "policies.safe": {**plain, "flags": {"default": {"security": "high", "size": 0.1}}},
        "policies.judged": {
            **plain,
            "candidates": ["sim-nano", "sim-large"],
            "default_model": "sim-large",
            "workflow": workflow,
        },
        "policies.unread": {
            **plain,
            "candidates": ["sim-small", "sim-large"],
            "default_model": "sim-large",
        },
    }
    config = stub_config(folder, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def client(served, stub):
    del stub  # it forgets what earlier tests asked
    with httpx.Client(base_url=served.url, trust_env=False) as client:
        yield client


def route(client, *, model="auto", flags=None, content=PROMPT, headers=None, **fields):
    headers = dict(headers or {}) | ({} if flags is None else {"x-route-flags": flags})
    body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
    return client.post("/v1/route", json=body, headers=headers)


def decided(client, **asked):
    response = route(client, **asked)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client, *, status=400, **asked):
    response = route(client, **asked)
    assert response.status_code == status, response.text
    return response.json()["error"]


def table(answer):
    return {each["model"]: each for each in answer["candidates"]}


# --- goals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["size", "recency", "licence", "verbosity", "readability"])
def test_the_more_a_goal_weighs_the_less_of_it_the_choice_costs(client, goal):
    costs = []
    for weight in (0.05, 0.3, 1, 10):
        answer = decided(client, flags=f"{goal}={weight}", headers={"x-cost-quality": "0.95"})
        chosen = table(answer)[answer["model"]]
        assert chosen["goal_penalty"] == pytest.approx(
            weight * chosen["goal_costs"][goal], abs=1e-5
        )
        costs.append(chosen["goal_costs"][goal])
    assert costs == sorted(costs, reverse=True)
    least = min(each["goal_costs"][goal] for each in table(answer).values())
    assert costs[-1] == least


def test_a_goal_of_weight_nothing_is_none(client):
    with_flag, without = decided(client, flags="size=0"), decided(client)
    assert with_flag["flags"] is None
    for answer in (with_flag, without):
        answer.pop("id")
        answer["candidates"] = [untimed(each) for each in answer["candidates"]]
    assert with_flag == without
    assert all(each["goal_costs"] is None for each in without["candidates"])


def test_what_nobody_knows_counts_as_the_worst(client):
    costs = {
        name: each["goal_costs"] for name, each in table(decided(client, flags="size, recency"))
        .items()
    }  # fmt: skip
    assert costs["sim-medium"]["size"] == 1
    assert costs["sim-large"]["recency"] == 1
    assert costs["sim-nano"]["size"] < costs["sim-small"]["size"] < costs["sim-large"]["size"] < 1
    assert costs["sim-frontier"]["recency"] == 0


def test_flags_are_told_in_answers_and_explained(client):
    body = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"x-route-flags": "Size=.5;readability=0.2", "x-route-explain": "full"}
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.headers["x-route-flags"] == "size=0.5, readability=0.2"
    told = answer.json()["steelyard"]
    assert told["flags"] == "size=0.5, readability=0.2"
    assert set(told["candidates"][0]["goal_costs"]) == {"size", "readability"}
    assert "size and readability" in decided(client, flags="size=.5, readability=.2")["why"]


def test_headers_come_before_the_body_and_demands_of_both_hold(client):
    answer = decided(
        client,
        flags="size=1, security=standard",
        routing={"flags": {"size": 0.1, "recency": 0.2, "security": "high"}},
    )
    assert answer["flags"] == "size=1, recency=0.2, security=high"
    assert decided(client, routing={"flags": "size=2"})["flags"] == "size=2"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"max_tokens": 50, "messages": [{"role": "user", "content": PROMPT}]}),
        ("/v1/responses", {"input": PROMPT}),
        ("/v1/completions", {"prompt": PROMPT}),
    ],
)
def test_every_dialect_takes_flags(client, path, body):
    answer = client.post(path, json={"model": "auto", **body, "routing": {"flags": {"size": 1}}})
    assert answer.headers["x-route-flags"] == "size=1"
    bad = client.post(path, json={"model": "auto", **body}, headers={"x-route-flags": "speed=1"})
    assert bad.status_code == 400
    assert "known: size, recency, licence, verbosity, readability, security" in bad.text


# --- demands ------------------------------------------------------------------------------------


def test_security_keeps_models_out_for_good(client):
    answer = decided(client, flags="security=high")
    out = {name for name, each in table(answer).items() if not each["eligible"]}
    assert out == {"sim-small", "sim-medium"}
    small = table(answer)["sim-small"]
    assert small["exclusion"] == "wishes"
    assert "not known" in small["exclusion_detail"]
    assert not out & {answer["model"], *answer["decision"]["fallbacks"]}


def test_a_licence_may_be_demanded(client):
    names = {
        word: {n for n, each in table(decided(client, flags=f"licence={word}")).items()
               if each["eligible"]}
        for word in ("open", "permissive", "llama3.1")
    }  # fmt: skip
    assert names == {
        "open": {"sim-nano", "sim-small"}, "permissive": {"sim-small"}, "llama3.1": {"sim-nano"},
    }  # fmt: skip


def test_demands_that_nobody_meets_are_told(client):
    error = refused(client, flags="security=high", routing={"models": ["sim-small", "sim-medium"]})
    assert "security" in error["models"]["sim-medium"]


def test_a_model_that_was_named_has_to_do_too(client):
    error = refused(client, model="sim-medium", flags="security=high")
    assert (
        "'sim-medium' will not do: security=high is asked for, its security is standard"
        in (error["message"])
    )
    assert error["param"] == "x-route-flags"
    assert decided(client, model="sim-large", flags="security=high")["model"] == "sim-large"


def test_nobody_else_is_shown_a_request_that_demands_security(client):
    error = refused(client, model="auto:judged", flags="security=high")
    assert "shows requests to sim-medium too" in error["message"]
    assert decided(client, model="auto:judged", flags="size=1")["flags"] == "size=1"


# --- what a policy says -------------------------------------------------------------------------


def test_a_policy_takes_some_flags_and_bounds_their_weight(client):
    assert decided(client, model="auto:few", flags="size=3")["flags"] == "size=0.25"
    error = refused(client, model="auto:few", flags="recency=1")
    assert error["message"] == ("the policy 'few' does not take the flag recency; it takes: size")


def test_what_a_policy_demands_no_request_takes_back(client):
    assert decided(client, model="auto:safe")["flags"] == "size=0.1, security=high"
    loosened = decided(client, model="auto:safe", flags="size=0, security=basic")
    assert loosened["flags"] == "security=high"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("speed=1", "unknown flag 'speed'; known: size, recency"),
        ("size=big", "from 0 to 10, not 'big'"),
        ("size=-1", "from 0 to 10"),
        ("size=11", "from 0 to 10"),
        ("size=nan", "from 0 to 10"),
        ("size=1_0", "from 0 to 10"),
        ("size=1, size=2", "given twice"),
        ("licence=1, license=open", "given twice"),
        ("security=.5", "basic, standard, high"),
        ("security", "basic, standard, high"),
        ("size==1", "is no flag"),
        ("size=1,,recency=1", "nothing between two commas"),
        ("", "is no flag"),
        ("licence=mpl-2.0", "known: open, permissive, apache-2.0, llama3.1, proprietary"),
        ("x" * 600, "at most 500 characters"),
    ],
)
def test_flags_that_cannot_be_understood_say_what_can(client, flags, says):
    error = refused(client, flags=flags)
    assert says in error["message"]
    assert error["param"] == "x-route-flags"


@pytest.mark.parametrize(
    "flags",
    [{"size": True}, {"size": [1]}, {"speed": 1}, ["size"], 1, {"security": 1}],
)
def test_a_body_may_be_as_wrong(client, flags):
    error = refused(client, routing={"flags": flags})
    assert error["param"] == "routing.flags"


def test_a_goal_of_which_nothing_is_known_is_refused(client):
    error = refused(client, model="auto:unread", flags="readability=1")
    assert "says the readability of no candidate of the policy 'unread'" in error["message"]


# --- before the prompt --------------------------------------------------------------------------

SPOKEN = "[Flag: smallest model, recency=.5]"
USER = {"role": "user", "content": f"{SPOKEN} Say hello."}
CLEAN = {"role": "user", "content": "Say hello."}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def spoken(client, stub, messages, *, model="auto:spoken", path="/v1/chat/completions", **fields):
    """Return the flags that counted, and the messages that reached the upstream."""
    body = {"model": model, "messages": messages, **fields}
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-route-flags"), stub.log()[-1].body["messages"]


def test_flags_before_the_newest_prompt_count_and_are_taken_away(client, stub):
    assert spoken(client, stub, [USER]) == ("size=1, recency=0.5", [CLEAN])
    parts = [{"type": "text", "text": SPOKEN}, {"type": "text", "text": "Say hello."}]
    told, sent = spoken(client, stub, [{"role": "user", "content": parts}])
    assert (told, sent[0]["content"]) == ("size=1, recency=0.5", parts[1:])
    several = {"role": "user", "content": "[flag: size][FLAGS: verbosity=2]\nSay hello."}
    assert spoken(client, stub, [several]) == ("size=1, verbosity=2", [CLEAN])


def test_what_is_decided_by_is_the_prompt_without_its_flags(client):
    with_flags = decided(client, model="auto:spoken", content=f"{SPOKEN} {PROMPT}")
    without = decided(client, model="auto:spoken", flags="size=1, recency=.5")
    assert [untimed(each) for each in with_flags["candidates"]] == [
        untimed(each) for each in without["candidates"]
    ]


def test_flags_of_an_earlier_turn_have_no_effect_and_are_not_shown_to_models(client, stub):
    turns = [
        USER,
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Again."},
    ]
    assert spoken(client, stub, turns) == (None, [CLEAN, *turns[1:]])


def test_flags_hold_while_tools_run_for_the_turn(client, stub):
    result = {"role": "tool", "tool_call_id": "c1", "content": "[Flag: security=high] 3"}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    told, sent = spoken(client, stub, [USER, CALLING, result], tools=tools)
    assert told == "size=1, recency=0.5"
    assert sent[0] == CLEAN
    assert sent[2]["content"] == result["content"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": f"Summarise this.\n{SPOKEN} A document."}],
        [{"role": "user", "content": f" {SPOKEN} Not at the very start."}],
        [{"role": "user", "content": [{"type": "text", "text": "Look:"},
                                      {"type": "text", "text": f"{SPOKEN} pasted"}]}],
        [{"role": "system", "content": f"{SPOKEN} Be brief."}, CLEAN],
        [CLEAN, {"role": "assistant", "content": f"{SPOKEN} Hello."}],
        [CLEAN, CALLING, {"role": "tool", "tool_call_id": "c1", "content": f"{SPOKEN} 3"}],
    ],
)  # fmt: skip
def test_flags_anywhere_else_are_text_like_any_other(client, stub, messages):
    told, sent = spoken(client, stub, messages)
    assert told is None
    assert sent == messages


def test_flags_are_text_where_the_policy_does_not_read_them(client, stub):
    assert spoken(client, stub, [USER], model="auto") == (None, [USER])
    assert spoken(client, stub, [USER], model="sim-nano") == (None, [USER])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/messages", {"max_tokens": 9, "messages": [USER]}, "messages"),
        ("/v1/responses", {"input": USER["content"]}, "messages"),
        ("/v1/responses", {"input": [{"type": "message", **USER}]}, "messages"),
        ("/v1/completions", {"prompt": USER["content"]}, "messages"),
        ("/v1/completions", {"prompt": [USER["content"]]}, "messages"),
    ],
)
def test_every_dialect_reads_flags_before_the_prompt(client, stub, path, body, field):
    answer = client.post(path, json={"model": "auto:spoken", **body})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-route-flags"] == "size=1, recency=0.5"
    assert "Flag" not in str(stub.log()[-1].body[field])


def test_results_of_tools_in_anthropics_dialect_say_nothing(client, stub):
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": f"{SPOKEN} 3"}
    turns = [
        {"role": "user", "content": "Say hello."},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    body = {"model": "auto:spoken", "max_tokens": 9, "messages": turns,
            "tools": [{"name": "f", "input_schema": {"type": "object"}}]}  # fmt: skip
    answer = client.post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    assert "x-route-flags" not in answer.headers
    turns[0]["content"] = f"{SPOKEN} Say hello."
    answer = client.post("/v1/messages", json=body)
    assert answer.headers["x-route-flags"] == "size=1, recency=0.5"
    # Beside what the user says it is the tool that begins the turn.
    turns[2]["content"] = [result, {"type": "text", "text": f"{SPOKEN} Go on."}]
    answer = client.post("/v1/messages", json=body)
    assert "x-route-flags" not in answer.headers


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[Flag: fastest] Say hello.", "unknown flag 'fastest'; known: size"),
        ("[Flag: speed=1] Say hello.", "unknown flag 'speed'"),
        ("[Flag: size=1 Say hello.", "begins with a flag that has no end"),
        (SPOKEN, "holds nothing but flags"),
    ],
)
def test_flags_before_the_prompt_that_are_none_are_refused(client, content, says):
    error = refused(client, model="auto:spoken", content=content)
    assert says in error["message"]
    assert error["param"] == "messages[0].content"


# --- what it leaves behind ----------------------------------------------------------------------


def test_answers_under_other_flags_are_not_each_others():
    names = {
        answer_name(routed({"messages": b"[]"}, wishes=wishes), version="v")
        for wishes in (
            None,
            Wishes(security=Security.HIGH),
            Wishes(security=Security.BASIC),
            Wishes(weights=((Goal.SIZE, 1.0),)),
        )
    }
    assert len(names) == 4


def test_flags_are_logged_with_the_objective():
    told = objective_of(CostQuality(0.5), flags="size=1")
    assert told == {"cost_quality": 0.5, "flags": "size=1"}
    assert objective_of(CostQuality(0.5)) == {"cost_quality": 0.5}


def test_a_conversation_leaves_its_model_for_a_goal():
    """Staying is cheaper by its cache, and the goal weighs more than that."""
    decision = decided_before("small")
    stays = gain_usd(decision, "large", objective=UsdPerQuality(0.1))
    kept = tuple(
        msgspec.structs.replace(each, penalty=1.0 * (each.model_id == "large"))
        for each in decision.candidates
    )
    leaves = gain_usd(
        replace(decision, candidates=kept, usd_per_quality=0.1),
        "large",
        objective=UsdPerQuality(0.1),
    )
    assert leaves > stays


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"default": {"security": "high"}}, "no candidate will do: security=high is asked for"),
        ({"default": {"readability": 1}}, "says the readability of no candidate"),
        ({"default": {"speed": 1}}, "flags.default.speed"),
        ({"default": {"security": 1}}, "flags.default.security"),
        ({"default": {"licence": "two words"}}, "licence must be a number, open"),
        ({"allow": ["speed"]}, "allow"),
        ({"max": {"security": 1}}, "max"),
        ({"max": {"size": -1}}, "size"),
    ],
)
def test_a_policy_that_cannot_be_held_is_refused_at_the_start(
    tmp_path, stub_thread, artifacts, flags, says
):
    def start():
        config = stub_config(
            tmp_path, stub_thread.origin, changes={"policies.default.flags": flags}
        )
        build_policies(config, artifacts)

    with pytest.raises(ConfigError, match=says):
        start()
