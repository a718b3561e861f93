"""Have workflows that learn while they serve learn from the requests that they answered."""

from app.gateway.course import Course
from app.gateway.request import RouteRequest
from routers.workflows.learning.base import OnlineWorkflow


def teach(request: RouteRequest, course: Course | None) -> None:
    """Have a request's workflow absorb what the verdicts on its answers teach.

    What it believes is in the memory of this process: it begins with what was fitted.
    """
    if course is None or course.task is None or request.policy is None:
        return
    rule = request.policy.workflow
    if rule is None or not isinstance(rule.workflow, OnlineWorkflow):
        return
    if rule.workflow.learns_online:
        lesson = rule.workflow.lesson(course.task)
        if lesson is not None:
            rule.workflow.absorb(lesson)
