"""What `steelyard keys` is told of a key's terms on the command line."""

import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from app.access.changes import KeyChanges
    from app.access.terms import KeyTerms
    from app.keys import KeyRecord

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")
NEVER = float("inf")
"""What `--expires-in never` is read as."""

_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
_CLEARED = (
    "owner",
    "team",
    "models",
    "policies",
    "cost_quality",
    "least_cost_quality",
    "most_cost_quality",
    "limits",
    *_LIMITS,
    "budgets",
    "priorities",
    "weight",
    "metadata",
)

_PERIODS = ("day", "week", "month")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read a duration such as 90d."""
    if value is None:
        return None
    found = _DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no duration such as 90d, 12h, 30m or 0s")
    return float(found[1]) * _UNITS_S[found[2]]


def _seconds_or_never(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> float | None:
    return NEVER if value == "never" else seconds(context, parameter, value)


def _names(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[str]:
    """Read names that are repeated, or stand in lists with commas."""
    names = [name.strip() for value in values for name in value.split(",")]
    if "" in names:
        raise click.BadParameter("there is an empty name in the list")
    return names


def _budgets(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[dict[str, Any]]:
    budgets = []
    for value in values:
        usd, _slash, period = value.partition("/")
        try:
            budgets.append({"usd": float(usd), "period": period})
        except ValueError:
            period = ""
        if period not in _PERIODS:
            raise click.BadParameter(
                f"{value!r} is no budget such as 20/month (or /week, or /day)"
            ) from None
    return budgets


def _metadata(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    metadata = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not separator or name in metadata:
            raise click.BadParameter(f"{value!r} is no NAME=VALUE, or its name stands twice")
        metadata[name] = text
    return metadata


_TERMS = (
    click.option("--owner", help="Whom to ask about it."),
    click.option("--team", help="A configured team, whose limits and budgets hold too."),
    click.option(
        "--expires-in",
        "expires_in_s",
        callback=_seconds_or_never,
        metavar="90d",
        help="From now on; `never` is the default.",
    ),
    click.option(
        "--model",
        "--models",
        "models",
        multiple=True,
        callback=_names,
        metavar="NAME",
        help="May be used; repeat, or separate by commas. Default: all.",
    ),
    click.option(
        "--policy",
        "--policies",
        "policies",
        multiple=True,
        callback=_names,
        metavar="NAME",
        help="Likewise.",
    ),
    click.option(
        "--cost-quality", type=float, help="Where the knob stands if a request says nothing."
    ),
    click.option("--least-cost-quality", type=float, help="Lowest position of the knob (0)."),
    click.option("--most-cost-quality", type=float, help="Highest position of the knob (1)."),
    click.option("--requests-per-minute", type=int),
    click.option("--tokens-per-minute", type=int),
    click.option("--concurrent-requests", type=int),
    click.option(
        "--budget",
        "budgets",
        multiple=True,
        callback=_budgets,
        metavar="USD/PERIOD",
        help="Such as 20/month; periods are day, week, month. Repeat for another period.",
    ),
    click.option(
        "--on-low",
        type=click.Choice(["reject", "degrade"]),
        help="As a budget runs low: nothing (reject, the default), or lower the knob.",
    ),
    click.option(
        "--cache/--no-cache", default=None, help="Cache answers unless a request says otherwise."
    ),
    click.option(
        "--priority",
        "--priorities",
        "priorities",
        multiple=True,
        callback=_names,
        metavar="CLASS",
        help="May be asked for: interactive, batch. Default: as its team.",
    ),
    click.option("--weight", type=float, help="Its share where requests wait (1)."),
    click.option("--metadata", multiple=True, callback=_metadata, metavar="NAME=VALUE"),
)


def term_options(command: _Command) -> _Command:
    """Give a command an option for every term of a key."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_TERMS), command)


clear_option = click.option(
    "--clear",
    multiple=True,
    type=click.Choice([name.replace("_", "-") for name in _CLEARED]),
    metavar="TERM",
    help="Take away what was said of it: team, models, budgets, limits, ... Repeat.",
)


def terms(options: dict[str, Any]) -> "KeyTerms":
    """Return the terms of a new key.

    Raises
    ------
    click.UsageError
        With the field at fault.
    """
    from app.access.terms import KeyTerms  # noqa: PLC0415

    said = _said(options)
    on_low = said.pop("on_low", None)
    if on_low is not None:
        if not said.get("budgets"):
            raise click.UsageError("--on-low says what a --budget does; give one")
        said["budgets"] = [{**budget, "on_low": on_low} for budget in said["budgets"]]
    return _validated(KeyTerms.model_validate, said)


def changes(options: dict[str, Any], record: "KeyRecord") -> "KeyChanges":
    """Return what is to change of a key.

    A budget replaces that of its period, and goes on as that one did when it runs low.

    Raises
    ------
    click.UsageError
        With the field at fault.
    """
    from app.access.changes import KeyChanges  # noqa: PLC0415
    from app.access.terms import BudgetTerms  # noqa: PLC0415

    cleared = {name.replace("-", "_") for name in options.pop("clear")}
    said = _said(options)
    on_low = said.pop("on_low", None)
    budgets = said.pop("budgets", [])
    limits = said.pop("limits", {})
    both = cleared & {*said, *limits, *(["limits"] if limits else [])}
    if both:
        raise click.UsageError(f"--clear {both.pop()} goes against saying it")
    patch: dict[str, Any] = dict.fromkeys(cleared - {*_LIMITS, "budgets"})
    patch |= said
    if "limits" not in cleared and (limits or cleared & set(_LIMITS)):
        patch["limits"] = {**limits, **dict.fromkeys(cleared & set(_LIMITS))}
    if budgets or on_low or "budgets" in cleared:
        kept = [] if "budgets" in cleared else map(BudgetTerms.of, record.budgets)
        by_period = {budget.period.value: budget.model_dump(mode="json") for budget in kept}
        if on_low is not None and not budgets and not by_period:
            raise click.UsageError("--on-low says what a --budget does; give one")
        new = {each["period"]: {**by_period.get(each["period"], {}), **each} for each in budgets}
        if len(new) < len(budgets):
            raise click.UsageError("two of --budget are for the same period")
        touched = new or by_period
        for each in touched.values():
            each.update({} if on_low is None else {"on_low": on_low})
        patch["budgets"] = list({**by_period, **touched}.values())
    if not patch:
        raise click.UsageError("say what is to change; see --help")
    return _validated(KeyChanges.model_validate, patch)


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """Return the terms that were given, as the admin API is told them."""
    said = {name: value for name, value in options.items() if value not in (None, [], {}, ())}
    limits = {name: said.pop(name) for name in _LIMITS if name in said}
    if limits:
        said["limits"] = limits
    if said.get("expires_in_s") == NEVER:
        said["expires_in_s"] = None
    return said


_Value = TypeVar("_Value")


def _validated(validate: Callable[[Any], _Value], said: dict[str, Any]) -> _Value:
    from pydantic import ValidationError  # noqa: PLC0415

    from app.problems import first_problem  # noqa: PLC0415

    try:
        return validate(said)
    except ValidationError as error:
        raise click.UsageError(first_problem(error.errors())[0]) from None
