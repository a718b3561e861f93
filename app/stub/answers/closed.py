"""Answers of which only a few are possible: a grade, yes or no, a letter, a sum.

Models that are sure of such an answer agree on it; one that is not may say another.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from app.gateway.watch.canary_prompts import CANARY_PROMPTS
from app.stub.answers.prompt_values import Prompt
from app.stub.answers.sureness import sureness, uniform
from app.stub.tiers import TIERS, Tier

_ONE_DIGIT = re.compile(
    r"\b(?:one|single) digit\b|\b(?:rate|score|grade)\b[^.\n]{0,80}\b(?:from )?1 ?(?:to|-|–) ?5\b",  # noqa: RUF001
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(
    r"\b(?:answer|respond|reply)[^.\n]{0,40}\b(yes)\b[^.\n]{0,20}\b(no)\b", re.IGNORECASE
)
_ONE_OF = re.compile(
    r"\b(?:answer|respond|reply|choose|pick|classify|label)\b[^.\n]{0,60}\bone of(?: these)?[: ]+"
    r"((?:[\w-]+\s*(?:,\s*(?:or\s+)?|\s+or\s+)){1,9}[\w-]+)",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\b(?:letter|options?|choose|choices?|correct|which)\b", re.IGNORECASE)
_LETTERED = re.compile(r"^\s*\(?([A-J])[).:]\s+\S", re.MULTILINE)
_JUDGED = re.compile(r"<request-(\w+)>(.*)</request-\1>", re.DOTALL)
_BY_WHOM = re.compile(r"simulated answer from ([\w.-]+),")
_GRADES = ["1", "2", "3", "4", "5"]
_CANARIES = {each.prompt: each for each in CANARY_PROMPTS}
_NOT_KNOWN = "unknown"
_MAX_DIGITS = 30
_SURE_ENOUGH = 0.8  # never to err
_CALCULATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}


class Closed(NamedTuple):
    """An answer, how sure the model is of it, and what else it might have said."""

    text: str
    sure: float
    others: list[str]


def closed_answer(tier: Tier, prompt: str, texts: Sequence[str]) -> Closed | None:
    """Return the answer to a question of which only a few are possible; None for any other.

    Parameters
    ----------
    texts
        What says how to answer: of the system, and the prompt's end.
    """
    canary = _CANARIES.get(prompt)
    if canary is not None:
        is_able = tier.ability >= canary.hardness
        return Closed(canary.answer if is_able else _NOT_KNOWN, sureness(tier, prompt), [])
    if any(_ONE_DIGIT.search(text) for text in texts):
        return _grade(tier, prompt)
    options = _options(prompt, texts)
    if not options:
        return None
    sure = sureness(tier, prompt)
    right = options[int(uniform(prompt) * len(options))]
    others = [each for each in options if each != right]
    drawn = uniform(f"{tier.ability}\n{prompt}\nchosen")
    if sure > _SURE_ENOUGH or drawn < 0.4 + 0.6 * sure or not others:
        return Closed(right, sure, others)
    other = others[int(drawn * len(others))]
    return Closed(other, sure, [each for each in options if each != other])


def calculated(tier: Tier, prompt: str) -> str | None:
    """Return what a calculation in a prompt comes to, as the model has it; None without one."""
    expression = Prompt(prompt).text_for("expression", guess=False)
    if expression is None or len(expression) > _MAX_DIGITS:
        return None
    readable = re.sub("[x×]", "*", expression.replace("÷", "/").replace(",", ""))  # noqa: RUF001
    try:
        value = _value(ast.parse(readable.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None
    if not math.isfinite(value):
        return None
    # Small models are weak at large numbers.
    digits = sum(character.isdigit() for character in expression)
    if digits > 3 + 9 * tier.ability:
        value += 1 + int(uniform(f"{tier.ability}\n{prompt}") * 9)
    return f"{expression} = {value:.10g}"


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp) and type(node.op) in _CALCULATIONS:
        return _CALCULATIONS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    raise ValueError("no calculation")


def _grade(tier: Tier, prompt: str) -> Closed:
    """Grade a request, or an answer to one, by how sure its model would be."""
    judged = _JUDGED.search(prompt)
    asked = judged[2].strip() if judged else prompt
    by_whom = _BY_WHOM.search(prompt[judged.end() :] if judged else "")
    answering = TIERS.get(by_whom[1] if by_whom else "sim-small", tier)
    grade = _GRADES[min(4, int(5 * sureness(answering, asked)))]
    near = sorted(_GRADES, key=lambda each: abs(int(each) - int(grade)))
    return Closed(grade, 0.5 + tier.ability / 2, near[1:])


def _options(prompt: str, texts: Sequence[str]) -> list[str]:
    for text in texts:
        if found := _YES_OR_NO.search(text):
            return [found[1], found[2]]
        if found := _ONE_OF.search(text):
            return re.findall(r"(?!or\b)[\w-]+", found[1])
    lettered = _LETTERED.findall(prompt) if _CHOICE.search(prompt) else []
    return list(dict.fromkeys(lettered)) if len(lettered) > 1 else []
