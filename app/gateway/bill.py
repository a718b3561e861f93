"""What a request comes to, read from its account: tokens and money of all its calls."""

from app.calls import CONTRIBUTING, known_nusd, sum_known_usd, tokens_of
from app.gateway.ledger import LedgerEntry
from app.gateway.money.paid import total_usage
from app.keys import to_nusd
from app.usage import ToldUsage, Usage


def settled_usage(entry: LedgerEntry) -> Usage | None:
    """Return the tokens of the answer; counted by us where the upstream never told.

    Where nobody served, those of all calls that have to be paid.
    """
    if entry.served is not None:
        return entry.served_paid().usage
    return total_usage([call.usage for call in entry.attempts if call.usage is not None])


def told_usage(entry: LedgerEntry) -> ToldUsage | None:
    """Return the token counts of a complete answer, as its upstream told them."""
    return entry.arrived.usage if entry.arrived.final else None


def settled_tokens(entry: LedgerEntry) -> int:
    """Return the tokens of every call."""
    usage = entry.served_paid().usage
    served = 0 if usage is None else usage.input_tokens + usage.output_tokens
    if len(entry.calls) == 1 and entry.served is not None:
        return served
    return served + tokens_of([call for i, call in enumerate(entry.calls) if i != entry.served_at])


def settled_nusd(entry: LedgerEntry) -> int:
    """Return what every call costs in billionths of a US dollar, as far as that is known.

    Each is rounded as the decision log rounds it, so that both add up to the same.
    """
    served = to_nusd(entry.served_paid().cost_usd or 0.0)
    if len(entry.calls) == 1 and entry.served is not None:
        return served
    return served + known_nusd([call for i, call in enumerate(entry.calls) if i != entry.served_at])


def told_cost_usd(entry: LedgerEntry) -> float | None:
    """Return what clients are told that their answer cost, judges and guards apart.

    None where a price is unknown or there was none.
    """
    if entry.cached is not None:
        return 0.0
    calls = entry.calls
    if not calls:
        return None
    if entry.served is None:
        costs_usd = [call.cost_usd for call in calls if call.role in CONTRIBUTING]
        return sum_known_usd(costs_usd) if costs_usd else None
    served_usd = entry.served_paid().cost_usd
    if len(calls) == 1:
        return served_usd
    others = [
        call.cost_usd
        for at, call in enumerate(calls)
        if at != entry.served_at and call.role in CONTRIBUTING
    ]
    return sum_known_usd([served_usd, *others])


def due_nusd(entry: LedgerEntry) -> int:
    """Return what the request owes by now, and may come to owe for the calls that run.

    In billionths of a US dollar.
    """
    owed_usd = sum([call.cost_usd or 0.0 for call in entry.calls])
    return to_nusd(owed_usd) + entry.running.total_nusd
