import pytest

from routers.answers.signals import hedges, refuses


@pytest.mark.parametrize(
    ("text", "is_refusal"),
    [
        ("I cannot help with that.", True),
        ("I\u2019m sorry, but as an AI I can't.", True),
        ("I don't have access to your files.", True),
        ("The train cannot help but arrive at 5.", False),
        ("Here is a letter: 'Dear Sir, we are sorry for the delay.'", False),
        ("", False),
        ("Step 1. " * 2000 + "I am unable to answer.", True),
        ("Step 1. " * 2000 + "I cannot help." + "So it is 4. " * 2000, False),
    ],
)
def test_refusals_stand_at_the_head_or_the_end(text, is_refusal):
    assert refuses(text) is is_refusal


def test_hedges_are_counted():
    assert hedges("The answer is 4.") == 0
    assert hedges("Wait, that might be a mistake; assuming 5, it is closest to B.") == 5
