"""How hard a Gemini model shall think.

References
----------
Google, "Gemini thinking" and "OpenAI compatibility", ai.google.dev: the models of 2.5 take a budget
in tokens, those from 3 on a level, and a table says which effort is which.
"""

import re
from typing import Any

from app.providers.generate_content.turns import VENDOR
from app.providers.translation.fields import Fields, one_of, unsupported_field, value

_BUDGETS_TOKENS = {
    "none": 0,
    "minimal": 1_024,
    "low": 1_024,
    "medium": 8_192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
_LEVELS = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_TAKES_BUDGETS = re.compile(r"gemini-(?:1|2)\b")


def signs_calls(model: str) -> bool:
    """Whether a model refuses tool calls that come back without their signature."""
    return _TAKES_BUDGETS.search(model) is None


def thinking_config(fields: Fields, model: str) -> dict[str, Any] | None:
    """Return what the client says of thinking; None where it leaves it to the model.

    Of several ways to say it Google's own wins over Anthropic's, and that over OpenAI's.

    Raises
    ------
    UpstreamUnsupportedError
        For an effort that there is none like.
    """
    own = google_fields(fields).get("thinking_config")
    if isinstance(own, dict):
        return {_camel(key): each for key, each in own.items()}
    thinking = value(fields, "thinking")
    if isinstance(thinking, dict):
        return _as_anthropic_has_it(thinking, model)
    effort = value(fields, "reasoning_effort")
    return None if effort is None else _of_effort(effort, model)


def google_fields(fields: Fields) -> dict[str, Any]:
    """Return what clients of Google's OpenAI-compatible API send beside OpenAI's fields.

    Raises
    ------
    UpstreamUnsupportedError
        If there is anything in it that is not known here.
    """
    extra = value(fields, "extra_body")
    if extra is None:
        return {}
    google = extra.get("google") if isinstance(extra, dict) else None
    known = {"cached_content", "thinking_config"}
    if not isinstance(google, dict) or len(extra) > 1 or not known.issuperset(google):
        raise unsupported_field(
            f"extra_body holds more for {VENDOR} than google.thinking_config and "
            "google.cached_content",
            "extra_body",
        )
    return google


def _as_anthropic_has_it(thinking: dict[str, Any], model: str) -> dict[str, Any]:
    if thinking.get("type") == "disabled":
        return _of_effort("none", model)
    told: dict[str, Any] = {"includeThoughts": True}
    budget = thinking.get("budget_tokens")
    if isinstance(budget, int | float):
        told["thinkingBudget"] = int(budget)
    return told


def _of_effort(effort: object, model: str) -> dict[str, Any]:
    level = one_of(_LEVELS, effort, "reasoning_effort", vendor=VENDOR)
    told: dict[str, Any] = {} if effort == "none" else {"includeThoughts": True}
    if _TAKES_BUDGETS.search(model):
        return {**told, "thinkingBudget": _BUDGETS_TOKENS[str(effort)]}
    return {**told, "thinkingLevel": level}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
