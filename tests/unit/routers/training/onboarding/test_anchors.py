import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from routers.errors import DataError
from routers.estimators.item_response import chance_correct, fit_item_response
from routers.evaluation.checkers import Checker, score
from routers.training.onboarding.anchors import (
    SHIPPED_ANCHORS,
    choose_anchors,
    choose_by_item_response,
    peer_quality,
    read_anchors,
)
from tests.support.worlds import draw, make_world

ROOT = Path(__file__).parents[5]
LINE = {"id": "a", "prompt": "1 + 1?", "checker": "number", "expected": "2"}


def write(path, *lines):
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def test_the_shipped_anchors_cover_every_kind_and_can_be_answered():
    anchors = read_anchors(SHIPPED_ANCHORS).anchors
    assert 100 <= len(anchors) <= 150
    kinds = Counter(anchor.kind for anchor in anchors)
    assert set(kinds) == {
        *("arithmetic", "conversion", "strings", "logic", "code", "format", "knowledge")
    }
    assert min(kinds.values()) >= 12
    assert len({anchor.prompt for anchor in anchors}) == len(anchors)
    for anchor in anchors:
        if anchor.checker is not Checker.REGEX:
            assert score(anchor.checker, anchor.expected, anchor.expected) == 1
        assert score(anchor.checker, anchor.expected, "I am sorry, I cannot help.") == 0


@pytest.mark.parametrize(
    ("anchor_id", "answer"),
    [
        ("format-01", "red,green,blue"),
        ("format-06", "READY\nREADY"),
        ("format-12", "- Apple\n- Pear\n- Plum"),
        ("format-14", "yes"),
    ],
)
def test_prescribed_forms_are_met_by_who_follows_them(anchor_id, answer):
    anchors = {anchor.anchor_id: anchor for anchor in read_anchors(SHIPPED_ANCHORS).anchors}
    anchor = anchors[anchor_id]
    assert score(anchor.checker, anchor.expected, answer) == 1


def test_the_shipped_programs_print_what_is_expected():
    programs = [a for a in read_anchors(SHIPPED_ANCHORS).anchors if a.kind == "code"]
    for anchor in programs:
        text = anchor.prompt.split("```python\n")[1].removesuffix("\n```")
        printed = subprocess.run(
            [sys.executable, "-I", "-S", "-c", text], capture_output=True, text=True, check=True
        ).stdout
        assert score(anchor.checker, anchor.expected, printed) == 1, anchor.anchor_id


def test_the_shipped_file_is_what_the_script_makes(tmp_path):
    before = SHIPPED_ANCHORS.read_bytes()
    code = (
        "import runpy, pathlib, sys; m = runpy.run_path(sys.argv[1]);"
        "g = m['main'].__globals__; g['OUT'] = pathlib.Path(sys.argv[2]); m['main']()"
    )
    script = ROOT / "scripts" / "make_anchors.py"
    out = tmp_path / "made" / "anchors.jsonl"
    subprocess.run([sys.executable, "-c", code, script, out], check=True, capture_output=True)
    assert out.read_bytes() == before


def test_anchors_are_read_with_what_other_models_made_of_them(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {**LINE, "outcomes": {"small": 0.5}},
        {**LINE, "id": "b", "kind": "sums"},
    )
    found = read_anchors(path)
    assert [anchor.kind for anchor in found.anchors] == ["other", "sums"]
    assert len(found.sha256) == 64
    known = peer_quality(found.anchors, ("large", "small"))
    assert np.isnan(known).tolist() == [[True, False], [True, True]]
    assert peer_quality(found.anchors, ("large",)) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{**LINE, "checker": "guess"}], r"a\.jsonl:1: checker"),
        ([{**LINE, "expected": "two"}], "is no number"),
        ([LINE, LINE], r"a\.jsonl:2: the id 'a' stands twice"),
        ([{**LINE, "outcomes": {"small": 2}}], "outcomes"),
        ([{**LINE, "colour": "red"}], "colour"),
        ([], "holds no anchor"),
    ],
)
def test_defects_of_anchor_files_are_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_anchors(write(tmp_path / "a.jsonl", *lines))


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_anchors(tmp_path / "absent.jsonl")
    (tmp_path / "a.jsonl").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_anchors(tmp_path / "a.jsonl")


def test_the_choice_covers_every_cluster_and_is_always_the_same():
    sample = draw(make_world(0), 800, seed=1)
    directions = np.random.default_rng(0).normal(size=(800, 3))
    chances = sample.chance.mean(axis=1)
    picked = choose_anchors(sample.x, directions, chances, n=64)
    assert len(set(picked.tolist())) == 64
    assert (picked == choose_anchors(sample.x, directions, chances, n=64)).all()
    share = np.bincount(sample.cluster[picked], minlength=8) / 64
    assert np.abs(share - np.bincount(sample.cluster, minlength=8) / 800).max() < 0.06


def test_everything_is_taken_where_there_is_no_more():
    x = np.eye(5, dtype=np.float32)
    assert choose_anchors(x, np.ones((5, 1)), np.full(5, 0.5), n=9).tolist() == [0, 1, 2, 3, 4]


def test_informative_anchors_place_a_model_better_than_random_ones():
    rng = np.random.default_rng(0)
    d, k, n_models = 16, 4, 12
    slope, weight = rng.normal(0, 1, (d, k)) / 4, 2 * rng.normal(0, 1, d) / 4
    ability = rng.normal(0.4, 0.8, (n_models, k))

    def sample(n, seed):
        each = np.random.default_rng(seed)
        x = each.normal(size=(n, d)).astype(np.float32)
        p = chance_correct(np.logaddexp(0, 2 * x @ slope), ability, x @ weight)
        return x, p, (each.random(p.shape) < p).astype(np.float32)

    x, _, y = sample(2000, 1)
    new_x, p, _ = sample(2000, 2)
    informed, blind = [], []
    for hidden in range(0, n_models, 2):
        others = [m for m in range(n_models) if m != hidden]
        model = fit_item_response(x, y[:, others], rng=np.random.default_rng(3), n_steps=300)
        a, b = model.items(new_x)

        def error(at, model=model, hidden=hidden, a=a, b=b):
            theta = model.place(x[at], y[at, hidden])
            return ((chance_correct(a, theta, b) - p[:, hidden]) ** 2).mean()

        informed.append(error(choose_by_item_response(x, model, n=50)))
        draws = np.random.default_rng(hidden)
        blind += [error(draws.permutation(2000)[:50]) for _ in range(4)]
    assert np.mean(informed) < 0.95 * np.mean(blind)
