"""What a request's task does to it, and what its caller's key leaves of that."""

import json

import pytest

from app.access.guard import ANONYMOUS, Caller
from app.api.dialects.chat_completions import parse_chat_request
from app.api.knobs import knobs_from_headers
from app.api.resolve import resolve
from app.assembly import build_names, build_policies
from app.errors import ForbiddenError
from app.gateway.permissions import permit
from app.gateway.request import AskedTask
from app.gateway.tasks import may_be_recognised, with_recognised
from app.gateway.visible import VisibleNames
from app.head import RequestHead
from routers.objectives import CostQuality
from tests.support.gateway import stub_config
from tests.support.keys import new_record

CANDIDATES = ["sim-nano", "sim-small", "sim-large"]
TASKS = {
    "small": {"candidates": ["sim-nano", "sim-small"], "cost_quality": 0.2},
    "hard": {"candidates": ["sim-large"], "cost_quality": 1.0, "instructions": "Think twice. " * 9},
    "plain": {"description": "Plain things."},
}


@pytest.fixture(scope="module")
def visible(artifacts, tmp_path_factory):
    policy = {
        "router": "carrot",
        "candidates": CANDIDATES,
        "default_model": "sim-nano",
        "tasks": TASKS,
    }
    config = stub_config(
        tmp_path_factory.mktemp("tasks"),
        "http://127.0.0.1:9",
        changes={
            "policies": {"default": policy},
            "aliases": {},
            "routers": {"carrot": {"artifact": "default"}},
        },
    )
    return VisibleNames(build_names(config, build_policies(config, artifacts)))


@pytest.fixture
def ask(visible):
    """Resolve a request as a key of these rights would have it."""

    def ask(task=None, headers=(), **rights):
        caller = ANONYMOUS
        if rights:
            record, _ = new_record(**rights)
            caller = Caller(record, record.key_id, record.team)
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
        given = {**dict(headers), **({} if task is None else {"x-route-task": task})}
        head = RequestHead((name.encode(), value.encode()) for name, value in given.items())
        request = resolve(
            parse_chat_request(json.dumps(body).encode()),
            knobs_from_headers(head),
            visible.of(caller),
            request_id="req-1",
            head=head,
            caller=caller,
        )
        return permit(request, caller)

    return ask


def test_a_task_narrows_the_models_and_sets_the_knob(ask):
    request = ask("small")
    assert request.allowed_model_ids == {"sim-nano", "sim-small"}
    assert request.objective == CostQuality(0.2)
    assert request.chain is None


def test_a_clients_own_knob_and_models_come_first(ask):
    request = ask("small", {"x-cost-quality": "0.9", "x-route-models": "sim-nano,sim-large"})
    assert request.allowed_model_ids == {"sim-nano"}
    assert request.objective == CostQuality(0.9)


def test_a_description_is_told_to_routers_and_to_nobody_else(ask):
    request = ask("plain")
    assert request.conversation.task == "Plain things."
    assert request.body.sent == ask().body.sent


def test_instructions_count_for_what_the_request_needs(ask):
    plain, told = ask(), ask("hard")
    assert told.demand.input_tokens > plain.demand.input_tokens + 15
    assert told.demand.input_tokens_upper > plain.demand.input_tokens_upper + 15
    assert len(told.conversation.messages) == 2


def test_the_range_of_a_key_holds_for_the_knob_of_a_task(ask):
    assert ask("hard", least_cost_quality=0.3, most_cost_quality=0.6).objective == CostQuality(0.6)
    assert ask("small", least_cost_quality=0.3, most_cost_quality=0.6).objective == CostQuality(0.3)
    free, bound = ask("small>hard"), ask("small>hard", most_cost_quality=0.6)
    assert all(each.usd_per_quality is not None for each in free.chain.workflow.stages)
    assert all(each.usd_per_quality is None for each in bound.chain.workflow.stages)


def test_the_models_of_a_key_hold_for_tasks(ask):
    few = frozenset({"sim-small"})
    assert ask("small", models=few).allowed_model_ids == few
    with pytest.raises(ForbiddenError, match="may not use the model"):
        ask("hard", models=few)


@pytest.mark.parametrize("tasks", [("small",), ("small", "hard"), ("plain",)])
def test_what_is_recognised_does_what_would_be_named(ask, tasks):
    rights = {"least_cost_quality": 0.3, "most_cost_quality": 0.6}
    named, found = ask(">".join(tasks), **rights), with_recognised(ask(**rights), tasks)
    assert found.task == AskedTask(names=tasks, recognised=True)
    assert found.allowed_model_ids == named.allowed_model_ids
    assert found.objective == named.objective
    assert found.body.sent == named.body.sent
    assert (found.chain is None) == (named.chain is None)
    if found.chain is not None:
        assert found.chain.workflow.stages == named.chain.workflow.stages


def test_what_a_key_does_not_allow_is_not_recognised(ask):
    request = ask(models=frozenset({"sim-small"}))
    found = with_recognised(request, ("hard",))
    assert found.task == AskedTask(recognised=True)
    assert found.allowed_model_ids == request.allowed_model_ids
    assert found.body is request.body


def test_where_nobody_could_look_there_is_no_task(ask):
    request = ask()
    assert with_recognised(request, None) is request
    assert with_recognised(request, ()).task.told == "uncertain"


def test_a_task_is_looked_for_where_none_was_named(ask):
    assert may_be_recognised(ask())
    assert not may_be_recognised(ask("small"))
    assert not may_be_recognised(ask("off"))


def test_a_chain_belongs_to_no_conversation(ask):
    request = ask("small>plain")
    assert not request.affinity
    assert request.session is None
    assert [each.task for each in request.chain.workflow.stages] == ["small", "plain"]
    assert request.allowed_model_ids is None
