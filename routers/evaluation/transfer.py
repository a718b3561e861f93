"""Outcomes of other models than a router was trained on: what it is worth for another pair."""

from collections.abc import Mapping
from dataclasses import replace

from routers.data.dataset import OutcomeTable
from routers.errors import DataError
from routers.files import shown


def predicted_as(table: OutcomeTable, names: Mapping[str, str]) -> OutcomeTable:
    """Return outcomes in which some models go by the names of others, as which they are predicted.

    A column of the data that has such a name itself, and no other to go by, is left out.

    Parameters
    ----------
    names
        Model of the data → model of the router.

    Raises
    ------
    DataError
        If the data hold no such model, or two are to be predicted as one.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665 (4.4, other pairs without retraining).
    """
    strange = [name for name in names if name not in table.models]
    if strange:
        told = ", ".join(shown(name) for name in strange)
        raise DataError(
            f"there are no outcomes of {told}; known: {', '.join(map(shown, table.models))}"
        )
    if len(set(names.values())) < len(names):
        raise DataError("two models cannot be predicted as the same one; evaluate them in turn")
    taken = set(names.values())
    columns = [i for i, model in enumerate(table.models) if model in names or model not in taken]
    return replace(
        table,
        models=tuple(names.get(table.models[i], table.models[i]) for i in columns),
        quality=table.quality[:, columns],
        output_tokens=table.output_tokens[:, columns],
        cost_usd=table.cost_usd[:, columns],
        samples=None if table.samples is None else table.samples[:, columns],
        comparisons=None,
    )
