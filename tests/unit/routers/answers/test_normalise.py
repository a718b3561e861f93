"""What answers come down to, and which of them say the same."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.answers.normalise import Comparing, code, exact, json_value, number, option

SLIDING = (
    "A steelyard is a balance with two unequal arms and a sliding weight, known since Roman times."
)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (C).", "C"),
        ("the answer is **B**", "B"),
        ("Answer: d)", "D"),
        ("So the correct option is J.", "J"),
        ("B", "B"),
        (" (e) ", "E"),
        ("C) 42 km", "C"),
        (r"Thus \boxed{\text{A}}", "A"),
        (r"\boxed{F}", "F"),
        ("First I thought the answer is A. But no: the answer is D.", "D"),
        ("The answer is a steelyard.", None),
        ("I am sure.", None),
        ("The answer is N/A.", None),
        ("The answer is 12.", None),
        ("", None),
    ],
)
def test_the_letter_of_an_option_is_read_where_it_is_stated(text, letter):
    assert option(text) == letter


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("The result is 1,234.50 dollars", "1234.5"),
        (r"x = 3, y = 4, so \boxed{-7}", -7),
        (r"\boxed{\frac{1}{2}} and nothing else", "0.5"),
        ("The answer is 3/4.", "0.75"),
        (r"\boxed{1/0}", None),
        ("12 apples and 5 pears: the total is 17, of which 3 are bad", 17),
        ("It takes 20%", "0.2"),
        ("6.02e23", "6.02e23"),
        ("\u22125 degrees", -5),
        ("1e999999999", None),
        ("none", None),
    ],
)
def test_the_final_number_is_read(text, value):
    assert number(text) == (None if value is None else Decimal(value))


def test_layout_does_not_tell_values_apart():
    assert json_value('{"b": 1.0, "a": [2]}') == json_value('```json\n{"a":[2],"b":1}\n```')
    assert json_value('{"a": NaN}') is None
    assert code("```python\nx=1 # one\n```") == code("Here:\n```py\nx = 1\n```\nDone.")
    assert code("```python\nx = 1\n```") != code("```python\nx = 2\n```")
    assert code("```js\nlet  x\n```") == code("```js\nlet x\n```")
    assert exact("  Paris. ") == exact("**paris**")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The answer is (C).", "C"),
        ("The total is 17.", "So 12 + 5 = 17, and the answer is 17"),
        ("Paris.", "paris"),
        ('{"x": 1}', '{"x": 1.0}'),
        (
            SLIDING,
            f"Put otherwise: {SLIDING}",
        ),
    ],
)
def test_answers_that_say_the_same_agree_and_others_do_not(a, b):
    compare = Comparing()
    assert compare.same(compare.read(a), compare.read(b))
    other = compare.read("Bake the bread for forty minutes in a hot oven, then let it cool down.\n")
    assert not compare.same(compare.read(a), other)


def test_a_text_that_says_nothing_agrees_with_none():
    compare = Comparing(by="option")
    nothing = compare.read("I cannot tell.")
    assert nothing is None
    assert not compare.same(nothing, nothing)


def test_what_the_data_tell_is_not_read_again():
    compare = Comparing(by="option")
    assert compare.same(compare.read("B", literal="42"), compare.read("C", literal="42"))
    assert compare.read("The answer is B", literal="") is None


@given(text=st.text(max_size=400), by=st.sampled_from(["auto", "exact", "number", "option"]))
def test_every_text_can_be_read_and_agrees_with_itself(text, by):
    compare = Comparing(by=by)
    reading = compare.read(text)
    assert reading is None or compare.same(reading, compare.read(text))


@given(text=st.text(alphabet="{}[]()\"'\\`\n#x=1 :,defif", max_size=300))
def test_no_text_makes_reading_fail(text):
    for by in ("json", "code", "auto"):
        Comparing(by=by).read(text)
        Comparing(by=by).read(f"```python\n{text}\n```")
