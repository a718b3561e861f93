"""Spending as it is told: exact, sorted, and safe to open in a spreadsheet."""

import csv
import io
import json

import pytest

from app.spend.question import Amounts, Dimension, Question, parse_dimensions
from app.spend.report import Report

DAY, KEY, MODEL = Dimension.DAY, Dimension.KEY, Dimension.MODEL


def report(by, found, **names):
    return Report.of(
        Question(since=1_795_000_000.0, until=1_795_086_400.0, by=by),
        found,
        key_names=names,
        source="sqlite",
        covers=None,
    )


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_groups_come_by_time_and_then_the_dearest_first():
    found = {
        ("a", "2026-11-02"): Amounts(cost_nusd=5),
        ("b", "2026-11-01"): Amounts(cost_nusd=1),
        ("c", "2026-11-01"): Amounts(cost_nusd=9),
        (None, "2026-11-01"): Amounts(cost_nusd=1),
    }
    told = json.loads(report((MODEL, DAY), found).json())
    assert [(each["day"], each["model"]) for each in told["data"]] == [
        ("2026-11-01", "c"),
        ("2026-11-01", None),
        ("2026-11-01", "b"),
        ("2026-11-02", "a"),
    ]
    assert told["totals"]["cost_usd"] == 16e-9
    assert (told["from"], told["to"]) == ("2026-11-18T11:06:40Z", "2026-11-19T11:06:40Z")


def test_money_in_a_table_of_commas_is_exact_to_the_billionth():
    found = {(): Amounts(cost_nusd=12_345_678_901_234_567, estimated_cost_nusd=1)}
    (row,) = rows_of(report((), found).csv())
    assert row["cost_usd"] == "12345678.901234567"
    assert row["estimated_cost_usd"] == "0.000000001"


@pytest.mark.parametrize(
    "name",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=x", " =1", "\u00a0=1", "|x", "%x"),
        *("\uff1d1", '=HYPERLINK("http://x","y")', "-", "'=1"),
    ],
)
def test_no_cell_is_a_formula(name):
    text = report((MODEL, KEY), {(name, "key-1"): Amounts()}, **{"key-1": name}).csv()
    (row,) = rows_of(text)
    for cell in (row["model"], row["key_name"]):
        assert cell.startswith("'")
        assert cell.removeprefix("'") in (name, name.removeprefix("'"))


@pytest.mark.parametrize("name", ["plain", 'a,"b"', "two\nlines", "ünï ☃", "a=b", "1-2", ""])
def test_other_texts_stay_as_they_are(name):
    (row,) = rows_of(report((MODEL,), {(name,): Amounts()}).csv())
    assert row["model"] == name


def test_what_is_not_known_is_empty_and_names_stand_beside_ids():
    found = {("key-1",): Amounts(cost_nusd=1), ("key-gone",): Amounts(), (None,): Amounts()}
    rows = rows_of(report((KEY,), found, **{"key-1": "search"}).csv())
    assert [(row["key"], row["key_name"]) for row in rows] == [
        ("key-1", "search"),
        ("", ""),
        ("key-gone", ""),
    ]


def test_a_table_ends_with_the_total_and_obeys_no_control_character():
    found = {
        ("a\x1b[2J",): Amounts(requests=3, estimated_requests=1, cost_nusd=1_500_000_000),
        ("b",): Amounts(requests=1, failed_requests=1, input_tokens=1234),
    }
    head, *rows, total = report((MODEL,), found).lines()
    assert head.split()[:3] == ["model", "requests", "failed"]
    assert rows[0].split() == ["a?[2J", "3", "0", "0", "0", "0", "$1.5000", "33%"]
    assert total.split() == ["total", "4", "1", "1,234", "0", "0", "$1.5000", "25%"]
    assert len({len(line) for line in (head, *rows, total)}) == 1
    assert list(report((), {}).lines())[-1].split()[0] == "0"


def test_dimensions_are_read_and_mistakes_named():
    assert parse_dimensions("key, model,,day") == (KEY, MODEL, DAY)
    assert parse_dimensions("") == ()
    for text, words in (("colour", "key, team"), ("key,key", "twice"), ("Key", "none of")):
        with pytest.raises(ValueError, match=words):
            parse_dimensions(text)
