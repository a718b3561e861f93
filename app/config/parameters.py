"""What models refuse of a request or call otherwise: a table, and the operator's word over it."""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.config.fields import ConflictError, Name, Strict, Text
from app.config.matching import first_that_fits
from app.config.problems import parse_file

TABLE_PATH = Path(__file__).with_name("model_parameters.yaml")

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Thinking = Literal["adaptive", "enabled", "disabled"]
Scalar = bool | int | float | str | None


class DropConfig(Strict):
    """When a field is left out; without more, whenever it is there."""

    keep: tuple[Scalar, ...] = ()
    """Values that are taken all the same."""
    beside: dict[Name, tuple[Scalar, ...]] = Field(default_factory=dict)
    """Only beside one of these fields, with one of the values; an empty list is any."""


class RulesConfig(Strict):
    """What has to be done to a request before a model takes it."""

    drop: dict[Name, DropConfig] = Field(default_factory=dict)
    """Fields that it refuses: they are left out, and the answer is given without them."""
    rename: dict[Name, Name] = Field(default_factory=dict)
    """Fields that it calls otherwise."""
    efforts: tuple[Effort, ...] | None = None
    """The levels of `reasoning_effort` that it knows: another becomes the nearest one, the more of
    two. Without any the field is left out; left out, nothing is changed."""
    thinking: tuple[Thinking, ...] | None = None
    """The ways in which it takes Anthropic's `thinking`: `enabled` becomes `adaptive`, whatever
    else it does not know is left out. Without this nothing is changed."""
    roles: dict[Literal["developer", "system"], Literal["system", "user"]] = Field(
        default_factory=dict
    )
    """Roles of messages that it calls otherwise."""
    documents: Literal["field", "words"] | None = None
    """Under a policy that routes by documents: `words` (the default) tells those that a request
    declares before its newest user turn, `field` leaves them in the field `documents`."""
    json_object: Literal["mode", "words"] | None = None
    """`words` asks for `response_format: json_object` in a system message, where there is no such
    mode."""

    @model_validator(mode="after")
    def _keeps_what_a_request_is(self) -> Self:
        for field in ("drop", "rename"):
            if kept := {"messages", "model", "stream"} & set(getattr(self, field)):
                raise ConflictError((field,), f"{', '.join(sorted(kept))} cannot be left out")
        return self


class ParametersConfig(RulesConfig):
    """What a model refuses or calls otherwise, besides what the shipped table knows of it."""

    known: bool = True
    """Whether the shipped table is asked at all."""
    like: Text | None = None
    """The name that it is asked for, where the upstream's own says nothing; such as `gpt-5.1`."""
    keep: tuple[Name, ...] = ()
    """Fields that it takes as they are, whatever the table says."""


class Family(RulesConfig):
    """Models that refuse the same."""

    match: Annotated[tuple[Text, ...], Field(min_length=1)]
    hosts: tuple[Text, ...] = ()
    """Only at these servers; left out, wherever they are served."""
    source: Text
    date: dt.date


class ParameterTable(Strict):
    """What is known of models; the first family that fits counts."""

    families: tuple[Family, ...]

    def family(self, model: str, *, host: str) -> Family | None:
        """Return the family of a model, by the upstream's name for it and the upstream's host."""
        here = (each for each in self.families if not each.hosts or host.endswith(each.hosts))
        return first_that_fits(model, here)


@cache
def shipped_table() -> ParameterTable:
    """Read the table that is shipped."""
    table, _ = parse_file(TABLE_PATH, ParameterTable)
    return table


def rules_for(
    model: str, *, host: str, own: ParametersConfig | None, table: ParameterTable
) -> RulesConfig:
    """Return what has to be done for a model: the table's word, and the operator's over it."""
    own = own or ParametersConfig()
    family = table.family(own.like or model, host=host) if own.known else None
    base = family or RulesConfig()
    dropped = {name: rule for name, rule in base.drop.items() if name not in own.keep}
    renamed = {name: other for name, other in base.rename.items() if name not in own.keep}
    efforts = None if "reasoning_effort" in own.keep else base.efforts
    thinking = None if "thinking" in own.keep else base.thinking
    roles = {} if "messages" in own.keep else base.roles
    return RulesConfig(
        drop={**dropped, **own.drop},
        rename={**renamed, **own.rename},
        efforts=efforts if own.efforts is None else own.efforts,
        thinking=thinking if own.thinking is None else own.thinking,
        roles={**roles, **own.roles},
        documents=own.documents or base.documents,
        json_object=own.json_object or base.json_object,
    )
