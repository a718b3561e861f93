import json

import pytest

from app.access.guard import ANONYMOUS, Caller
from app.api.dialects.chat_completions import parse_chat_request
from app.api.knobs import knobs_from_headers
from app.api.resolve import resolve
from app.assembly import build_names, build_policies
from app.errors import ForbiddenError, GatewayError, ModelNotFoundError
from app.gateway.permissions import permit
from app.gateway.visible import VisibleNames
from app.head import RequestHead
from routers.objectives import CostQuality, MinQuality, StrongThreshold
from tests.support.gateway import STUB_MODELS, stub_config
from tests.support.keys import new_record

FEW = frozenset({"sim-nano", "sim-small"})


@pytest.fixture(scope="module")
def visible(artifacts, tmp_path_factory):
    """Build the names of the default configuration, as each caller sees them."""
    by_threshold = {
        "router": "carrot",
        "candidates": ["sim-small", "sim-frontier"],
        "default_model": "sim-small",
        "threshold": 0.5,
    }
    directory = tmp_path_factory.mktemp("names")
    guard = {"kind": "guarded", "slow": {"model": "sim-frontier"}}
    changes = {
        "policies.by_threshold": by_threshold,
        "policies.safe": {**by_threshold, "threshold": None, "workflow": guard},
    }
    config = stub_config(directory, "http://127.0.0.1:9", changes=changes)
    return VisibleNames(build_names(config, build_policies(config, artifacts)))


@pytest.fixture
def ask(visible):
    """Resolve a request as a key of these rights would have it."""

    def ask(model="auto", *, headers=None, caller=None, **rights):
        if caller is None:
            record, _ = new_record(**rights)
            caller = Caller(record, record.key_id, record.team)
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        head = RequestHead(
            (name.encode(), value.encode()) for name, value in (headers or {}).items()
        )
        request = resolve(
            parse_chat_request(json.dumps(body).encode()),
            knobs_from_headers(head),
            visible.of(caller),
            request_id="req-1",
            head=head,
        )
        guarded = visible.of(caller).guarded(request.pinned_model_id)
        return permit(request, caller, guarded=guarded)

    return ask


def listed(visible, **rights):
    record, _ = new_record(**rights)
    return visible.of(Caller(record, record.key_id, None)).listed()


def refused(ask, *arguments, **options):
    with pytest.raises(ForbiddenError) as caught:
        ask(*arguments, **options)
    return caught.value


def test_a_key_without_restrictions_asks_like_anybody(ask):
    for model in ("auto", "auto:economy", "router-carrot-0.5", "sim-frontier"):
        ours, anonymous = ask(model), ask(model, caller=ANONYMOUS)
        assert ours.allowed_model_ids == anonymous.allowed_model_ids
        assert ours.objective == anonymous.objective
        assert ours.policy is anonymous.policy


def test_a_pinned_model_must_be_among_the_keys(ask):
    assert ask("sim-nano", models=FEW).pinned_model_id == "sim-nano"
    error = refused(ask, "sim-frontier", models=FEW)
    assert error.code == "model_not_allowed"
    assert error.param == "model"
    assert "sim-nano, sim-small" in error.message


def test_a_pinned_model_with_a_cost_limit_is_checked_too(ask):
    headers = {"x-route-max-cost": "1"}
    assert ask("sim-nano", headers=headers, models=FEW).allowed_model_ids == {"sim-nano"}
    assert refused(ask, "sim-frontier", headers=headers, models=FEW).code == "model_not_allowed"


def test_a_routed_request_is_narrowed_to_the_keys_models(ask):
    assert ask(models=FEW).allowed_model_ids == FEW
    headers = {"x-route-models": "sim-small,sim-frontier"}
    assert ask(headers=headers, models=FEW).allowed_model_ids == {"sim-small"}


def test_a_threshold_name_is_narrowed_too(ask):
    assert ask("router-carrot-0.5", models=FEW).allowed_model_ids == {"sim-small"}
    error = refused(ask, "router-carrot-0.5", models=frozenset({"sim-nano"}))
    assert error.code == "model_not_allowed"


def test_nothing_left_to_choose_is_refused_with_what_is_allowed(ask):
    error = refused(ask, headers={"x-route-models": "sim-frontier"}, models=FEW)
    assert error.code == "model_not_allowed"
    assert "sim-nano, sim-small" in error.message


def test_keys_that_allow_all_candidates_share_the_knobs_curve_with_everybody(ask):
    assert ask(models=frozenset(STUB_MODELS)).allowed_model_ids is None


def test_a_policy_must_be_among_the_keys(ask):
    rights = {"policies": frozenset({"economy"})}
    assert ask("auto:economy", **rights).policy_name == "economy"
    for model, headers in (("auto:quality", {}), ("auto", {"x-route-policy": "quality"})):
        error = refused(ask, model, headers=headers, **rights)
        assert error.code == "policy_not_allowed"
        assert error.message.endswith("economy")


def test_auto_is_the_default_policy_or_the_first_that_the_key_may_use(ask):
    assert ask(policies=frozenset({"quality", "default"})).policy_name == "default"
    assert ask(policies=frozenset({"quality", "economy"})).policy_name == "economy"
    assert refused(ask, policies=frozenset({"gone"})).code == "policy_not_allowed"


def test_the_keys_default_knob_counts_where_a_request_names_neither_knob_nor_policy(ask):
    rights = {"cost_quality": 0.3}
    assert ask(**rights).objective == CostQuality(0.3)
    assert ask(headers={"x-cost-quality": "0.8"}, **rights).objective == CostQuality(0.8)
    assert ask(headers={"x-route-min-quality": "0.8"}, **rights).objective == MinQuality(0.8)
    assert ask("auto:quality", **rights).objective == CostQuality(0.95)
    assert ask(headers={"x-route-policy": "quality"}, **rights).objective == CostQuality(0.95)


def test_a_knob_within_the_keys_range_is_taken_as_it_is(ask):
    rights = {"least_cost_quality": 0.2, "most_cost_quality": 0.6}
    for knob in ("0.2", "0.4", "0.6", "economy"):
        ask(headers={"x-cost-quality": knob}, **rights)


@pytest.mark.parametrize("knob", ["0", "0.19", "0.61", "1", "balanced", "quality"])
def test_a_knob_outside_the_keys_range_is_refused_and_never_moved_in_silence(ask, knob):
    rights = {"least_cost_quality": 0.2, "most_cost_quality": 0.6}
    error = refused(ask, headers={"x-cost-quality": knob}, **rights)
    assert error.code == "knob_out_of_range"
    assert error.param == "x-cost-quality"
    assert "from 0.2 to 0.6" in error.message


def test_a_policys_own_knob_is_moved_into_the_keys_range(ask):
    rights = {"least_cost_quality": 0.6, "most_cost_quality": 0.9}
    assert ask("auto:economy", **rights).objective == CostQuality(0.6)
    assert ask("auto", **rights).objective == CostQuality(0.8)
    assert ask("auto:quality", **rights).objective == CostQuality(0.9)


@pytest.mark.parametrize(
    ("model", "headers"),
    [
        ("auto", {"x-route-min-quality": "1"}),
        ("auto", {"x-route-max-quality-loss": "0"}),
        ("auto", {"x-route-lambda": "1000"}),
        ("router-carrot-0", {}),
    ],
)
def test_a_range_of_the_knob_cannot_be_got_around_by_another_knob(ask, model, headers):
    error = refused(ask, model, headers=headers, most_cost_quality=0.6)
    assert error.code == "knob_out_of_range"
    ask(model, headers=headers)


def test_a_policy_that_the_operator_set_to_a_threshold_has_no_position_to_move(ask):
    request = ask("auto:by_threshold", most_cost_quality=0.1)
    assert isinstance(request.objective, StrongThreshold)
    headers = {"x-cost-quality": "0.5"}
    error = refused(ask, "auto:by_threshold", headers=headers, most_cost_quality=0.1)
    assert error.code == "knob_out_of_range"


def test_a_range_binds_routed_requests_alone(ask):
    assert ask("sim-frontier", most_cost_quality=0.1).pinned_model_id == "sim-frontier"


def test_threshold_names_are_explicit_objectives(ask):
    assert isinstance(ask("router-carrot-0.5").objective, StrongThreshold)


def test_a_key_sees_what_it_may_use(visible):
    everything = visible.of(ANONYMOUS).listed()
    assert listed(visible) == everything
    few = listed(visible, models=FEW)
    assert set(few) & set(STUB_MODELS) == FEW
    assert {"auto", "auto:default", "auto:economy", "auto:quality"} <= set(few)
    assert not [
        name for name in listed(visible, models=frozenset({"sim-nano"})) if "router" in name
    ]
    assert not [name for name in listed(visible, most_cost_quality=0.5) if "router" in name]
    one = listed(visible, policies=frozenset({"economy"}))
    assert [name for name in one if name.startswith("auto")] == ["auto", "auto:economy"]
    assert not [
        name for name in listed(visible, policies=frozenset({"gone"})) if name.startswith("auto")
    ]


def test_everything_that_is_listed_may_be_asked_for(ask, visible):
    for rights in (
        {"models": FEW},
        {"policies": frozenset({"quality"})},
        {"models": frozenset({"sim-large"}), "policies": frozenset({"economy"})},
        {"least_cost_quality": 0.3, "most_cost_quality": 0.4},
    ):
        for name in listed(visible, **rights):
            if "<" not in name:
                ask(name, **rights)


def test_errors_name_only_what_the_key_may_use(ask):
    for arguments, headers in (
        (("gpt-9",), {}),
        ((), {"x-route-models": "gpt-9"}),
        ((), {"x-route-policy": "none-such"}),
        (("sim-frontier",), {}),
    ):
        with pytest.raises(GatewayError) as caught:
            ask(*arguments, headers=headers, models=FEW, policies=frozenset({"economy"}))
        hidden = {"sim-medium", "sim-large", "auto:quality", "default,"}
        assert not [name for name in hidden if name in caught.value.message]


def test_a_name_that_does_not_exist_is_not_found_whatever_the_key(ask):
    with pytest.raises(ModelNotFoundError):
        ask("gpt-9", models=FEW)


def test_views_of_names_are_shared_and_bounded(visible):
    first, second = (new_record(models=FEW)[0] for _ in range(2))
    views = [visible.of(Caller(each, each.key_id, None)) for each in (first, second)]
    assert views[0] is views[1]
    for number in range(1100):
        record, _ = new_record(models=frozenset({f"m{number}"}))
        visible.of(Caller(record, record.key_id, None))
    assert len(visible._views) == 1024


def test_a_key_of_guarded_policies_cannot_go_around_them_by_naming_a_model(ask):
    guarded = {"policies": ("safe",)}
    assert ask("auto:safe", **guarded).policy.name == "safe"
    for headers in (None, {"x-route-max-cost": "1"}):
        error = refused(ask, "sim-frontier", headers=headers, **guarded)
        assert error.code == "model_not_allowed"
        assert "auto:safe" in str(error)
    assert ask("sim-frontier", policies=("safe", "economy")).pinned_model_id == "sim-frontier"
    assert ask("sim-frontier").pinned_model_id == "sim-frontier"
