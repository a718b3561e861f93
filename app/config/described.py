"""What every field means, read from the text below it in the source: one place says it."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from app.config.expected import annotations_of, without_none


@cache
def meanings_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the text below each field of a model, in one line; fields without one are left out.

    Pydantic could do so whenever a class is made, which costs every command a tenth of a second.
    """
    meanings: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if issubclass(part, BaseModel) and part is not BaseModel:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
            assert isinstance(tree, ast.ClassDef)  # noqa: S101  (it is the source of a class)
            meanings |= _described(tree.body)
    return meanings


def _described(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield field.target.id, " ".join(below.value.value.split())


def parts_of(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Return every part of a configuration with where it stands, `upstreams.<name>.timeouts`."""
    yield place, model
    for name, annotation in annotations_of(model).items():
        for inner, suffix in parts_in(annotation):
            yield from parts_of(inner, f"{place}.{name}{suffix}".lstrip("."))


def parts_in(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Return the parts in an annotation, and what stands between its name and them."""
    for each in without_none(annotation):
        bare = each
        while hasattr(bare, "__metadata__"):
            bare = get_args(bare)[0]
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            yield bare, suffix
        elif get_origin(bare) is dict:
            yield from parts_in(get_args(bare)[1], f"{suffix}.<name>")
        elif get_origin(bare) is tuple:
            yield from parts_in(get_args(bare)[0], f"{suffix}[]")
