"""Tasks of many steps, replayed: counted by hand, and what may never happen."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.data.trajectories import models_of, read_trajectories
from routers.errors import DataError
from routers.evaluation.agent_steps import Terms, arrange_steps, replay
from routers.models import Prices
from routers.text.token_estimate import estimate_tokens

PRICES = {
    "small": Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0, cached_input_usd_per_mtok=0.1),
    "large": Prices(
        input_usd_per_mtok=10.0, output_usd_per_mtok=40.0, cached_input_usd_per_mtok=1.0
    ),
}
SMALL, LARGE = 0, 1


def line(task, step, *, small, large=1, **more):
    """Return one step; each reads what the one before read, and two messages more."""
    messages = [{"role": "user", "content": f"Do it: {task}. " + "A long story. " * 40}]
    for number in range(step):
        messages.append({"role": "assistant", "content": f"I look at file {number}."})
        messages.append({"role": "user", "content": f"It says: {'nothing ' * 50}"})
    quality = {"small": small, "large": large}
    return {"task": task, "step": step, "messages": messages, "quality": quality, **more}


def scene_of(tmp_path, lines, *, models=("small", "large"), prices=PRICES, **terms):
    file = tmp_path / "steps.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return arrange_steps(read_trajectories([file]), models, prices, terms=Terms(**terms))


def going(scene, columns, **more):
    best = np.full(len(scene.input_tokens), LARGE)
    given = iter(columns)
    return replay(scene, lambda _step, _last: next(given), name="", kind="", best=best, **more)


def cost(scene, step, column, *, cached=0.0):
    price = PRICES[scene.models[column]]
    fresh = scene.input_tokens[step] - cached
    return (
        fresh * price.input_usd_per_mtok
        + cached * price.cached_input_usd_per_mtok
        + scene.tokens[step, column] * price.output_usd_per_mtok
    ) / 1e6


TASK = [line("a", n, small=1, output_tokens=100) for n in range(3)]


def test_staying_reads_the_prefix_from_the_cache_and_leaving_reads_it_anew(tmp_path):
    scene = scene_of(tmp_path, TASK)
    read = scene.input_tokens
    stays = going(scene, [SMALL] * 3)
    assert stays.cost_usd == pytest.approx(
        cost(scene, 0, SMALL)
        + cost(scene, 1, SMALL, cached=read[0])
        + cost(scene, 2, SMALL, cached=read[1])
    )
    assert (stays.misses, stays.reread_tokens, stays.switches) == (0, 0, 0)
    leaves = going(scene, [SMALL, LARGE, SMALL])
    assert leaves.cost_usd == pytest.approx(
        cost(scene, 0, SMALL) + cost(scene, 1, LARGE) + cost(scene, 2, SMALL, cached=read[0])
    )
    assert (leaves.misses, leaves.switches) == (2, 2)
    assert leaves.reread_tokens == read[0] + (read[1] - read[0])
    assert leaves.shares == pytest.approx({"small": 2 / 3, "large": 1 / 3})


def test_a_prefix_is_gone_when_its_time_is(tmp_path):
    steps = [line("a", n, small=1, at_s=at) for n, at in enumerate([0, 299, 599])]
    scene = scene_of(tmp_path, steps)
    tally = going(scene, [SMALL] * 3)
    assert tally.misses == 1
    assert tally.reread_tokens == scene.input_tokens[1]
    never = going(scene_of(tmp_path, steps, cache_lifetime_s=0.0), [SMALL] * 3)
    assert never.misses == 2


def test_a_task_is_finished_when_every_step_went_on_and_its_money_is_spent_either_way(tmp_path):
    lines = [*TASK, line("b", 0, small=0), line("b", 1, small=1), line("c", 0, small=0.25)]
    tally = going(scene_of(tmp_path, lines), [SMALL] * 6)
    assert tally.finished == pytest.approx(1 + 0 + 0.25)
    assert tally.usd_per_finished == pytest.approx(tally.cost_usd / 1.25)
    assert tally.steps == 6
    assert going(scene_of(tmp_path, [line("b", 0, small=0)]), [SMALL]).usd_per_finished is None


def test_a_cheap_answer_that_is_no_good_is_a_step_more(tmp_path):
    lines = [line("b", 0, small=0), line("b", 1, small=1), line("c", 0, small=0.25, large=0.5)]
    scene = scene_of(tmp_path, lines, retries=1)
    tally = going(scene, [SMALL, SMALL, SMALL])
    assert tally.steps == pytest.approx(2 + 1 + 1.75)
    assert tally.finished == pytest.approx(1 + 1 - 0.75 * 0.5)
    # The answer that served was the large model's: leaving it again is a change.
    assert tally.switches == 1
    assert tally.cost_usd == pytest.approx(
        cost(scene, 0, SMALL)
        + cost(scene, 0, LARGE)
        + cost(scene, 1, SMALL, cached=scene.input_tokens[0])
        + cost(scene, 2, SMALL)
        + 0.75 * cost(scene, 2, LARGE)
    )


def test_lengths_of_answers_come_from_the_log_or_from_what_the_next_step_shows(tmp_path):
    lines = [
        line("a", 0, small=1),
        line("a", 1, small=1, **{"t:small": 7}),
        line("a", 2, small=1, output_tokens={"large": 9}),
    ]
    scene = scene_of(tmp_path, lines)
    shown = [estimate_tokens(f"I look at file {n}.") for n in range(2)]
    usual = np.median([shown[0], shown[0], 7, shown[1], 9])
    assert scene.tokens.tolist() == [[shown[0]] * 2, [7, shown[1]], [usual, 9]]


def test_where_no_cached_price_is_known_it_is_said(tmp_path):
    prices = {**PRICES, "large": Prices(input_usd_per_mtok=10.0, output_usd_per_mtok=40.0)}
    scene = scene_of(tmp_path, TASK, prices=prices)
    assert ["large" in note and "small" not in note for note in scene.notes] == [True]


@given(columns=st.lists(st.sampled_from([SMALL, LARGE]), min_size=4, max_size=4))
def test_nothing_costs_more_than_reading_everything_anew(tmp_path_factory, columns):
    lines = [line("a", n, small=1, output_tokens=30) for n in range(4)]
    scene = scene_of(tmp_path_factory.mktemp("steps"), lines)
    tally = going(scene, columns)
    anew = sum(cost(scene, step, column) for step, column in enumerate(columns))
    assert tally.cost_usd <= anew + 1e-12
    assert 0 <= tally.reread_tokens <= scene.input_tokens[:-1].sum()
    assert tally.switches <= 3
    assert sum(tally.shares.values()) == pytest.approx(1)


def test_steps_are_sorted_and_models_are_those_that_were_always_tried(tmp_path):
    file = tmp_path / "steps.jsonl"
    lines = [line("a", 1, small=1), line("b", 0, small=1), line("a", 0, small=0)]
    lines[2]["quality"]["third"] = 1
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    first, second = read_trajectories([file])
    assert [len(step.conversation.messages) for step in first.steps] == [1, 3]
    assert (first.task, second.task) == ("a", "b")
    assert models_of([first, second]) == ("small", "large")


def test_twinrouterbench_is_read_as_it_is_published(tmp_path):
    file = tmp_path / "question_bank.jsonl"
    row = {
        "id": "swe-1-s2",
        "benchmark": "swebench",
        "instance_id": "swe-1",
        "step_index": 2,
        "total_steps": 2,
        "messages": [{"role": "user", "content": "Fix it."}],
        "target_tier": "mid",
        "target_tier_id": 1,
    }
    first = {**row, "id": "swe-1-s1", "step_index": 1, "target_tier_id": 0}
    file.write_text(json.dumps(row) + "\n" + json.dumps(first) + "\n")
    (task,) = read_trajectories([file])
    assert [list(step.qualities.values()) for step in task.steps] == [[1] * 4, [0, 1, 1, 1]]
    assert models_of([task]) == ("low", "mid", "mid_high", "high")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": None}, "'task' must tell"),
        ({"step": "second"}, "'step' must be a number"),
        ({"quality": None}, "'quality' must tell of each model"),
        ({"quality": 1}, "a number by model"),
        ({"quality": {"small": 1.5}}, "not in"),
        ({"quality": {"small": "good"}}, "must be a number"),
        ({"quality": {"small": float("nan")}}, "must be a number"),
        ({"output_tokens": -1}, "must not be negative"),
        ({"at_s": "soon"}, "'at_s' must be a number"),
        ({"messages": None}, "messages"),
        ({"quality": None, "target_tier_id": 4}, "must be 0 to 3"),
        ({"step": 1}, "has a step 1 already"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named(tmp_path, change, message):
    file = tmp_path / "steps.jsonl"
    rows = [line("a", 1, small=1), {**line("a", 0, small=1), **change}]
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    with pytest.raises(DataError, match=message) as refused:
        read_trajectories([file])
    assert "steps.jsonl" in str(refused.value)


@pytest.mark.parametrize(
    ("models", "prices", "message"),
    [
        (("small", "third"), PRICES, "no quality of 'third'"),
        (("small", "large"), {"small": PRICES["small"]}, "'large' has no price"),
        (
            ("small", "large"),
            {**PRICES, "large": Prices(input_usd_per_mtok=None, output_usd_per_mtok=1.0)},
            "'large' has no price",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(tmp_path, models, prices, message):
    with pytest.raises(DataError, match=message):
        scene_of(tmp_path, TASK, models=models, prices=prices)
