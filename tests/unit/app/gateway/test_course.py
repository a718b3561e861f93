"""What is known of one request's way through a workflow, and what still runs of it."""

import pytest

from app.gateway.course import NOTHING_BETTER, Course, distinct
from app.gateway.running import Running
from routers.steps import Answer, Draft
from tests.support.tasks import task


def answer(model_id="small", text="B"):
    return Answer(
        number=0, model_id=model_id, text=text, output_tokens=4, cost_usd=0.1, latency_s=2
    )


def test_verdicts_are_taken_over_once_with_what_was_predicted():
    course = Course(kind="cascade", task=task({"small": 0.001, "large": 0.01}), failed=True)
    course.task.judged(answer(), accepted=True, by="judge", score=0.9, why="grade 5")
    course.hear_verdicts()
    course.hear_verdicts()
    (told,) = course.judged
    assert (told.model_id, told.accepted, told.by, told.score) == ("small", True, "judge", 0.9)
    assert (told.predicted_quality, told.chars, told.cost_usd, told.took_s) == (0.5, 1, 0.1, 2)
    assert course.failed
    course.task.judged(answer("other"), accepted=False, by="judge", why="grade 1")
    course.hear_verdicts()
    assert [each.predicted_quality for each in course.judged] == [0.5, None]
    assert not course.failed  # it was turned down, and not lost


def test_without_a_task_nothing_was_said():
    course = Course(kind="cascade")
    course.hear_verdicts()
    assert course.judged == []


@pytest.mark.parametrize(
    ("failed", "accepted_by", "is_makeshift"),
    [(False, "judge", False), (True, "judge", True), (False, NOTHING_BETTER, True)],
)
def test_what_is_second_choice_is_known_as_such(failed, accepted_by, is_makeshift):
    course = Course(kind="cascade", failed=failed, accepted_by=accepted_by)
    assert course.is_makeshift is is_makeshift


def clinging(raised):
    """Return a run that has begun, and does something else than ending when it is closed."""

    def run():
        try:
            yield (Draft(model_id="small"),)
        finally:
            if raised is None:
                yield ()
            raise raised

    begun = run()
    next(begun)
    return begun


@pytest.mark.parametrize("raised", [None, RuntimeError("no"), KeyError("no")])
def test_a_workflow_that_does_not_let_go_is_stopped_all_the_same(raised, caplog):
    course = Course(kind="odd", run=clinging(raised), first=(Draft(model_id="small"),))
    assert course.begins_with == ("small",)
    course.skip("knob")
    assert (course.run, course.skipped, course.begins_with) == (None, "knob", ())
    assert "odd" in caplog.text
    course.stop()


def test_models_are_each_named_once_in_order():
    assert distinct(["b", "a", "b"]) == ("b", "a")


def test_calls_of_one_model_end_one_at_a_time_and_the_cheapest_first():
    running = Running()
    running.begin("small", 20)
    running.begin("small", 100)
    running.begin("large", 5)
    assert running.total_nusd == 125
    running.end("small")
    assert running.total_nusd == 105  # whichever it was: what is left costs that at most
    running.end("small")
    running.end("small")
    running.end("nobody")
    assert running.total_nusd == 5
    running.end("large")
    assert not running
