"""What experts may take, and what is known of how large models are."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, RootModel

from routers.errors import RoutingConfigError
from routers.numeric import FloatArray


class Budget(BaseModel):
    """What the experts may take: in memory together, or a request on average over the traffic.

    Attributes
    ----------
    parameters_b
        Billions of parameters of all models in use, together.
    active_parameters_b
        Billions of active parameters behind an answer, on average.
    usd_per_request
        US dollars of an answer, on average.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    parameters_b: Annotated[float, Field(gt=0)] | None = None
    active_parameters_b: Annotated[float, Field(gt=0)] | None = None
    usd_per_request: Annotated[float, Field(gt=0)] | None = None


class Facts(BaseModel):
    """What a catalogue says of a model's size, in billions of parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    parameters_b: Annotated[float, Field(gt=0)] | None = None
    active_parameters_b: Annotated[float, Field(gt=0)] | None = None
    """Those that work on a token, of a mixture of experts; left out, all of them."""


class FactsByModel(RootModel[dict[str, Facts]]):
    """Facts by the name of the model."""

    model_config = ConfigDict(frozen=True)


def sizes_of(
    models: Sequence[str],
    facts: FactsByModel,
    fact: Literal["parameters_b", "active_parameters_b"],
) -> FloatArray:
    """Return a size of each model, (n_models,); infinite where it is not known.

    Raises
    ------
    RoutingConfigError
        If it is known of none.
    """
    sizes = []
    for model in models:
        known = facts.root.get(model, Facts())
        size = known.parameters_b
        if fact == "active_parameters_b" and known.active_parameters_b is not None:
            size = known.active_parameters_b
        sizes.append(size)
    if all(size is None for size in sizes):
        raise RoutingConfigError(
            f"a budget of {fact} needs the sizes of models, and none is known; give "
            "parameters_b under facts, or a catalogue that has it"
        )
    # A model of unknown size fits into nothing.
    return np.array([np.inf if size is None else size for size in sizes])
