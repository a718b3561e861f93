import pytest

from routers.evaluation.checkers import Checker, defect, last_number, score


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Canberra", 1),
        ("  canberra. ", 1),
        ("**Canberra**", 1),
        ("```\nCanberra\n```", 1),
        ("Let me think.\nCanberra", 1),
        ("It is Canberra", 0),
        ("Sydney", 0),
        ("", 0),
    ],
)
def test_exact_answers(answer, right):
    assert score(Checker.EXACT, "Canberra", answer) == right


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("1234", "1,234", 1),
        ("1234", "First 5, then 6.\n\n**1234**", 1),
        ("1234", "The answer is 1234.", 1),
        ("-49", "\N{MINUS SIGN}49", 1),
        ("0.5", ".5", 1),
        ("2500", "2.5e3", 1),
        ("42.5", "$42.50", 1),
        ("1234", "1235", 0),
        ("1234", "1234 / 2", 0),
        ("7", "seven", 0),
        ("12", "1, 2", 0),
    ],
)
def test_numbers(expected, answer, right):
    assert score(Checker.NUMBER, expected, answer) == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("B", 1),
        ("b", 1),
        ("(B)", 1),
        ("B. Sydney", 1),
        ("The answer is **B**", 1),
        ("Answer: B, because A is wrong", 1),
        ("A is wrong and so is C, hence B", 1),
        ("B is wrong, so C", 0),
        ("I don't know", 0),
        ("", 0),
    ],
)
def test_choices(answer, right):
    assert score(Checker.CHOICE, "B", answer) == right


def test_a_regex_has_to_match_the_whole_answer():
    assert score(Checker.REGEX, r"[a-z]+,[a-z]+", "red,blue\n") == 1
    assert score(Checker.REGEX, r"[a-z]+,[a-z]+", "```text\nred,blue\n```") == 1
    assert score(Checker.REGEX, r"[a-z]+,[a-z]+", "Sure: red,blue") == 0


def test_the_last_number_is_the_answer():
    assert last_number("3 apples and 1,000,000 pears") == 1_000_000
    assert last_number("none") is None


@pytest.mark.parametrize(
    ("checker", "expected", "problem"),
    [
        (Checker.NUMBER, "many", "no number"),
        (Checker.CHOICE, "b", "no capital letter"),
        (Checker.REGEX, "(", "no regular expression"),
        (Checker.EXACT, " ", "empty"),
    ],
)
def test_impossible_expectations_are_told(checker, expected, problem):
    assert problem in defect(checker, expected)
    assert defect(Checker.NUMBER, "5") is None
