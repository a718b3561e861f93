"""What is wrong with a value from outside, as pydantic found it: in one line, with its place."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from app.errors import InvalidRequestError


def first_problem(errors: Sequence[Any], *, skip: int = 0) -> tuple[str, str | None]:
    """Return what is wrong first, and the field that it is wrong with.

    Parameters
    ----------
    errors
        As `ValidationError.errors()` gives them.
    skip
        How many parts of a place are not the sender's: the framework's `body` is one.
    """
    problem = errors[0]
    message = str(problem["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in problem["loc"][skip:])
    if not where:
        # Fields that do not fit together have no place of their own; the error may name one.
        return message, (problem.get("ctx") or {}).get("field")
    return f"{where}: {message}", where


def invalid(error: ValidationError) -> InvalidRequestError:
    """Return the error that a client is told."""
    message, param = first_problem(error.errors())
    return InvalidRequestError(message, param=param)
