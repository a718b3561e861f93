import json

import numpy as np
import pytest

from routers.base import ROUTERS
from routers.data.dataset import read_outcomes
from routers.data.doubts import doubts
from routers.data.preferences import has_preferences, read_preferences
from routers.decision.pairwise import strong_scores
from routers.errors import DataError
from routers.options import build

COMPARISONS = [
    {"prompt": "2 + 2", "model_a": "x", "model_b": "y", "winner": "model_a", "judge": "me"},
    {"prompt": "2 + 2", "model_a": "y", "model_b": "z", "winner": "tie"},
    {"prompt": "sing", "model_a": "z", "model_b": "x", "winner": "model_b", "set": "arena"},
    {"prompt": "sing", "model_a": "x", "model_b": "z", "winner": "tie (bothbad)", "set": "arena"},
]


def write(path, *records):
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    return path


def test_comparisons_are_gathered_by_prompt(tmp_path):
    part = read_preferences(write(tmp_path / "b.jsonl", *COMPARISONS))
    assert part.prompts == ("2 + 2", "sing")
    assert part.models == ("x", "y", "z")
    assert part.groups == ("", "arena")
    assert part.comparisons.row.tolist() == [0, 0, 1, 1]
    assert part.comparisons.a.tolist() == [0, 1, 2, 0]
    assert part.comparisons.b.tolist() == [1, 2, 0, 2]
    assert part.comparisons.outcome.tolist() == [1, 0.5, 0, 0.5]
    # x won its comparison; y lost one and tied one; and so on.
    np.testing.assert_array_equal(part.quality, [[1, 0.25, 0.5], [0.75, np.nan, 0.25]])


def test_preferences_are_read_wherever_outcomes_are(tmp_path):
    table = read_outcomes([write(tmp_path / "b.jsonl", *COMPARISONS)])
    assert table.labels.comparisons.outcome.tolist() == [1, 0.5, 0, 0.5]
    assert table.labels.output_tokens is None


def test_files_of_preferences_are_joined(tmp_path):
    first = write(tmp_path / "1.jsonl", *COMPARISONS[:2])
    more = {"prompt": "2 + 2", "model_a": "w", "model_b": "x", "winner": "model_b"}
    table = read_outcomes([first, write(tmp_path / "2.jsonl", more)])
    assert table.models == ("x", "y", "z", "w")
    comparisons = table.comparisons
    assert comparisons.row.tolist() == [0, 0, 0]
    assert (comparisons.a.tolist(), comparisons.b.tolist()) == ([0, 1, 3], [1, 2, 0])


@pytest.mark.parametrize("battles_first", [True, False])
def test_outcomes_and_preferences_stay_apart(tmp_path, battles_first):
    battles = write(tmp_path / "b.jsonl", *COMPARISONS)
    # Of one prompt there are both, under one id.
    query_id = read_outcomes([battles]).query_ids[0]
    same = {"query_id": query_id, "prompt": "2 + 2"}
    outcomes = write(
        tmp_path / "o.jsonl",
        same | {"model": "x", "quality": 0},
        same | {"model": "y", "quality": 1},
        {"query_id": "q", "prompt": "new", "model": "x", "quality": 0.5},
    )
    table = read_outcomes([battles, outcomes] if battles_first else [outcomes, battles])
    prompts = [each.messages[0].text for each in table.conversations]
    assert prompts == ["2 + 2", "new", "2 + 2", "sing"]
    assert table.models == ("x", "y", "z")
    np.testing.assert_array_equal(table.quality[0], [0, 1, np.nan])
    np.testing.assert_array_equal(table.quality[2], [1, 0.25, 0.5])
    assert table.comparisons.row.tolist() == [2, 2, 3, 3]
    assert table.comparisons.outcome.tolist() == [1, 0.5, 0, 0.5]
    assert not any("different prompts" in each for each in doubts(table))


def test_a_mixture_of_battles_and_outcomes_teaches_both(tmp_path):
    """Battles tell of a and c along one feature, outcomes of a and b along another."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4)).astype(np.float32)
    battles, outcomes = [], []
    for i, row in enumerate(x[:300]):
        winner = "model_a" if row[0] + 0.3 * rng.normal() > 0 else "model_b"
        battles.append({"prompt": f"b{i}", "model_a": "a", "model_b": "c", "winner": winner})
    for i, row in enumerate(x[300:]):
        good = row[1] + 0.3 * rng.normal() > 0
        for model, quality in (("a", good), ("b", not good)):
            outcomes.append({"query_id": f"{i}", "prompt": f"o{i}"})
            outcomes[-1] |= {"model": model, "quality": float(quality)}
    paths = [write(tmp_path / "b.jsonl", *battles), write(tmp_path / "o.jsonl", *outcomes)]
    labels = read_outcomes(paths).labels
    order = np.concatenate([np.arange(300, 600), np.arange(300)])  # outcomes come first
    for kind, options in (("mf", {}), ("sw-ranking", {}), ("mf", {"outcome_weight": 0.01})):
        router = build(ROUTERS.get(kind), options, noun="it").fit(x[order], labels, rng=rng)
        assert router.notes()["battles"] == 600
        predicted = router.predict(x)
        for feature, other in ((0, "c"), (1, "b")):
            score = strong_scores(predicted, strong=0, weak=labels.models.index(other))
            above, below = (score[sign * x[:, feature] > 0.5].mean() for sign in (1, -1))
            if other == "b" and options:
                assert above < below + 0.3, "hardly heard"
            else:
                assert above > below + 0.3


@pytest.mark.parametrize("kind", ["mf", "sw-ranking", "bert", "hybrid", "carrot"])
def test_strategies_learn_from_preferences(tmp_path, kind):
    rng = np.random.default_rng(0)
    records, x = [], rng.normal(size=(300, 4)).astype(np.float32)
    for i, row in enumerate(x):
        winner = "model_a" if row[0] + 0.3 * rng.normal() > 0 else "model_b"
        records.append({"prompt": f"{i}", "model_a": "x", "model_b": "y", "winner": winner})
    labels = read_outcomes([write(tmp_path / "b.jsonl", *records)]).labels
    router = build(ROUTERS.get(kind), {}, noun="it").fit(x, labels, rng=rng)
    score = strong_scores(router.predict(x), strong=0, weak=1)
    assert score[x[:, 0] > 0.5].mean() > score[x[:, 0] < -0.5].mean() + 0.3


def test_repeated_outcomes_are_kept_beside_their_mean(tmp_path):
    records = [
        {"query_id": "q", "prompt": "p", "model": model, "quality": quality}
        for model, quality in [("x", 1), ("x", 0), ("x", 0.5), ("y", 1), ("y", None)]
    ]
    first = write(tmp_path / "1.jsonl", *records)
    second = write(
        tmp_path / "2.jsonl",
        {"query_id": "q", "prompt": "p", "model": "y", "quality": 0.25},
        {"query_id": "r", "prompt": "p2", "model": "z", "quality": 0.75},
    )
    labels = read_outcomes([first, second]).labels
    assert np.sort(labels.samples[0, 0])[:3].tolist() == [0, 0.5, 1]
    assert sorted(labels.samples[0, 1][~np.isnan(labels.samples[0, 1])]) == [0.25, 1]
    assert np.nanmean(labels.samples[0, 0]) == pytest.approx(labels.quality[0, 0])
    assert labels.samples[1, 2][~np.isnan(labels.samples[1, 2])].tolist() == [0.75]


def test_single_outcomes_have_no_samples(tmp_path):
    record = {"query_id": "q", "prompt": "p", "model": "x", "quality": 1}
    same = [write(tmp_path / f"{i}.jsonl", record | {"query_id": str(i)}) for i in range(2)]
    assert read_outcomes(same).labels.samples is None
    unknown = write(tmp_path / "u.jsonl", record, record | {"quality": None})
    assert read_outcomes([unknown]).labels.samples is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": "x"}, "'winner' is 'x'"),
        ({"winner": ["model_a"]}, "must be one of"),
        ({"model_b": "x"}, "cannot compete with itself"),
        ({"prompt": 3}, "'prompt' must be a text"),
        ({"model_a": ""}, "'model_a' must be a text"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, change, message):
    path = write(tmp_path / "b.jsonl", COMPARISONS[0], COMPARISONS[0] | change)
    with pytest.raises(DataError, match="line 2") as refused:
        read_preferences(path)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "no json", "[1]\n", "{}\n"])
def test_files_without_comparisons_are_refused_or_left_to_others(tmp_path, text):
    path = tmp_path / "b.jsonl"
    path.write_text(text)
    assert not has_preferences(path)
    with pytest.raises(DataError):
        read_preferences(path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "b.jsonl"
    assert not has_preferences(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_preferences(path)
    path.write_bytes(b"\xff\xfe{}")
    assert not has_preferences(path)
    with pytest.raises(DataError, match="UTF-8"):
        read_preferences(path)
