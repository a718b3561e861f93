"""Leaderboards as people keep them: three shapes, shares or per cent, and what is none."""

import numpy as np
import pytest

from routers.data.facts import read_facts
from routers.data.leaderboard import read_leaderboard
from routers.errors import DataError

SHAPES = {
    "models": "Model,Math,Law,Overall\na,90,40,65\nb,50,,50\n",
    "subjects": "subject,a,b\nMath,90%,50%\nLaw,40%,-\n",
    "lines": "subject,model,accuracy,n\nMath,a,0.9,100\nMath,b,0.5,100\nLaw,a,0.4,50\n",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_tells_the_same(shape, tmp_path):
    file = tmp_path / "board.csv"
    file.write_text(SHAPES[shape], encoding="utf-8-sig")
    board = read_leaderboard(file)
    assert (board.subjects, board.models) == (("Math", "Law"), ("a", "b"))
    assert board.accuracy.tolist()[0] == pytest.approx([0.9, 0.5])
    assert board.accuracy[1, 0] == pytest.approx(0.4)
    assert np.isnan(board.accuracy[1, 1])
    assert np.isnan(board.n).all() == (shape != "lines")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rank,Math\n1,90\n", "needs a column `model` or `subject`"),
        ("model,Math\n", "no line of results"),
        ("model,Math\na,good\n", "line 2: Math: good is not a number"),
        ("model,Math\na,inf\n", "is not a number"),
        ("model,Math\na,900\n", "per cent"),
        ("model,Math\na,-1\n", "per cent"),
        ("model,Math\na,\n", "has no result"),
        ("model,Math\na,90\na,80\n", "a stands there twice"),
        ("subject,model,accuracy\nMath,a,1\nMath,a,1\n", "line 3: Math, a stands there twice"),
    ],
)
def test_what_is_no_leaderboard_is_refused_in_words(text, said, tmp_path):
    file = tmp_path / "board.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        read_leaderboard(file)


def test_sizes_are_read_from_a_catalogue_or_a_plain_map(tmp_path):
    file = tmp_path / "models.yaml"
    file.write_text("models: {a: {parameters_b: 8, prices: {}}, b: {prices: {}}, c: 3}\n")
    assert read_facts(file, ["a", "b", "c", "d"]) == {"a": {"parameters_b": 8.0}}
    file.write_text("{a: {parameters_b: 46.7, active_parameters_b: 12.9}}\n")
    assert read_facts(file, ["a"]) == {"a": {"parameters_b": 46.7, "active_parameters_b": 12.9}}
    for odd in ("-1", "many", "true", ".inf", "0"):
        file.write_text(f"{{a: {{parameters_b: {odd}}}}}\n")
        with pytest.raises(DataError, match="a: parameters_b: must be"):
            read_facts(file, ["a"])
