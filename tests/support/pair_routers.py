"""Routers of two models, trained on a small file, as a gateway's configuration names them."""

from pathlib import Path
from typing import Any

from routers.training.fit import fit
from routers.training.recipe import EmbedderRecipe, Recipe
from tests.support.outcomes import write_outcomes

WEAK, STRONG = "sim-small", "sim-frontier"
"""Served by the stub, predicted as the file's `small` and `large`."""

EASY = "Add the numbers 3141 and 5926 and explain every step."
HARD = "Write a poem about the river 2718 under the moon 2818."
"""The small model does as well as the large one on the first, and hardly ever on the second."""


def fit_routers(folder: Path, recipes: dict[str, dict[str, Any]]) -> None:
    """Train one artifact per recipe, `folder/<name>`, on outcomes in `folder/train.parquet`."""
    data = write_outcomes(folder / "train.parquet", n=400)
    for name, recipe in recipes.items():
        embedder = EmbedderRecipe(kind="hashing", options={"dimensions": 128})
        fit(
            [data],
            folder / name,
            recipe=Recipe(embedder=embedder, blocks=("embedding",), calibration_folds=2, **recipe),
            created_at="2026-01-01T00:00:00+00:00",
            steelyard_version="0",
        )


def pair_config(
    folder: Path, names: list[str], *, policies: dict[str, Any] | None = None, **router: Any
) -> dict[str, Any]:
    """Return changes to the default configuration: a router and a policy for every artifact.

    `router` adds keys to all routers, `policies` whole policies.
    """
    pair = {"strong": STRONG, "weak": WEAK}
    deadline = {"router_deadline_s": 5.0}  # what a busy test machine may take
    policy = {"candidates": [WEAK, STRONG], "default_model": WEAK, **deadline}
    return {
        f"models.{WEAK}.predicted_as": "small",
        f"models.{STRONG}.predicted_as": "large",
        "routers": {
            name: {"artifact": str(folder / name), "pair": pair, **router} for name in names
        },
        "policies": {
            **{name: {"router": name, **policy} for name in names},
            **{name: {**policy, **each} for name, each in (policies or {}).items()},
        },
        "default_policy": names[0],
    }
