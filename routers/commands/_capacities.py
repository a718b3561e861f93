"""How many requests models may answer, as it is written on the command line."""

import click

_MAX_DIGITS = 12
_MAX_SHOWN_CHARS = 80


def capacities(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """Read `m=10000`, several times or with commas between."""
    found: dict[str, int] = {}
    for each in ",".join(values).split(",") if values else ():
        model, _mark, number = each.strip().rpartition("=")
        is_number = number.isascii() and number.isdecimal() and len(number) <= _MAX_DIGITS
        if not model or not is_number:
            shown = each.strip()[:_MAX_SHOWN_CHARS]
            raise click.BadParameter(f"{shown!r} is not written as MODEL=REQUESTS")
        if model in found:
            raise click.BadParameter(f"{model} stands there twice")
        found[model] = int(number)
    return found
