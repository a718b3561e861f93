"""What every run has to fulfil, whatever was simulated: it says so loudly where it does not."""

import math

import numpy as np

from loadtest.sim.result import Result

LITTLE = 0.02
"""How far Little's law may be missed: of each server, requests in it are rate times time in it."""

_EXACT = 1e-6


class SimulationError(Exception):
    """A run that contradicts itself: nothing that it says is to be believed."""


def check(result: Result, *, outstanding: int) -> None:
    """Hold what requests recorded against what servers and gateways counted on their own.

    Parameters
    ----------
    outstanding
        The calls that gateways take for unanswered after the last event.

    Raises
    ------
    SimulationError
        If requests or tokens were lost or doubled, something happened before its cause, or
        Little's law does not hold.
    """
    traffic, answered = result.traffic, result.answered
    ended = ~np.isnan(result.ends_s)
    if not ended.all():
        raise SimulationError(f"{(~ended).sum()} of {len(traffic)} requests never ended")
    if outstanding:
        raise SimulationError(f"gateways wait for {outstanding} calls after the last answer")
    took, begun = result.ends_s - traffic.arrives_s, result.first_s - traffic.arrives_s
    if (took < -_EXACT).any() or (begun < -_EXACT).any() or (begun - took > _EXACT).any():
        raise SimulationError("an answer was there before its first token, or before its request")
    servers = {id(place.server): place.server for place in result.places}
    for key, server in servers.items():
        mine = answered & np.isin(
            result.place,
            [number for number, place in enumerate(result.places) if id(place.server) == key],
        )
        name = next(place.name for place in result.places if id(place.server) == key)
        if server.inside:
            raise SimulationError(f"{name}: {server.inside} requests are still in it")
        account = server.account
        inside_s = (result.ends_s - result.submitted_s)[mine].sum()
        _same(f"{name}: Little's law", account.request_s, inside_s, LITTLE)
        read = account.read_tokens + account.cached_tokens
        if read:
            _same(f"{name}: prompt tokens", read, traffic.input_tokens[mine].sum(), _EXACT)
            _same(
                f"{name}: tokens of answers",
                account.written_tokens,
                traffic.output_tokens[mine].sum(),
                _EXACT,
            )


def _same(what: str, counted: float, recorded: float, within: float) -> None:
    if not math.isclose(counted, recorded, rel_tol=within, abs_tol=_EXACT):
        raise SimulationError(f"{what}: the server counts {counted:g}, its requests {recorded:g}")
