"""A request told such that a model takes it: what it refuses left out, renamed or mapped.

Only what a rule says is touched; everything else passes as the bytes it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.paths import CHAT_COMPLETIONS
from app.wire.body import Fields
from app.wire.chat_changes import EFFORT, FORMAT, ONE_CALL, SAMPLING, THINKING, ChatChange, Scalar
from app.wire.details import with_detail
from app.wire.parameter_changes import CHANGES
from app.wire.prompts import SystemPrompt, with_prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """When a field is left out.

    Attributes
    ----------
    keep
        Values that are taken all the same.
    beside
        It is left out only beside one of these fields, with one of the values; none are any.
    """

    keep: tuple[Scalar, ...] = ()
    beside: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRules:
    """What has to be done to a request before a model takes it.

    Attributes
    ----------
    fixed
        Fields that are set whatever the client says; a limit of the answer only where it has none.
    drop
        Fields that are left out.
    rename
        Fields that are called otherwise; where both are there, the new name counts.
    efforts
        The levels of `reasoning_effort` that it knows; others become the nearest. None where
        nothing is known of it; without any, the field is left out.
    thinking
        The ways in which Anthropic's `thinking` may be asked for; another becomes one of them, or
        is left out. None where nothing is known of it.
    thinks_without_sampling
        Whether a model that thinks takes no sampling.
    roles
        Roles of messages that are called otherwise.
    json_in_words
        Whether `response_format: json_object` is asked for in a system message instead.
    holds_to_one_call
        Whether `parallel_tool_calls: false` is held to by the gateway, since the upstream cannot
        be told.
    prompt
        What the model is told besides the client's own system prompt.
    detail
        At which pictures are looked at whose detail the client leaves open.
    """

    fixed: Mapping[str, bytes] = field(default_factory=dict)
    drop: Mapping[str, Drop] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    efforts: tuple[str, ...] | None = None
    thinking: tuple[str, ...] | None = None
    thinks_without_sampling: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    json_in_words: bool = False
    holds_to_one_call: bool = False
    prompt: SystemPrompt | None = None
    detail: str | None = None
    _may_touch: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)
    """By dialect the keys that something may be done to: most requests have none of them."""

    def __post_init__(self) -> None:
        named = {*self.drop, *self.rename}
        if self.efforts is not None:
            named.add(EFFORT)
        if self.json_in_words:
            named.add(FORMAT)
        if self.thinking is not None:
            named.add(THINKING)
        if self.holds_to_one_call:
            named.add(ONE_CALL)
        if self.thinks_without_sampling:
            named.update(SAMPLING)
        touched = {
            dialect: frozenset({change.top(name) for name in named} | set(change.besides(named)))
            for dialect, change in CHANGES.items()
        }
        object.__setattr__(self, "_may_touch", touched)

    def __bool__(self) -> bool:
        return self is not NO_RULES and self != NO_RULES

    @property
    def of_a_variant(self) -> bool:
        """Whether a request has to be told otherwise, or it is none to this variant of a model."""
        return bool(self.fixed) or self.prompt is not None or self.detail is not None

    @property
    def refused(self) -> frozenset[str]:
        """The fields that never have an effect."""
        always = {name for name, rule in self.drop.items() if not rule.beside}
        return frozenset(always | ({EFFORT} if self.efforts == () else set()))

    def apply(
        self, fields: Fields, *, dialect: str = CHAT_COMPLETIONS, every_detail: bool = False
    ) -> tuple[Fields, tuple[str, ...]]:
        """Return the fields to send, and what was changed of them, in words for a header.

        Parameters
        ----------
        dialect
            In which they are written.
        every_detail
            Whether `detail` holds for pictures too of which the client names another.
        """
        may_touch = self._may_touch.get(dialect)
        if may_touch is None:
            return fields, ()
        told: tuple[str, ...] = ()
        if self.prompt is not None:
            fields = with_prompt(fields, self.prompt, dialect=dialect)
            told += (f"prompt={self.prompt.name}",)
        if self.detail is not None:
            fields, n = with_detail(fields, self.detail, dialect=dialect, every=every_detail)
            told += (f"detail={self.detail} of {n}",) if n else ()
        if not self.fixed and not self.roles and may_touch.isdisjoint(fields):
            return fields, told
        changed = CHANGES[dialect](fields)
        for name, value in self.fixed.items():
            changed.fix(name, value)
        self._leave_out(changed)
        self._call_otherwise(changed)
        if self.fixed:
            changed.fit()
        return changed.fields, (*told, *changed.told)

    def _leave_out(self, changed: ChatChange) -> None:
        if self.efforts is not None:
            changed.map_effort(self.efforts)
        if self.thinking is not None and THINKING in changed.fields:
            changed.map_thinking(self.thinking)
        if self.thinks_without_sampling:
            changed.drop_sampling_beside_thinking()
        for name, rule in self.drop.items():
            changed.drop(name, keep=rule.keep, beside=rule.beside)

    def _call_otherwise(self, changed: ChatChange) -> None:
        for name, other in self.rename.items():
            changed.rename(name, other)
        if self.json_in_words and changed.top(FORMAT) in changed.fields:
            changed.ask_for_json()
        if self.holds_to_one_call:
            changed.tell_of_one_call()
        if self.roles:
            changed.rename_roles(self.roles)


NO_RULES = ParameterRules()
