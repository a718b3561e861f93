"""Routing as a library: load, fit, predict, decide, evaluate; routers of one's own.

What stands in `__all__` is imported as it is asked for: `import routers` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routers.base import ROUTERS, FitContext, Labels, Router
    from routers.data.dataset import OutcomeTable
    from routers.decisions import Decision
    from routers.errors import (
        ArtifactError,
        DataError,
        NoEligibleModelError,
        NotFittedError,
        RoutingConfigError,
        RoutingError,
    )
    from routers.evaluation.predictions import evaluate_choices, evaluate_predictions
    from routers.evaluation.result import Report
    from routers.library import TrainedRouter, evaluate, fit, load, outcomes
    from routers.models import Prices
    from routers.objectives import (
        Constraints,
        CostQuality,
        MaxQualityLoss,
        MinQuality,
        UsdPerQuality,
    )
    from routers.strategies.base import QualityRouter
    from routers.training.recipe import EmbedderRecipe, Recipe
    from routers.types import Conversation, Message, Predictions, Role
    from routers.wishes import Traits

__all__ = [
    "ROUTERS",
    "ArtifactError",
    "Constraints",
    "Conversation",
    "CostQuality",
    "DataError",
    "Decision",
    "EmbedderRecipe",
    "FitContext",
    "Labels",
    "MaxQualityLoss",
    "Message",
    "MinQuality",
    "NoEligibleModelError",
    "NotFittedError",
    "OutcomeTable",
    "Predictions",
    "Prices",
    "QualityRouter",
    "Recipe",
    "Report",
    "Role",
    "Router",
    "RoutingConfigError",
    "RoutingError",
    "TrainedRouter",
    "Traits",
    "UsdPerQuality",
    "evaluate",
    "evaluate_choices",
    "evaluate_predictions",
    "fit",
    "load",
    "outcomes",
]

_HOMES = {
    "routers.base": ("ROUTERS", "FitContext", "Labels", "Router"),
    "routers.data.dataset": ("OutcomeTable",),
    "routers.decisions": ("Decision",),
    "routers.errors": (
        "ArtifactError",
        "DataError",
        "NoEligibleModelError",
        "NotFittedError",
        "RoutingConfigError",
        "RoutingError",
    ),
    "routers.evaluation.predictions": ("evaluate_choices", "evaluate_predictions"),
    "routers.evaluation.result": ("Report",),
    "routers.library": ("TrainedRouter", "evaluate", "fit", "load", "outcomes"),
    "routers.models": ("Prices",),
    "routers.objectives": (
        "Constraints",
        "CostQuality",
        "MaxQualityLoss",
        "MinQuality",
        "UsdPerQuality",
    ),
    "routers.strategies.base": ("QualityRouter",),
    "routers.training.recipe": ("EmbedderRecipe", "Recipe"),
    "routers.types": ("Conversation", "Message", "Predictions", "Role"),
    "routers.wishes": ("Traits",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
