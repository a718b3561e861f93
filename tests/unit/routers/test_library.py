"""Routing from Python: fit, load, predict, decide, evaluate; arrays from elsewhere."""

import re
import subprocess
import sys

import numpy as np
import pytest

import routers
from routers import (
    ArtifactError,
    Constraints,
    DataError,
    EmbedderRecipe,
    MinQuality,
    NoEligibleModelError,
    QualityRouter,
    Recipe,
    RoutingConfigError,
    Traits,
    evaluate,
    evaluate_choices,
    evaluate_predictions,
    fit,
    load,
    outcomes,
)
from routers.evaluation.metrics import area_under_hull, curve
from tests.support.gateway import REPOSITORY
from tests.support.outcomes import write_outcomes

RECIPE = Recipe(
    options={"quality_head": {"kind": "linear"}},
    embedder=EmbedderRecipe(kind="hashing", options={"dimensions": 32}),
    abstain=False,
    calibration_folds=2,
)
POEM = "Write a poem about the river 7 under the moon 9."
SUM = "Add the numbers 12 and 30 and explain every step."


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    return (
        write_outcomes(folder / "train.parquet", n=200),
        write_outcomes(folder / "held-out.parquet", n=120, seed=1),
    )


@pytest.fixture(scope="module")
def router(files):
    return fit(files[0], recipe=RECIPE)


def test_importing_the_library_loads_next_to_nothing():
    told = "import routers, sys; print(sorted(m for m in sys.modules if m.startswith('routers')))"
    heavy = "print([m for m in ('numpy', 'sklearn', 'pydantic', 'pyarrow') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{told}; {heavy}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["['routers']", "[]"]


def test_everything_that_is_promised_is_there():
    assert set(routers.__all__) <= set(dir(routers))
    for name in routers.__all__:
        assert getattr(routers, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = routers.nothing


def test_a_router_predicts_and_decides(router):
    assert router.models == ("small", "large")
    assert router.predict(POEM).quality.shape == (1, 2)
    assert router.predict([POEM, SUM, POEM]).quality.shape == (3, 2)
    small, large = router.predict(POEM).quality[0]
    assert large > small
    assert router.decide(POEM, cost_quality=1).model_id == "large"
    assert router.decide(POEM, cost_quality=0).model_id == "small"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": POEM}]
    assert router.decide(messages, objective=MinQuality(0.0)).model_id == "small"
    traits = {"small": Traits(parameters_b=8), "large": Traits(parameters_b=400)}
    wished = router.decide(POEM, cost_quality=1, flags="size=10", traits=traits)
    assert wished.model_id == "small"
    assert router.choose([POEM, SUM], cost_quality=1)[0] == "large"
    assert router.choose([]) == []
    assert router.metrics["n_queries"] == 200


def test_choices_of_many_are_those_of_each(router):
    prompts = [POEM, SUM, "hello", "def f(x): return x * 3"]
    for t in (0, 0.4, 0.8, 1):
        each = [router.decide(prompt, cost_quality=t).model_id for prompt in prompts]
        assert router.choose(prompts, cost_quality=t) == each


def test_limits_and_prices_of_the_day_count(router):
    with pytest.raises(NoEligibleModelError):
        router.decide(POEM, constraints=Constraints(max_cost_usd=1e-12))
    # What was dear is nearly free: the better one is the cheaper one, too.
    decision = router.decide(POEM, cost_quality=0, prices={"small": (50, 50), "large": (0.1, 0.1)})
    assert decision.model_id == "large"
    with pytest.raises(RoutingConfigError, match="from 0 to 1"):
        router.decide(POEM, cost_quality=1.5)


def test_a_router_is_saved_and_loaded_as_it_is(router, tmp_path):
    folder = router.save(tmp_path / "artifact")
    again = load(folder)
    assert again.artifact.version == router.artifact.version
    assert again.predict(POEM).quality.tobytes() == router.predict(POEM).quality.tobytes()
    with pytest.raises(ArtifactError, match=r"holds an artifact already.*overwrite=True"):
        router.save(folder)
    with pytest.raises(ArtifactError, match=r"holds an artifact already.*overwrite=True"):
        fit([], out=folder, recipe=RECIPE)
    router.save(folder, overwrite=True)


def test_outcomes_of_memory_are_those_of_a_file(files, router):
    table = outcomes(files[0])
    rows = [
        {
            "query_id": table.query_ids[i],
            "prompt": table.conversations[i].messages[0].text,
            **{f"q:{m}": table.quality[i, j] for j, m in enumerate(table.models)},
            **{f"t:{m}": table.output_tokens[i, j] for j, m in enumerate(table.models)},
            **{f"c:{m}": table.cost_usd[i, j] for j, m in enumerate(table.models)},
            "set": "made",
            "benchmark": table.groups[i].partition("/")[2],
        }
        for i in range(len(table))
    ]
    again = fit(rows, recipe=RECIPE)
    assert again.predict(POEM).quality.tobytes() == router.predict(POEM).quality.tobytes()
    with pytest.raises(DataError, match="record 1: must be a mapping, got 3"):
        outcomes([rows[0], 3])


def test_a_report_is_read_by_names(files, router, tmp_path):
    report = evaluate({"mine": router, "again": router}, files[1], train=files[0], draws=100)
    assert report.names[:2] == ("mine", "again")
    area = report.interval("mine", "aiq")
    assert area.low < area.value < area.high
    assert report["mine"]["aiq"] == report["again"]["aiq"]
    assert report.content["paired"][0]["area"]["value"] == 0
    assert report.interval("cheapest", "aiq") is None
    with pytest.raises(DataError, match="there are: mine, again, cheapest"):
        report["yours"]
    with pytest.raises(DataError, match="no number with an interval"):
        report.interval("mine", "curve")
    assert "| mine |" in str(report)
    assert {path.name for path in report.write(tmp_path)} >= {"report.json", "report.html"}


RNG = np.random.default_rng(0)
CHANCE = RNG.random((400, 3))
QUALITY = (RNG.random((400, 3)) < CHANCE).astype(float)
COST = np.tile([0.001, 0.01, 0.1], (400, 1)) * RNG.lognormal(0, 0.2, (400, 3))


def test_predictions_from_elsewhere_are_measured_as_numpy_would():
    report = evaluate_predictions(CHANCE, COST, QUALITY, COST, draws=200)
    cost, quality = curve(CHANCE, COST, QUALITY, COST)
    low, high = COST.mean(axis=0)[[0, 2]]
    expected = area_under_hull(cost, quality, low=low, high=high)
    assert report["predictions"]["aiq"]["value"] == pytest.approx(expected, abs=1e-12)
    brier = ((CHANCE - QUALITY) ** 2).mean()
    assert report["predictions"]["brier"] == pytest.approx(brier, abs=1e-6)
    assert report["predictions"]["ece"] < 0.06
    assert report.interval("predictions", "aiq_over_zero").low > 0
    assert report.names == (
        *("predictions", "cheapest", "strongest", "best single", "ZeroRouter", "oracle"),
    )
    assert report["oracle"]["aiq"]["value"] > report["predictions"]["aiq"]["value"]


def test_predictions_are_compared_in_pairs_and_with_what_is_known_of_the_queries():
    report = evaluate_predictions(
        CHANCE,
        COST,
        QUALITY.astype(bool),
        COST,
        name="knows",
        models=("a", "b", "c"),
        prompts=[f"{i} " * (1 + i % 9) for i in range(400)],
        groups=[f"set/{i % 4}" for i in range(400)],
        others={"guesses": (np.full((400, 3), 0.5), COST)},
        draws=100,
    )
    assert {"prompt length", "benchmark label"} <= set(report.names)
    (pair,) = report.content["paired"]
    assert (pair["first"], pair["second"]) == ("knows", "guesses")
    assert pair["area"]["low"] > 0
    assert report.content["models"][1]["model"] == "b"


def test_holes_are_left_out_and_the_rest_stands_in_its_place():
    holes = QUALITY.copy()
    holes[::4] = np.nan
    cost = np.where(np.isnan(holes), np.nan, COST)
    with_holes = evaluate_predictions(CHANCE, COST, holes, cost, draws=100)
    kept = np.arange(400) % 4 > 0
    whole = evaluate_predictions(CHANCE[kept], COST[kept], QUALITY[kept], COST[kept], draws=100)
    assert with_holes["predictions"]["aiq"] == whole["predictions"]["aiq"]
    assert with_holes.content["n_left_out"] == 100


def test_choices_from_elsewhere_are_measured():
    report = evaluate_choices(
        {"always dear": np.full(400, 2), "knob": [np.zeros(400, int), np.full(400, 2)]},
        QUALITY,
        COST,
        draws=100,
    )
    assert report["always dear"]["aiq"] is None
    assert report["always dear"]["best_quality"] == pytest.approx(QUALITY[:, 2].mean())
    assert report["knob"]["aiq"]["value"] is not None
    with pytest.raises(DataError, match="columns, 0 to 2"):
        evaluate_choices({"x": np.full(400, 3)}, QUALITY, COST)
    with pytest.raises(DataError, match="one for each of 400 queries"):
        evaluate_choices({"x": np.zeros(5, int)}, QUALITY, COST)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality_predicted": CHANCE[:, :2]}, r"predicted quality: has the shape \(400, 2\)"),
        ({"cost_predicted": np.full((400, 3), np.nan)}, "row 0, column 0 is nan; it must be fin"),
        ({"quality": QUALITY * 100}, "must be between 0 and 1"),
        ({"cost_usd": -COST}, "costs: row 0, column 0 is -.*not negative"),
        ({"cost_usd": np.full((400, 3), np.nan)}, "be known wherever the quality is"),
        ({"quality": QUALITY[0]}, r"shape \(3,\) instead of \(n_queries, n_models\)"),
        ({"quality": QUALITY[:, :1]}, "of 400 queries and 1 models"),
        ({"quality": [["a", "b"]]}, "is no array of numbers"),
        ({"models": ("a", "b")}, "2 names of models for 3"),
        ({"prompts": ["a"]}, "1 prompts for 400"),
        ({"name": "oracle"}, "'oracle' is the name of a baseline"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(changes, message):
    given = {
        "quality_predicted": CHANCE,
        "cost_predicted": COST,
        "quality": QUALITY,
        "cost_usd": COST,
    }
    with pytest.raises(DataError, match=message):
        evaluate_predictions(**(given | changes), draws=100)


class Odd(QualityRouter):
    returned = np.zeros((20, 7))

    def learn(self, *_, **__):
        return {}

    def quality(self, *_):
        return self.returned


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (np.zeros((20, 7)), r"\(20, 7\)"),
        (np.array([[0.5, 0.5]] * 17 + [[0.5, np.nan]] * 3), "3 that are NaN or infinite"),
    ],
)
def test_a_router_of_ones_own_is_told_what_its_predictions_have_to_be(returned, told):
    x = np.ones((20, 2), np.float32)
    labels = routers.Labels(models=("a", "b"), quality=np.ones((20, 2), np.float32))
    odd = Odd().fit(x, labels, rng=RNG)
    odd.returned = returned
    message = rf"Odd.quality has to return .* shape \(20, 2\), .* it returned {told}"
    with pytest.raises(DataError, match=message):
        odd.predict(x)


def test_the_guide_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_outcomes(tmp_path / "outcomes.parquet", n=100)
    write_outcomes(tmp_path / "heldout.parquet", n=60, seed=1)
    page = (REPOSITORY / "docs" / "guides" / "library.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "library.md", "exec"), names)  # noqa: S102
    assert names["decision"].model_id in ("small", "large")
    assert (tmp_path / "var" / "reports" / "ours" / "report.html").exists()
