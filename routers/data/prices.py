"""Prices per token: derived from what answers cost, or read from a file."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routers.base import DEFAULT_OUTPUT_TOKENS
from routers.data.dataset import OutcomeTable
from routers.data.lines import read_entries
from routers.errors import DataError
from routers.models import Prices, PriceTable


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSource:
    """Prices of every model and where they come from.

    Attributes
    ----------
    fit_error
        Of derived prices: root mean square error of the reproduced costs over the mean cost.
    """

    prices: PriceTable
    origin: Mapping[str, str]
    fit_error: Mapping[str, float]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    input_usd_per_mtok: float = Field(ge=0)
    output_usd_per_mtok: float = Field(ge=0)
    cached_input_usd_per_mtok: float | None = Field(default=None, ge=0)
    reasoning_usd_per_mtok: float | None = Field(default=None, ge=0)


def find_prices(
    table: OutcomeTable, listing: Path | Mapping[str, Any] | None = None
) -> PriceSource:
    """Price every model: by its recorded costs, else by `listing`, a file or what one would hold.

    Raises
    ------
    DataError
        If a model has neither, or the listing cannot be used.
    """
    listed = {} if listing is None else read_prices(listing, table.models)
    prices: dict[str, Prices] = {}
    origin: dict[str, str] = {}
    errors: dict[str, float] = {}
    missing = []
    for column, model in enumerate(table.models):
        derived = _derive(
            table.cost_usd[:, column], table.input_tokens, table.output_tokens[:, column]
        )
        if derived is not None:
            prices[model], errors[model] = derived
            origin[model] = "costs"
        elif model in listed:
            prices[model], origin[model] = listed[model], "file"
        else:
            missing.append(model)
    if missing:
        where = "the price file does not list" if listing else "no price file was given for"
        raise DataError(
            f"no costs are recorded in the data and {where} {', '.join(missing)}; add c:MODEL "
            "columns (or cost_usd), or give --prices with USD per million tokens as "
            '{"MODEL": [input, output]}'
        )
    return PriceSource(prices=prices, origin=origin, fit_error=errors)


def read_prices(listing: Path | Mapping[str, Any], models: Collection[str]) -> dict[str, Prices]:
    """Read the prices of some models from JSON or YAML; other entries are not looked at.

    Each model maps to `[input, output]` or to an object with `input_usd_per_mtok`,
    `output_usd_per_mtok` and optionally the prices of cached and reasoning tokens. Models may
    also stand one level down, under names of groups, as long as groups agree.

    Raises
    ------
    DataError
        If the file cannot be read, or an entry is no price; the message names it.
    """
    file, content = (listing, None) if isinstance(listing, Path) else ("prices", listing)
    if isinstance(file, Path):
        content = read_entries(file)
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{file}: must map model names to prices")
    prices: dict[str, Prices] = {}
    for name, value in content.items():
        grouped = isinstance(value, Mapping) and not value.keys() & _Entry.model_fields.keys()
        for model, entry in value.items() if grouped else ((name, value),):
            if model not in models:
                continue
            price = _price(f"{file}: {model!r}", entry)
            if prices.setdefault(model, price) != price:
                raise DataError(f"{file}: groups disagree on the price of {model!r}")
    return prices


def _price(where: str, entry: Any) -> Prices:
    if isinstance(entry, Prices):
        return entry
    if isinstance(entry, Sequence) and not isinstance(entry, str):
        if len(entry) != 2:
            raise DataError(f"{where}: must be [input, output] in USD per million tokens")
        entry = {"input_usd_per_mtok": entry[0], "output_usd_per_mtok": entry[1]}
    try:
        return Prices(**dict(_Entry.model_validate(entry)))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{where}: {at} {first['msg']}") from error
    except OverflowError as error:
        raise DataError(f"{where}: a price is larger than any number") from error


def _derive(
    cost_usd: np.ndarray, input_tokens: np.ndarray, output_tokens: np.ndarray
) -> tuple[Prices, float] | None:
    """Regress costs on tokens, without negative prices; None where no cost is known."""
    known = ~np.isnan(cost_usd)
    tokens = output_tokens.astype(np.float64)
    if not np.isnan(tokens[known]).all():
        known &= ~np.isnan(tokens)
    else:
        tokens = np.full(len(tokens), DEFAULT_OUTPUT_TOKENS)
    if not known.any():
        return None
    a = np.stack([input_tokens[known], tokens[known]], axis=1) / 1e6
    b = cost_usd[known]
    weights = _nonnegative_least_squares(a, b)
    mean = float(b.mean())
    error = math.sqrt(float(((a @ weights - b) ** 2).mean())) / mean if mean > 0 else 0.0
    # Ten significant digits: the last bits of a solver differ between machines.
    p_in, p_out = (float(f"{weight:.10g}") for weight in weights)
    return Prices(input_usd_per_mtok=p_in, output_usd_per_mtok=p_out), error


def _nonnegative_least_squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve for two weights: the best of the free solution and the two edges."""
    free, *_ = np.linalg.lstsq(a, b, rcond=None)
    if (free >= 0).all():
        return np.asarray(free)
    best, least = np.zeros(2), math.inf
    for column in range(2):
        square = float(a[:, column] @ a[:, column])
        edge = np.zeros(2)
        edge[column] = max(0.0, float(a[:, column] @ b) / square) if square > 0 else 0.0
        error = float(((a @ edge - b) ** 2).sum())
        if error < least:
            best, least = edge, error
    return best
