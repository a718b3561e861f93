"""The section `aliases`: further names that clients may send, and a knob that hangs on a name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_args

from pydantic import StringConstraints

from app.config.fields import ConflictError, Place, Words, choices
from app.config.matching import fits
from app.config.models import MARK, ModelConfig
from app.config.routing import PRESETS, PolicyConfig, RouterConfig
from routers.artifact.thresholds import StoredName

Alias = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9*][A-Za-z0-9._/:@*-]{0,127}$"),
    Words("a name of letters, digits, `.`, `_`, `/`, `:`, `@` and `-`; `*` stands for anything"),
]
AUTO = "auto"
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+(?:[eE]-?[0-9]+)?")
_MAX_CHARS = 256
"""No alias stands for a longer name."""


def is_routing_name(name: str) -> bool:
    """Return whether a name is one of the routing's own, which nothing else may take."""
    return name == AUTO or name.startswith((f"{AUTO}:", "router-"))


def knob_in(text: str) -> float | None:
    """Return the position of the knob that a text means, out of range or not; None for none."""
    if text in PRESETS:
        return PRESETS[text]
    return float(text) if _NUMBER.fullmatch(text) else None


class AutoName(NamedTuple):
    """A name of the form `auto[:<policy>][:<knob>]` taken apart."""

    policy: str | None
    knob: float | None


def read_auto_name(name: str, policies: Mapping[str, object]) -> AutoName | None:
    """Take a name apart that is `auto` or begins with `auto:`; None where nothing is meant by it.

    A policy wins over a preset of the same name.
    """
    _, *parts = name.split(":")
    policy = parts.pop(0) if parts and parts[0] in policies else None
    if not parts:
        return AutoName(policy, None)
    knob = knob_in(parts[0]) if len(parts) == 1 else None
    return None if knob is None else AutoName(policy, knob)


class Target(NamedTuple):
    """What an alias stands for.

    Attributes
    ----------
    name
        A model, a name of the routing, or, in a configuration, another alias.
    knob
        What the client hung on the alias (`gpt-4o:0.7`), as it was written.
    """

    name: str
    knob: str | None = None


@dataclass(frozen=True, slots=True)
class Aliases:
    """Names and patterns, and what each stands for.

    Attributes
    ----------
    patterns
        Those that say most about a name come first.
    """

    exact: Mapping[str, str]
    patterns: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, aliases: Mapping[str, str]) -> "Aliases":
        """Sort what is configured."""
        patterns = [each for each in aliases.items() if "*" in each[0]]
        patterns.sort(key=lambda each: len(each[0]) - each[0].count("*"), reverse=True)
        exact = {name: target for name, target in aliases.items() if "*" not in name}
        return cls(exact, tuple(patterns))

    def __bool__(self) -> bool:
        return bool(self.exact or self.patterns)

    def target(self, name: str) -> Target | None:
        """Return what a name stands for; names of models and of the routing come before.

        A pattern takes a knob only as a preset or with a decimal point: names of versions may end
        in `:0` or `:1`.
        """
        if not self or len(name) > _MAX_CHARS:
            return None
        if name in self.exact:
            return Target(self.exact[name])
        base, _, hung = name.rpartition(":")
        has_knob = knob_in(hung) is not None
        if has_knob and base in self.exact:
            return Target(self.exact[base], hung)
        if has_knob and base and (hung in PRESETS or "." in hung):
            found = self._matched(base)
            if found is not None:
                return Target(found, hung)
        found = self._matched(name)
        return None if found is None else Target(found)

    def _matched(self, name: str) -> str | None:
        return next((target for pattern, target in self.patterns if fits(name, pattern)), None)


def resolved_aliases(
    aliases: Mapping[str, str],
    models: Mapping[str, ModelConfig],
    policies: Mapping[str, PolicyConfig],
    routers: Mapping[str, RouterConfig],
) -> Aliases:
    """Return the aliases, each with the model or the name of the routing that it comes to.

    Raises
    ------
    ConflictError
        If one hides a name that exists, comes to nothing, or to itself.
    """
    written = Aliases.of(aliases)
    ends = {}
    for alias in aliases:
        place = ("aliases", alias)
        if is_routing_name(alias):
            raise ConflictError(place, "the name is reserved for routing")
        if alias in models:
            raise ConflictError(
                place, "is one of `models`, which the alias would hide; rename one of the two"
            )
        ends[alias] = _end_of(alias, written, models, place)
        _check_end(ends[alias], models, policies, routers, (place, frozenset(aliases)))
    return Aliases.of(ends)


def _end_of(alias: str, aliases: Aliases, models: Mapping[str, ModelConfig], place: Place) -> str:
    """Follow an alias to what is none."""
    path, knob = [alias], None
    name = dict(aliases.patterns).get(alias) or aliases.exact[alias]
    while not (is_routing_name(name) or name.partition(MARK)[0] in models):
        if name in path:
            raise ConflictError(place, f"stands for itself: {' → '.join((*path, name))}")
        path.append(name)
        target = aliases.target(name)
        if target is None:
            break
        if target.name in path:
            raise ConflictError(place, f"stands for itself: {' → '.join((*path, target.name))}")
        if target.knob is not None:
            if knob is not None:
                raise ConflictError(place, f"sets the knob twice: {' → '.join(path)}")
            knob = target.knob
        name = target.name
    return name if knob is None else f"{name}:{knob}"


def _check_end(
    name: str,
    models: Mapping[str, ModelConfig],
    policies: Mapping[str, PolicyConfig],
    routers: Mapping[str, RouterConfig],
    where: tuple[Place, frozenset[str]],
) -> None:
    place, aliases = where
    if name.partition(MARK)[0] in models:
        return  # of a variant, the catalogue says whether there is one
    known = {*models, *aliases, *(f"{AUTO}:{policy}" for policy in policies)}
    if name.startswith("router-"):
        _check_threshold(name, routers, place)
        return
    if not is_routing_name(name) or not policies:
        known |= {AUTO} if policies else set()
        raise ConflictError(place, f"unknown name {name!r}; {choices(name, known)}")
    meant = read_auto_name(name, policies)
    if meant is None:
        raise ConflictError(
            place,
            f"{name!r} is none of `auto`, `auto:<policy>`, `auto:<knob>` and "
            f"`auto:<policy>:<knob>`; {choices(name, known)}",
        )
    if meant.knob is not None and meant.knob > 1:
        raise ConflictError(place, f"the knob in {name!r} must be a number from 0 to 1")


def _check_threshold(name: str, routers: Mapping[str, RouterConfig], place: Place) -> None:
    router, _, text = name.removeprefix("router-").partition("-")
    if router not in routers or routers[router].pair is None:
        pairs = [each for each, router in routers.items() if router.pair is not None]
        raise ConflictError(
            place, f"there is no router {router!r} with a pair; {choices(router, pairs)}"
        )
    if text in get_args(StoredName):
        return
    threshold = float(text) if _NUMBER.fullmatch(text) else None
    if threshold is None or threshold > 1:
        raise ConflictError(place, f"the threshold in {name!r} must be a number from 0 to 1")
