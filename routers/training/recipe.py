"""What to train, as a file: strategy, features, calibration, seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from routers.data.lines import read_document
from routers.errors import RoutingConfigError
from routers.files import shown

_SHIPPED = ("difficulty", "outlook")


class UnknownRecipeError(RoutingConfigError):
    """No shipped recipe has that name; the message lists them."""


class EmbedderRecipe(BaseModel):
    """Which embedder to use, and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "static"
    options: dict[str, Any] = {}


class Recipe(BaseModel):
    """Everything that, with the data and its prices, determines an artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: str = "carrot"
    options: dict[str, Any] = {}
    embedder: EmbedderRecipe = EmbedderRecipe()
    blocks: tuple[str, ...] = ("embedding", "lexical", "terms", "difficulty", "outlook")
    """Without the last two by default where the embedder is not the one they were trained with."""
    abstain: bool = True
    """Whether something simpler is served where `carrot` is not better on held-out rows."""
    workflow: dict[str, Any] | None = None
    """How to come to an answer by several calls: its kind, and its options beside that."""
    calibration_folds: int = Field(default=5, ge=2, le=20)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def _shipped_blocks_fit_the_embedder(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "blocks" in given or "embedder" not in given:
            return given
        try:
            embedder = EmbedderRecipe.model_validate(given["embedder"])
        except ValidationError:
            return given  # the field says it better
        if embedder == EmbedderRecipe():
            return given
        blocks = cls.model_fields["blocks"].default
        return {**given, "blocks": tuple(name for name in blocks if name not in _SHIPPED)}


def recipe_folder() -> Path:
    """Return the folder of shipped recipes: of the working directory, else of this checkout."""
    here = Path("configs/training")
    return here if here.is_dir() else Path(__file__).parents[2] / here


def find_recipe(name: Path) -> Recipe:
    """Read a recipe: a YAML file, or the name of one of the shipped ones.

    Raises
    ------
    UnknownRecipeError, RoutingConfigError
        If there is none of that name (the message lists them), or it cannot be used.
    """
    if name.exists() or name.suffix or len(name.parts) > 1:
        return read_recipe(name)
    shipped = {path.stem: path for path in sorted(recipe_folder().glob("*.yaml"))}
    if name.name not in shipped:
        known = f"known: {', '.join(shipped)}; or" if shipped else "there are none here;"
        raise UnknownRecipeError(f"unknown recipe {name.name!r}; {known} give a YAML file")
    return read_recipe(shipped[name.name])


def recipe_of(manifest: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe that an artifact was fitted by; None where its manifest tells none."""
    try:
        return Recipe.model_validate(manifest["training"].get("recipe"))
    except ValidationError:
        return None


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML.

    Raises
    ------
    RoutingConfigError
        If the file cannot be read or an entry does not exist or fit; the message names it.
    """
    try:
        content = read_document(path)
    except OSError as error:
        raise RoutingConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RoutingConfigError(f"{path}: is not valid YAML ({error})") from error
    try:
        return Recipe.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RoutingConfigError(f"{path}: {shown(where)}: {first['msg']}") from error
