"""Fitted workflows in front of models that have other names than in the training data."""

from routers.artifact.renamed_workflow import RenamedWorkflow
from routers.workflows.agree import Agree
from routers.workflows.cascade import Cascade
from routers.workflows.contextual_cascade import ContextualCascade
from tests.support.tasks import candidate, run, task

NAMES = {"our-nano": "nano", "our-mini": "mini", "our-large": "large"}
OURS = {"our-nano": 1e-4, "our-mini": 5e-4, "our-large": 1e-2}
SAID = {"our-nano": "A", "our-mini": "B", "our-large": "C"}


def test_models_are_called_and_told_by_the_names_of_whoever_asks():
    agree = Agree(models=("nano", "mini"), last="large", normaliser="option")
    request = task(OURS)
    course = run(RenamedWorkflow(agree, NAMES), request, SAID)
    assert course.calls == ("our-nano", "our-mini", "our-large")
    assert course.end.instead.model_id == "our-mini"
    agreed = run(RenamedWorkflow(agree, NAMES), request, {**SAID, "our-mini": "A"})
    assert agreed.served.model_id == "our-mini"
    assert [each.answer.model_id for each in request.verdicts] == ["our-nano", "our-mini"]


def test_what_is_asked_of_others_keeps_their_names():
    cascade = Cascade(stages=("nano", "large"), acceptor={"kind": "judge", "model": "judge"})
    renamed = RenamedWorkflow(cascade, NAMES)
    course = run(renamed, task(OURS), {**SAID, "judge": "1"})
    assert course.calls == ("our-nano", "judge", "our-large")
    assert renamed.asks(list(NAMES)) == ("judge",)
    assert renamed.doubts(list(NAMES)) == []
    assert (renamed.kind, renamed.heeds_knob) == ("cascade", False)


def test_of_two_models_with_one_name_the_cheaper_one_stands_for_it():
    names = {"here": "nano", "there": "nano", "our-mini": "mini"}
    request = task(
        [
            candidate("here", cost_usd=2e-4),
            candidate("there", cost_usd=1e-4),
            candidate("our-mini", cost_usd=1e-3),
        ]
    )
    course = run(
        RenamedWorkflow(Agree(normaliser="option"), names),
        request,
        dict.fromkeys(names, "A"),
    )
    assert course.calls == ("there", "our-mini")


def test_a_workflow_learns_by_its_own_names():
    options = {
        "candidates": ("nano", "mini", "large"),
        "verifier": {"kind": "judge", "model": "judge", "auc": 0.8},
    }
    plain, inner = ContextualCascade(**options), ContextualCascade(**options)
    renamed = RenamedWorkflow(inner, NAMES)
    assert renamed.learns_online
    for workflow, names in ((plain, {}), (renamed, {name: ours for ours, name in NAMES.items()})):
        request = task(
            {
                names.get(each, each): usd
                for each, usd in zip(NAMES.values(), OURS.values(), strict=True)
            }
        )
        said = {names.get(name, name): "A" for name in NAMES.values()}
        run(workflow, request, {**said, "judge": "1"})
        workflow.absorb(workflow.lesson(request))
    believed = task(dict(zip(NAMES.values(), OURS.values(), strict=True)))
    assert inner.believe(believed).mean.tolist() == plain.believe(believed).mean.tolist()
    renamed.forget()
    assert inner.believe(believed).mean.tolist() != plain.believe(believed).mean.tolist()


def test_a_workflow_that_does_not_learn_is_taught_nothing():
    renamed = RenamedWorkflow(Agree(normaliser="option"), NAMES)
    assert not renamed.learns_online
    assert renamed.lesson(task(OURS)) is None
