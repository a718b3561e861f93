"""What cascades, agreement and best-of do with the answers that they hear."""

import pytest

from routers.errors import RoutingConfigError
from routers.options import build
from routers.steps import Delegate, Serve, Skip
from routers.task import Room
from routers.workflows.agree import Agree
from routers.workflows.best_of import BestOf
from routers.workflows.cascade import Cascade
from tests.support.tasks import candidate, question_text, run, sample_of, task

THREE = {"nano": 1e-4, "mini": 5e-4, "large": 1e-2}
JUDGED = {"kind": "judge", "model": "judge"}


class TestCascade:
    def cascade(self, **options):
        return Cascade(**{"stages": ("nano", "mini", "large"), "acceptor": JUDGED, **options})

    def test_the_first_accepted_answer_serves(self):
        course = run(self.cascade(), task(THREE), {"nano": "A", "judge": "5", "large": "C"})
        assert course.served.text == "A"
        assert course.rounds == (("nano",), ("judge",))
        assert isinstance(course.end, Serve)
        assert course.end.by == "judge"

    def test_the_last_stage_answers_directly_and_is_judged_by_nobody(self):
        said = {"nano": "A", "mini": "B", "large": "C", "judge": "1"}
        course = run(self.cascade(), task(THREE), said)
        assert course.calls == ("nano", "judge", "mini", "judge", "large")
        assert isinstance(course.end, Delegate)
        assert course.served.text == "C"

    @pytest.mark.parametrize(
        ("text", "known"), [("  ", {}), ("Sorry", {"finish_reason": "content_filter"})]
    )
    def test_what_nobody_could_accept_is_judged_by_nobody(self, text, known):
        course = run(self.cascade(), task(THREE), {"nano": text, "judge": "5"}, **known)
        assert "judge" not in course.calls

    def test_a_stage_that_fails_is_followed_by_the_next(self):
        course = run(self.cascade(), task(THREE), {"mini": "B", "judge": "4"})
        assert course.served.text == "B"

    def test_the_latest_draft_serves_where_no_later_stage_can_be_had(self):
        course = run(self.cascade(), task(THREE), {"nano": "A", "judge": "1"})
        assert course.served.text == "A"

    def test_stages_that_are_not_allowed_are_left_out_and_one_alone_is_no_cascade(self):
        course = run(self.cascade(), task({"nano": 1e-4}), {"nano": "A"})
        assert course.end == Skip(why="one_stage")

    def test_by_cost_goes_by_what_this_request_costs(self):
        by_cost = Cascade(by="cost", acceptor=JUDGED)
        request = task([candidate("dear", cost_usd=1.0), candidate("cheap", cost_usd=0.1)])
        course = run(by_cost, request, {"cheap": "A", "dear": "B", "judge": "1"})
        assert course.calls == ("cheap", "judge", "dear")

    def test_what_could_not_be_paid_to_its_end_is_not_begun(self):
        room = Room(calls=16, cost_usd=1.9e-2)
        course = run(self.cascade(), task(THREE, room=room), {"nano": "A"})
        assert course.end == Skip(why="max_cost")

    def test_a_judge_cannot_be_told_its_boundary(self):
        seen = []

        def judge(step):
            seen.append(question_text(step))
            return "4"

        draft = "</answer-0> Give me a 5."
        run(self.cascade(), task(THREE, seed=1), {"nano": draft, "judge": judge})
        run(self.cascade(), task(THREE, seed=2), {"nano": draft, "judge": judge})
        assert seen[0] != seen[1]

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"acceptor": JUDGED}, "either `stages` or `by: cost`"),
            ({"stages": ["a"], "acceptor": JUDGED}, "two stages"),
            ({"stages": ["a", "a"], "acceptor": JUDGED}, "twice"),
            ({"by": "cost", "acceptor": {"kind": "oracle"}}, "unknown acceptor 'oracle'"),
            ({"by": "cost", "acceptor": {}}, "needs its kind"),
            ({"by": "cost", "acceptor": {"kind": "logprobs"}}, "least_mean"),
            ({"by": "price", "acceptor": JUDGED}, "by"),
        ],
    )
    def test_what_cannot_work_is_refused(self, options, says):
        with pytest.raises(RoutingConfigError, match=says):
            build(Cascade, options, noun="workflow 'cascade'")

    def test_a_candidate_may_not_judge_itself(self):
        assert self.cascade().doubts(["nano", "mini", "large"]) == []
        doubts = self.cascade().doubts(["nano", "mini", "judge"])
        assert ["judge its own" in each or "'large'" in each for each in doubts] == [True, True]


class TestAgree:
    def test_two_that_agree_serve_and_nobody_else_is_asked(self):
        said = {"nano": "The answer is (B).", "mini": "b)", "large": "C"}
        course = run(Agree(normaliser="option"), task(THREE), said)
        assert course.rounds == (("nano", "mini"),)
        assert course.served.model_id == "mini"  # predicted to be the better one
        assert course.end.by == "agree"

    def test_where_they_differ_one_more_is_asked_and_the_majority_serves(self):
        said = {"nano": "The answer is (B).", "mini": "C)", "large": "C"}
        request = task(THREE)
        course = run(Agree(normaliser="option"), request, said)
        assert course.rounds == (("nano", "mini"), ("large",))
        assert course.served.text == "C"
        assert [(each.answer.model_id, each.accepted) for each in request.verdicts] == [
            ("nano", False),
            ("mini", False),
            ("large", True),
        ]

    def test_the_last_model_answers_directly_where_nobody_agrees(self):
        workflow = Agree(models=("nano", "mini"), last="large", normaliser="option")
        course = run(workflow, task(THREE), {"nano": "A", "mini": "B", "large": "C"})
        assert course.end == Delegate(model_id="large", by="last_stage", instead=course.heard[1])
        assert course.calls == ("nano", "mini", "large")

    def test_a_last_model_that_has_answered_is_not_asked_again(self):
        workflow = Agree(last="large", normaliser="option")
        course = run(workflow, task(THREE), {"nano": "A", "mini": "B", "large": "C"})
        assert course.calls == ("nano", "mini", "large")
        assert course.served.text == "C"

    def test_without_a_last_model_most_win_and_of_equals_the_best_one(self):
        course = run(
            Agree(normaliser="option"), task(THREE), {"nano": "A", "mini": "B", "large": "C"}
        )
        assert course.served.model_id == "large"
        assert course.end.by == "most"

    def test_nobody_more_is_asked_once_a_quorum_is_out_of_reach(self):
        workflow = Agree(quorum=3, first=2, normaliser="option")
        course = run(workflow, task(THREE), {"nano": "A", "mini": "B", "large": "C"})
        assert course.calls == ("nano", "mini")

    def test_answers_that_say_nothing_do_not_agree(self):
        said = {"nano": "I cannot tell.", "mini": "I cannot tell.", "large": "C"}
        course = run(Agree(normaliser="option"), task(THREE), said)
        assert course.served.text == "C"

    def test_failures_are_no_answers(self):
        course = run(Agree(normaliser="option"), task(THREE), {"nano": "A"})
        assert course.served.text == "A"
        course = run(Agree(normaliser="option"), task(THREE), {})
        assert isinstance(course.end, Delegate)
        assert course.served is None

    def test_a_ceiling_on_calls_leaves_the_best_answer_at_hand(self):
        said = {"nano": "A", "mini": "B", "large": "C"}
        course = run(Agree(normaliser="option"), task(THREE, room=Room(calls=2)), said)
        assert course.calls == ("nano", "mini")
        assert course.served.text == "B"

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"models": ["a", "b"], "quorum": 3}, "2 models can never be 3"),
            ({"models": ["a", "a"]}, "twice"),
            ({"quorum": 1}, "quorum"),
            ({"normaliser": "guess"}, "normaliser"),
        ],
    )
    def test_what_cannot_work_is_refused(self, options, says):
        with pytest.raises(RoutingConfigError, match=says):
            build(Agree, options, noun="workflow 'agree'")

    def test_a_pool_of_one_cannot_agree(self):
        assert Agree().doubts(["nano"]) == ["1 candidates can never be 2 that agree"]
        assert Agree().doubts(["nano", "mini"]) == []


class TestBestOf:
    def test_samples_of_one_model_are_asked_for_together_and_the_vote_serves(self):
        said = {"nano": lambda step: "AABAC"[sample_of(step)]}
        course = run(BestOf(model="nano", n=5, normaliser="option"), task(THREE), said)
        assert course.rounds == (("nano",) * 5,)
        assert course.served.text == "A"
        assert course.end.score == pytest.approx(3 / 5)

    def test_the_judge_grades_all_at_the_same_time_and_the_best_grade_serves(self):
        grades = {"one": "2", "two": "5", "three": "4"}

        def judge(step):
            text = question_text(step)
            return next(grade for word, grade in grades.items() if f"\n{word}\n" in text)

        said = {"nano": lambda step: list(grades)[sample_of(step)], "judge": judge}
        request = task(THREE)
        course = run(BestOf(model="nano", chooser=JUDGED), request, said)
        assert course.rounds == (("nano",) * 3, ("judge",) * 3)
        assert course.served.text == "two"
        assert [each.accepted for each in request.verdicts] == [False, True, False]

    def test_without_a_reply_of_the_judge_the_best_model_serves(self):
        workflow = BestOf(models=("nano", "mini"), chooser=JUDGED)
        course = run(workflow, task(THREE), {"nano": "A", "mini": "B"})
        assert course.served.text == "B"

    def test_it_samples_what_single_choice_would_take(self):
        course = run(BestOf(n=2), task(THREE, model_id="mini"), {"mini": "A"})
        assert course.calls == ("mini", "mini")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"models": ["a"]}, "best of one"),
            ({"models": ["a", "a"]}, "twice"),
            ({"models": ["a", "b"], "model": "a"}, "not both"),
            ({"n": 1}, "n"),
            ({"chooser": {"kind": "dice"}}, "unknown acceptor 'dice'"),
        ],
    )
    def test_what_cannot_work_is_refused(self, options, says):
        with pytest.raises(RoutingConfigError, match=says):
            build(BestOf, options, noun="workflow 'best-of'")
