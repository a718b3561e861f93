"""`readability` on answers of models that write in known ways."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from routers.commands import readability
from routers.data.facts import read_traits
from routers.errors import DataError
from routers.text.readability import reading_ease

EASY = "The cat sat on the mat and the dog ran to the man. He had a red hat and a big bag. " * 3
HARD = (
    "Considerable interdisciplinary investigation demonstrates that institutional heterogeneity "
    "substantially complicates comparative methodological evaluation of organisational settings. "
) * 4  # fmt: skip
CODE = "```python\nconsiderable_interdisciplinary_investigation = institutionalHeterogeneity\n```\n"


def run(*args):
    result = CliRunner().invoke(readability.command, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result.stdout


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_short_words_in_short_sentences_are_easy():
    assert reading_ease(EASY) > 90
    assert reading_ease(HARD) < 0
    assert reading_ease("Too short to tell.") is None


def test_code_formulas_and_tables_are_not_read():
    plain = reading_ease(EASY)
    for other in (
        CODE,
        "$$\\operatorname{considerable}(heterogeneity)$$\n",
        "| institutional |\n\n",
    ):
        assert reading_ease(other + EASY) == pytest.approx(plain)


def test_models_are_measured_and_told_in_the_form_of_a_catalogue(tmp_path):
    table = {
        "query_id": [f"q{i}" for i in range(3)],
        "x:plain": [EASY] * 3,
        "x:stiff": [HARD] * 3,
        "x:silent": ["Yes."] * 3,
    }
    pq.write_table(pa.table(table), tmp_path / "answers.parquet")
    out = run("--answers", tmp_path / "answers.parquet", "--out", tmp_path / "facts.json")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["plain", f"{reading_ease(EASY):.1f}", "3"],
        ["stiff", f"{reading_ease(HARD):.1f}", "3"],
        ["silent", "-", "0"],
    ]
    traits = read_traits(tmp_path / "facts.json", ["plain", "stiff", "silent"])
    assert traits["plain"].readability > traits["stiff"].readability
    assert traits["silent"].readability is None


def test_what_was_asked_is_not_counted_for_who_answered(tmp_path):
    """One model answered the stiff questions alone, in the same way as another did."""
    rows = [{"query_id": f"e{i}", "model": "both", "text": EASY} for i in range(3)]
    for i in range(3):
        rows += [{"query_id": f"h{i}", "model": m, "text": HARD} for m in ("both", "late")]
    path = write(tmp_path / "answers.jsonl", rows)
    told = json.loads(run("--answers", path, "--json"))["models"]
    assert told["both"]["readability"] == told["late"]["readability"]


def test_files_without_answers_are_refused(tmp_path):
    path = write(tmp_path / "answers.jsonl", [{"query_id": "q", "model": "m", "quality": 1}])
    with pytest.raises(DataError, match="holds no answers"):
        run("--answers", path)
