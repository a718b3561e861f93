"""A moment as an option of the command line."""

import time

import click

from app.spend.moments import parse_moment


def moment(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read a date, a time, or how long ago; in seconds since the epoch."""
    if value is None:
        return None
    try:
        return parse_moment(value, now=time.time())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
