"""What a request may want of models besides quality and price, and what is known of models for it.

Two kinds: goals are weighed, with a weight each; demands are met or not. People write both as
flags, `size=1, recency=.5, security=high`, in whatever place they may be written.
"""

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MAX_WEIGHT = 10.0
"""The most that a goal may weigh: ten times what lies between the worst and the best answer."""

MAX_FLAGS_CHARS = 500
"""How long flags may be as text."""


class Goal(StrEnum):
    """What is weighed; each costs a model from 0 (nothing better) to 1."""

    SIZE = "size"
    """Few parameters."""
    RECENCY = "recency"
    """Released lately."""
    LICENCE = "licence"
    """Free to use."""
    VERBOSITY = "verbosity"
    """Short answers."""
    READABILITY = "readability"
    """Answers that are easy to read."""


class Security(StrEnum):
    """How well a model is kept where it is served, by the operator's word; from low to high."""

    BASIC = "basic"
    STANDARD = "standard"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """Its place, from the lowest."""
        return list(Security).index(self)


SECURITY = "security"
FLAGS = (*(goal.value for goal in Goal), SECURITY)
"""What flags are called."""

PROPRIETARY = "proprietary"
"""The licence of a model whose weights nobody gets."""

PERMISSIVE = frozenset(
    {"apache-2.0", "mit", "mit-0", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "cc0-1.0"}
)
"""Licences that ask for no more than a mention."""

_OPEN_WORD, _PERMISSIVE_WORD = "open", "permissive"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
_PAIR = re.compile(r"\s*([A-Za-z_-]+)\s*(?:=\s*([^\s,;=]+)\s*)?")
_SPELLED = {"license": Goal.LICENCE.value, "secure": SECURITY}
_IN_WORDS = {
    "smallest": Goal.SIZE,
    "newest": Goal.RECENCY,
    "latest": Goal.RECENCY,
    "shortest": Goal.VERBOSITY,
    "concise": Goal.VERBOSITY,
    "readable": Goal.READABILITY,
}
"""What a goal of the weight 1 is also called, as in `smallest model`."""


class WishError(ValueError):
    """Flags that cannot be understood; the message says what can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is known of a model for wishes; None where nobody knows.

    Attributes
    ----------
    parameters_b
        Billions of parameters.
    licence
        An SPDX name in lower case, the licence's own name, or `proprietary`.
    readability
        Mean Flesch reading ease of its answers.
    """

    parameters_b: float | None = None
    released: dt.date | None = None
    licence: str | None = None
    readability: float | None = None
    security: Security | None = None


NO_TRAITS = Traits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What one request, or one policy, wants of models besides quality and price.

    Attributes
    ----------
    weights
        What goals weigh, in units of quality; by the order of `Goal`, each above 0.
    security
        The least that will do.
    licence
        `open` (weights that anybody gets), `permissive`, or the name of a licence.
    """

    weights: tuple[tuple[Goal, float], ...] = ()
    security: Security | None = None
    licence: str | None = None

    @property
    def demands(self) -> bool:
        """Whether there are models that will not do."""
        return self.security is not None or self.licence is not None

    @property
    def told(self) -> str:
        """The wishes as flags: reading these gives the same wishes."""
        flags = [f"{goal.value}={weight:g}" for goal, weight in self.weights]
        if self.licence is not None:
            flags.append(f"{Goal.LICENCE.value}={self.licence}")
        if self.security is not None:
            flags.append(f"{SECURITY}={self.security.value}")
        return ", ".join(flags)

    def unmet(self, traits: Traits) -> str | None:
        """Return why a model will not do; None where it does. What nobody knows does not do."""
        if self.security is not None and (
            traits.security is None or traits.security.rank < self.security.rank
        ):
            known = traits.security or "not known"
            return f"security={self.security} is asked for, its security is {known}"
        if self.licence is not None and not _licensed(traits.licence, self.licence):
            known = traits.licence or "not known"
            return f"licence={self.licence} is asked for, its licence is {known}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Wishes as somebody wrote them in one place, where 0 is a word, too: it takes a goal back."""

    weights: Mapping[Goal, float] = field(default_factory=dict)
    securities: frozenset[Security] = frozenset()
    licences: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Which flags are written."""
        named = {goal.value for goal in self.weights}
        named |= {SECURITY} if self.securities else set()
        return frozenset(named | ({Goal.LICENCE.value} if self.licences else set()))

    def over(self, other: "Flags") -> "Flags":
        """Return both: these weights come before those of `other`, demands add up."""
        return Flags(
            weights={**other.weights, **self.weights},
            securities=self.securities | other.securities,
            licences=self.licences | other.licences,
        )

    def wishes(self, most: Mapping[Goal, float] | None = None) -> Wishes | None:
        """Return what they come to; None where that is nothing.

        Parameters
        ----------
        most
            What goals may weigh at most.

        Raises
        ------
        WishError
            If no model can have both of two licences.
        """
        limits = most or {}
        weights = tuple(
            (goal, min(self.weights[goal], limits.get(goal, MAX_WEIGHT)))
            for goal in Goal
            if min(self.weights.get(goal, 0.0), limits.get(goal, MAX_WEIGHT)) > 0
        )
        if not (weights or self.securities or self.licences):
            return None
        return Wishes(
            weights=weights,
            security=max(self.securities, key=lambda each: each.rank, default=None),
            licence=_narrowest(self.licences),
        )


NO_FLAGS = Flags()


def parse_flags(text: str) -> Flags:
    """Read flags as they are written in a header: `size=1, recency=.5, security=high`.

    A goal without a number weighs 1; `smallest model`, `newest`, `concise` and their like are
    goals, too. `licence` takes a number (a goal) or a word (a demand).

    Raises
    ------
    WishError
        For a flag that there is not, a value that is none, or a flag that stands there twice.
    """
    if len(text) > MAX_FLAGS_CHARS:
        raise WishError(f"flags are at most {MAX_FLAGS_CHARS} characters long")
    found: dict[str, object] = {}
    for part in re.split("[,;]", text):
        words = part.split()
        spoken = [each.lower() for each in words if each.lower() != "model"]
        if len(spoken) == 1 and spoken[0] in _IN_WORDS:
            _put(found, _IN_WORDS[spoken[0]].value, 1.0)
            continue
        match = _PAIR.fullmatch(part)
        if match is None:
            shown = part.strip()[:60]
            if not shown and text.strip():
                raise WishError("there is nothing between two commas")
            raise WishError(f"{shown!r} is no flag; {_known()}")
        name, value = match.groups()
        if value is None and spoken not in (["security"], ["secure"]):
            value = "1"
        _put(found, name, "" if value is None else value)
    return flags_of(found)


def flags_of(given: Mapping[str, object]) -> Flags:
    """Read flags that are an object: names and numbers, or words; None says nothing.

    Raises
    ------
    WishError
        As `parse_flags`.
    """
    read: dict[str, object] = {}
    for name, value in given.items():
        if value is not None:
            _put(read, name, value)
    weights: dict[Goal, float] = {}
    securities: frozenset[Security] = frozenset()
    licences: frozenset[str] = frozenset()
    for name, value in read.items():
        if name == SECURITY:
            securities = frozenset({_security(value)})
        elif name == Goal.LICENCE and isinstance(value, str) and _number(value) is None:
            licences = frozenset({_licence_word(value)})
        else:
            weights[Goal(name)] = _weight(name, value)
    return Flags(weights=weights, securities=securities, licences=licences)


def is_permissive(licence: str) -> bool:
    """Return whether a licence asks for no more than a mention."""
    return licence in PERMISSIVE


def _put(found: dict[str, object], name: str, value: object) -> None:
    plain = _SPELLED.get(name.lower(), name.lower())
    if plain not in FLAGS:
        raise WishError(f"unknown flag {name[:60]!r}; {_known()}")
    if plain in found:
        raise WishError(f"the flag {plain} is given twice, and two may contradict each other")
    found[plain] = value


def _weight(name: str, value: object) -> float:
    number = _number(value)
    if number is None or not 0 <= number <= MAX_WEIGHT:
        word = ", or open, permissive or the name of one" if name == Goal.LICENCE else ""
        raise WishError(
            f"the flag {name} must be a number from 0 to {MAX_WEIGHT:g}{word}, not {_shown(value)}"
        )
    return number + 0.0


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # which Python takes for a number, and nobody else
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _security(value: object) -> Security:
    if isinstance(value, str) and value.lower() in tuple(Security):
        return Security(value.lower())
    raise WishError(
        f"the flag {SECURITY} must be one of {', '.join(Security)}, not {_shown(value)}: it is met "
        "or not, and has no weight"
    )


def _licence_word(value: str) -> str:
    word = value.strip().lower()
    if not _LICENCE.fullmatch(word):
        raise WishError(
            f"the flag licence must be a number, open, permissive or the name of one, not "
            f"{_shown(value)}"
        )
    return word


def _licensed(licence: str | None, wanted: str) -> bool:
    if licence is None:
        return False
    if wanted == _OPEN_WORD:
        return licence != PROPRIETARY
    return is_permissive(licence) if wanted == _PERMISSIVE_WORD else licence == wanted


def _narrowest(licences: frozenset[str]) -> str | None:
    """Return the one demand that all of them come to."""
    names = sorted(licences - {_OPEN_WORD, _PERMISSIVE_WORD})
    if not names:
        words = (_PERMISSIVE_WORD, _OPEN_WORD)
        return next((word for word in words if word in licences), None)
    if len(names) > 1:
        raise WishError(f"no model has both the licences {names[0]} and {names[1]}")
    for word in licences & {_OPEN_WORD, _PERMISSIVE_WORD}:
        if not _licensed(names[0], word):
            raise WishError(f"the licence {names[0]} is not {word}")
    return names[0]


def _known() -> str:
    return f"known: {', '.join(FLAGS)}"


def _shown(value: object) -> str:
    plain = value is None or isinstance(value, str | int | float)
    told = repr(value) if plain else f"a {type(value).__name__}"
    return told if len(told) <= 60 else told[:57] + "..."
