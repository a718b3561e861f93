import re

import numpy as np
import pytest

from routers.errors import DataError
from routers.training.abilities import (
    FACETS,
    LEVEL_POSITIONS,
    estimate_abilities,
    level_position,
    read_abilities,
)
from tests.support.gateway import CONFIGS, read_yaml, write_yaml

SHIPPED = CONFIGS / "abilities.yaml"
SOURCE = {"source": "a leaderboard", "date": "2026-01-01"}


def board(scores, **changes):
    """Return a file with one benchmark a facet named in `scores` ({model: {benchmark: score}})."""
    benchmarks = {
        "know": {"facet": "knowledge", "guess": 0.25, "level": 3.5, "about": "questions"},
        "sums": {"facet": "mathematics", "guess": 0, "level": 4, "about": "sums"},
        "talk": {
            "facet": "language",
            "guess": 0,
            "level": 2.8,
            "scale": "ten",
            "about": "talk, graded",
        },
    }
    models = {
        name: {
            "developer": "somebody",
            "open_weights": False,
            "scores": [{"benchmark": b, "score": s, **SOURCE} for b, s in reached.items()],
        }
        for name, reached in scores.items()
    }
    return {"benchmarks": benchmarks, "models": models, **changes}


SIX = {
    "tiny": {"know": 45, "sums": 20, "talk": 6.0},
    "small": {"know": 60, "sums": 35, "talk": 7.0},
    "medium": {"know": 70, "sums": 50},
    "large": {"know": 80, "sums": 65, "talk": 8.5},
    "huge": {"know": 86, "sums": 80, "talk": 9.0},
    "best": {"know": 90, "sums": 90, "talk": 9.3},
}


@pytest.fixture
def read(tmp_path):
    def written(document):
        file = tmp_path / "abilities.yaml"
        write_yaml(file, document, sort_keys=False)
        return read_abilities(file)

    return written


@pytest.fixture(scope="module")
def shipped():
    return read_abilities(SHIPPED)


@pytest.fixture(scope="module")
def estimate(shipped):
    catalogue = read_yaml(CONFIGS / "models.yaml")["models"]
    prices = {
        name: entry["prices"]["output_usd_per_mtok"]
        for name, entry in catalogue.items()
        if entry["prices"]["output_usd_per_mtok"]
    }
    return estimate_abilities(shipped, prices)


def general(found, model):
    return found.ability[found.models.index(model)].mean()


def spread(found, model):
    return found.std[found.models.index(model)].mean()


def test_a_leaderboard_of_six_models_is_enough(read):
    found = estimate_abilities(read(board(SIX)))
    assert found.models == tuple(SIX)
    assert found.ability.shape == found.std.shape == (6, len(FACETS))
    assert (np.diff(found.ability.mean(axis=1)) > 0).all()
    assert (found.std > 0).all()
    assert found.n_scores.tolist() == [3, 3, 2, 3, 3, 3]


def test_a_higher_score_is_a_higher_ability_there_most(read):
    before = estimate_abilities(read(board(SIX)))
    better = {**SIX, "medium": {"know": 70, "sums": 75}}
    gain = estimate_abilities(read(board(better))).ability - before.ability
    gain = gain[before.models.index("medium")]
    assert (gain > 0).all()
    assert gain.argmax() == FACETS.index("mathematics")


def test_a_point_or_two_mean_little(read):
    near = {**SIX, "twin": {"know": 71, "sums": 51}}
    found = estimate_abilities(read(board(near)))
    difference = general(found, "twin") - general(found, "medium")
    assert 0 < difference < spread(found, "medium") / 3


def test_chance_and_perfection_stay_finite(read):
    odd = {**SIX, "guesser": {"know": 25, "sums": 0, "talk": 1}, "all": {"know": 100, "sums": 100}}
    found = estimate_abilities(read(board(odd)))
    assert np.isfinite(found.ability).all()
    assert general(found, "guesser") < general(found, "tiny")
    assert general(found, "all") > general(found, "huge")


def test_without_scores_the_price_tells_and_the_interval_is_wide(read):
    file = read(board({**SIX, "cheap": {}, "dear": {}, "unknown": {}}))
    prices = {"tiny": 0.2, "small": 0.5, "medium": 2, "large": 5, "huge": 15, "best": 30}
    found = estimate_abilities(file, {**prices, "cheap": 0.1, "dear": 40})
    assert found.evidence[-3:] == ("price", "price", "none")
    assert set(found.evidence[:6]) == {"published"}
    assert general(found, "cheap") < general(found, "unknown") < general(found, "dear")
    assert spread(found, "dear") > 1.5 * spread(found, "best")


def test_the_later_of_two_unknown_models_is_taken_to_be_better(read):
    document = board({**SIX, "old": {}, "new": {}})
    document["models"]["old"]["released"] = "2023-06-01"
    document["models"]["new"]["released"] = "2026-06-01"
    found = estimate_abilities(read(document))
    assert general(found, "new") > general(found, "old") + 1


def test_more_scores_narrow_the_interval(read):
    less = {**SIX, "best": {"know": 90}}
    assert spread(estimate_abilities(read(board(less))), "best") > spread(
        estimate_abilities(read(board(SIX))), "best"
    )


def test_anchors_carry_the_others_to_their_scale(read):
    document = board(SIX, anchors={"tiny": -1.0, "large": 2.0, "best": 3.0})
    plain = estimate_abilities(read(board(SIX)))
    found = estimate_abilities(read(document))
    for model, ability in document["anchors"].items():
        assert general(found, model) == pytest.approx(ability, abs=0.15)
    assert (found.ability.ravel().argsort() == plain.ability.ravel().argsort()).all()
    assert -1.0 < general(found, "small") < general(found, "medium") < 2.0


def test_anchors_that_the_scores_contradict_are_refused(read):
    with pytest.raises(DataError, match=r"do not put the anchors in their order: best .*, tiny "):
        estimate_abilities(read(board(SIX, anchors={"tiny": 2.0, "best": 1.0})))


def test_scores_that_contradict_each_other_widen_the_intervals(read):
    def thrice(scores):
        document = board(scores)
        for name in ("knew", "known"):
            document["benchmarks"][name] = document["benchmarks"]["know"]
        return read(document)

    know = [reached["know"] for reached in SIX.values()]
    agreed = {
        name: {"know": k, "knew": k + 1, "known": k - 1} for name, k in zip(SIX, know, strict=True)
    }
    torn = {
        name: {"know": know[i], "knew": know[5 - i], "known": know[(i + 3) % 6]}
        for i, name in enumerate(SIX)
    }
    found, calm = estimate_abilities(thrice(torn)), estimate_abilities(thrice(agreed))
    assert calm.misfit == 1
    assert found.misfit > 1.5
    assert spread(found, "huge") > 1.2 * spread(calm, "huge")


@pytest.mark.parametrize("usd", [0, -1, float("nan"), float("inf")])
def test_prices_must_be_prices(read, usd):
    with pytest.raises(DataError, match="price of best must be above zero"):
        estimate_abilities(read(board(SIX)), {"best": usd})


def test_no_scores_at_all_are_refused(read):
    with pytest.raises(DataError, match="no model has a score"):
        estimate_abilities(read(board({"a": {}, "b": {}})))


def test_levels_stand_where_the_rubric_puts_them():
    assert [level_position(level) for level in range(1, 6)] == list(LEVEL_POSITIONS)
    assert level_position(3.5) == pytest.approx((LEVEL_POSITIONS[2] + LEVEL_POSITIONS[3]) / 2)


def score(**changes):
    return board({"m": {}}) | {
        "models": {
            "m": {
                "developer": "d",
                "open_weights": True,
                "scores": [{"benchmark": "know", "score": 50, **SOURCE} | changes],
            }
        }
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (score(benchmark="knwo"), "m: knwo is none of the benchmarks"),
        (score(score=105), "m: know must be within 0 and 100, got 105"),
        (score(score=0.5, benchmark="talk"), "m: talk must be within 1 and 10, got 0.5"),
        (score(score="fifty"), "models.m.scores.0.score: Input should be a valid number"),
        (score(score=float("nan")), "models.m.scores.0.score: Input should be a finite number"),
        (score(date=None), "m: know needs a date, as its source (a leaderboard) is none"),
        (score(date="spring"), "models.m.scores.0.date: "),
        (score(note="?"), "models.m.scores.0.note: Extra inputs are not permitted"),
        (board(SIX, anchors={"tiny": 0}), "one anchor sets no scale"),
        (board(SIX, anchors={"tiny": 0, "nobody": 1}), "the anchor nobody must be one of"),
        (board({}), "models: Dictionary should have at least 1 item"),
        ({"models": {}}, "benchmarks: Field required"),
        (None, "valid dictionary or instance"),
        ([1], "valid dictionary or instance"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(read, tmp_path, document, message):
    with pytest.raises(DataError) as refused:
        read(document)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'abilities.yaml'}: ")
    assert message in said
    assert "\n" not in said


def test_a_name_means_one_model(read):
    document = board(SIX)
    document["models"]["tiny"]["aliases"] = ["Best"]
    with pytest.raises(DataError, match="best names both tiny and best"):
        read(document)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("best", "best"),
        ("BEST", "best"),
        ("best-2026-01-01", "best"),
        ("openrouter/somebody/Best", "best"),
        ("bes", None),
        ("best/other", None),
    ],
)
def test_models_are_found_by_their_names(read, name, model):
    document = board(SIX)
    document["models"]["best"]["aliases"] = ["best-2026-01-01"]
    assert read(document).find(name) == model


@pytest.mark.parametrize("text", ["models: [", "\tmodels: 1"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path, text):
    (tmp_path / "f.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="is not valid YAML"):
        read_abilities(tmp_path / "f.yaml")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=re.escape("cannot be read (No such file")):
        read_abilities(tmp_path / "nothing.yaml")


def test_the_shipped_file_covers_the_big_providers(shipped):
    developers = {entry.developer for entry in shipped.models.values()}
    assert len(shipped.models) >= 45
    assert developers >= {"OpenAI", "Anthropic", "Google", "Meta", "Mistral AI", "DeepSeek", "xAI"}
    assert shipped.find("anthropic/claude-sonnet-5.5") == "claude-sonnet-5-5"


FAMILIES = [
    ("gpt-3.5-turbo-1106", "gpt-4o-mini", "gpt-4o", "gpt-5", "gpt-5.5"),
    ("gpt-4.1-nano", "gpt-4.1-mini", "gpt-4.1"),
    ("gpt-5-nano", "gpt-5-mini", "gpt-5"),
    ("claude-instant-v1", "claude-3-haiku", "claude-3-5-haiku", "claude-haiku-4-5"),
    ("claude-v2", "claude-3-opus", "claude-3-5-sonnet", "claude-sonnet-4", "claude-sonnet-4-6"),
    ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"),
    ("gemini-1.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-flash", "gemini-2.5-pro"),
    ("gemma-3-4b-it", "gemma-3-12b-it", "gemma-3-27b-it"),
    ("llama-2-70b-chat", "llama-3.1-8b-instruct", "llama-3.1-70b-instruct"),
    ("llama-3.1-70b-instruct", "llama-3.1-405b-instruct"),
    ("mistral-7b-instruct-v0.2", "mixtral-8x7b-instruct", "mistral-large-2411"),
    ("deepseek-llm-67b-chat", "deepseek-v3", "deepseek-r1", "deepseek-v4-pro"),
    ("qwen2.5-7b-instruct", "qwen2.5-72b-instruct", "qwen3-235b-a22b", "qwen3.7-max"),
    ("amazon.nova-micro", "amazon.nova-lite", "amazon.nova-pro"),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family[-1])
def test_families_stand_in_their_known_order(estimate, family):
    assert (np.diff([general(estimate, model) for model in family]) > 0).all()


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [
        ("mistral-7b-instruct-v0.2", -0.4, 0.4),
        ("gpt-3.5-turbo-1106", 0.4, 1.2),
        ("gpt-4-1106-preview", 2.0, 2.8),
        ("gpt-5.5", 3.8, 5.0),
        ("claude-opus-5-5", 4.0, 5.2),
    ],
)
def test_the_shipped_file_stands_on_the_scale_of_the_rubric(estimate, model, low, high):
    assert low <= general(estimate, model) <= high


def test_the_scores_fit_one_model(estimate):
    assert estimate.misfit < 1.3
