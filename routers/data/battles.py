"""Battles of two models as arenas publish them, made preferences of our own."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from routers.data.messages import read_messages
from routers.errors import DataError
from routers.files import shown_value
from routers.types import Role

_TIES = frozenset({"tie", "tie (bothbad)", "tie(bothbad)", "both_bad", "bothbad"})
_SIDES = ("model_a", "model_b")
_COLUMNS = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie"}
_ID_KEYS = ("query_id", "question_id", "id", "conversation_id")


def battle(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preference: `prompt`, `model_a`, `model_b`, `winner`, and `query_id` if it is told.

    The prompt is `prompt` (a text, or a list of turns, also written down as text), or what the
    user said in `conversation_a`. Turns are joined. Either `winner` names the side, or one of
    `winner_model_a`, `winner_model_b`, `winner_tie` is 1; where both were bad it is a tie.

    Raises
    ------
    DataError
        If a column is missing, or a battle has not exactly one result.
    """
    names = {}
    for side in _SIDES:
        if not isinstance(row.get(side), str) or not row[side]:
            raise DataError(f"{where}: {side!r} must be a text, got {shown_value(row.get(side))}")
        names[side] = row[side]
    found = {"prompt": _prompt(where, row), **names, "winner": _winner(where, row)}
    query_id = next((row[key] for key in _ID_KEYS if row.get(key) is not None), None)
    group = {key: row[key] for key in ("set", "benchmark") if row.get(key) is not None}
    return {**({} if query_id is None else {"query_id": query_id}), **found, **group}


def unlisted(text: str) -> str:
    """Return the text of a prompt that was written down as a list of its turns."""
    if not text.startswith("["):
        return text
    for parse in (json.loads, ast.literal_eval):
        try:
            turns = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns):
            return "\n\n".join(turns)
    return text


def _prompt(where: str, row: Mapping[str, Any]) -> str:
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt:
        return unlisted(prompt)
    if isinstance(prompt, list) and prompt and all(isinstance(turn, str) for turn in prompt):
        return "\n\n".join(prompt)
    if prompt is None and row.get("conversation_a") is not None:
        conversation = row["conversation_a"]
        if isinstance(conversation, str):
            try:
                conversation = json.loads(conversation)
            except (ValueError, RecursionError):
                raise DataError(f"{where}: 'conversation_a' is no JSON") from None
        said = read_messages(f"{where}: 'conversation_a'", conversation).messages
        asked = [message.text for message in said if message.role is Role.USER]
        if asked:
            return "\n\n".join(asked)
        raise DataError(f"{where}: nobody asks anything in 'conversation_a'")
    what = "is missing, and 'conversation_a' too" if prompt is None else "must be a text"
    raise DataError(f"{where}: 'prompt' {what}, got {shown_value(prompt)}")


def _winner(where: str, row: Mapping[str, Any]) -> str:
    if row.get("winner"):
        said = str(row["winner"]).strip().casefold()
        if said in _TIES:
            return "tie"
        if said in _SIDES:
            return said
        # Some publish the name of the winner.
        named = [side for side in _SIDES if row["winner"] == row[side]]
        if len(named) == 1:
            return named[0]
    won = [side for column, side in _COLUMNS.items() if _is_one(row.get(column))]
    if len(won) != 1:
        raise DataError(
            f"{where}: tells no winner: 'winner' is {shown_value(row.get('winner'))}; it must be "
            "one of model_a, model_b, tie"
        )
    return won[0]


def _is_one(value: object) -> bool:
    return value in (1, "1", "1.0", True, "True", "true")
