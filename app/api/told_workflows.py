"""What clients are told of several calls: headers, and the object of explanations."""

from collections.abc import Mapping
from typing import Any

from app.api.numbers import rounded, rounded_usd
from app.gateway.course import Course

Headers = list[tuple[bytes, bytes]]


def workflow_headers(course: Course, *, n_calls: int) -> Headers:
    """Return how several calls came to an answer.

    Parameters
    ----------
    n_calls
        Upstream calls so far.
    """
    if course.skipped is not None and not course.rounds:
        skipped = (b"x-route-workflow", b"skipped; " + course.skipped.encode())
        return [skipped, *_note_headers(course.notes)]
    headers = [
        (b"x-route-workflow", course.kind.encode()),
        (b"x-route-calls", b"%d" % n_calls),
    ]
    if course.rounds:
        called = ";".join(",".join(each) for each in course.rounds)
        headers.append((b"x-route-attempts", called.encode()))
    if course.accepted_by is not None:
        headers.append((b"x-route-accepted-by", course.accepted_by.encode()))
    if course.ceiling is not None:
        headers.append((b"x-route-ceiling", course.ceiling.encode()))
    return headers + _note_headers(course.notes)


def _note_headers(notes: Mapping[str, Any]) -> Headers:
    """Return what of a workflow's own notes has a header."""
    headers: Headers = []
    if "rounds" in notes:
        headers.append((b"x-route-rounds", b"%d" % notes["rounds"]))
    if "mode" in notes:
        headers.append((b"x-route-mode", str(notes["mode"]).encode()))
    if "agents" in notes:
        headers.append((b"x-route-agents", b"%d" % len(notes["agents"])))
    return headers


def guard_headers(course: Course) -> Headers:
    """Return what a guard said of the request, where there is one."""
    guarding = None if course.task is None else course.task.guarding
    if guarding is None or guarding.verdict is None:
        return []
    verdict, found = guarding.verdict, {None: b"unknown", True: b"harmful", False: b"harmless"}
    return [(b"x-route-guard", verdict.by.encode() + b"; " + found[verdict.harmful])]


def _guard_object(course: Course) -> dict[str, Any] | None:
    guarding = None if course.task is None else course.task.guarding
    if guarding is None or guarding.verdict is None:
        return None
    verdict = guarding.verdict
    return {
        "by": verdict.by,
        "harmful": verdict.harmful,
        "score": rounded(verdict.score, 6),
        "why": verdict.why,
        "models": None if guarding.models is None else sorted(guarding.models),
        "single_choice": guarding.single,
    }


def workflow_object(course: Course | None) -> dict[str, Any] | None:
    """Return how a workflow went as JSON-ready values, where the policy has one."""
    if course is None:
        return None
    return {
        "kind": course.kind,
        "skipped": course.skipped,
        "begins_with": list(course.begins_with),
        "rounds": [list(each) for each in course.rounds],
        "judged": [
            {
                "model": each.model_id,
                "accepted": each.accepted,
                "by": each.by,
                "score": rounded(each.score, 6),
                "why": each.why,
                "predicted_quality": rounded(each.predicted_quality, 4),
                "output_tokens": rounded(each.output_tokens, 1),
                "chars": each.chars,
                "cost_usd": rounded_usd(each.cost_usd),
                "ms": None if each.took_s is None else round(each.took_s * 1e3, 3),
            }
            for each in course.judged
        ],
        "guard": _guard_object(course),
        "notes": {**course.notes},
        "trace": [] if course.task is None else list(course.task.trace),
        "accepted_by": course.accepted_by,
        "ceiling": course.ceiling,
        "held_ms": None if course.held_s is None else round(course.held_s * 1e3, 3),
    }
