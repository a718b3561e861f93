"""`steelyard bench`: several routers on held-out prompts of several sets, over several splits."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from routers.commands.base import FILE, files, progress
from routers.errors import DataError, RoutingConfigError
from routers.files import replacing

if TYPE_CHECKING:
    from routers.gate.bench import Contender

_DEFAULT = "best-single,prompt-length,guarded-knn,carrot-knn,carrot-linear,carrot-mlp"
_SHIPPED = {"difficulty", "outlook"}


def _names(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise click.BadParameter(f"{value!r} has an empty name, or one twice")
    return names


@click.command("bench")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Sets of outcomes, a file each: .parquet, .csv or .jsonl.",
)
@click.option(
    "--routers",
    metavar="NAME[,NAME…]",
    callback=_names,
    default=_DEFAULT,
    show_default=True,
    help="Recipes (names of configs/training, or YAML files) or kinds of strategy.",
)
@click.option("--splits", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--prices", type=FILE, help="USD per million tokens of models whose costs a set does not tell."
)
@click.option(
    "--out",
    type=FILE,
    help="JSON file of what is measured; what it has already is not measured again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print that instead of tables.")
def command(
    *,
    data: list[Path],
    routers: list[str],
    splits: int,
    prices: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Fit routers on three quarters of the prompts, and measure them on the others.

    Near-duplicates stay on one side of a split. Nothing is tuned on what is held back. The measures
    are those of docs/benchmarks/routing.md, as mean and standard deviation over splits.
    """
    # Help should not load all that.
    from routers.gate.bench import paired_lines, table_lines  # noqa: PLC0415

    sets = {path.name.partition(".")[0]: path for path in data}
    if len(sets) < len(data):
        raise DataError("two of the files have one name; it is that of the set")
    contenders = {name: _contender(name) for name in routers}
    kept = _Kept.read(out, contenders)
    for name, path in sets.items():
        _measure(name, path, contenders, kept, splits=splits, prices=prices)
    told = {name: {each: kept.results[name][each] for each in routers} for name in sets}
    if as_json:
        click.echo(json.dumps(told))
        return
    for name, rows in told.items():
        for line in table_lines(name, rows, routers):
            click.echo(line)
    if len(routers) > 1:
        for line in paired_lines(told, routers, against=routers[0]):
            click.echo(line)
    seen = [name for name, each in contenders.items() if _SHIPPED & set(each.blocks)]
    if seen:
        click.echo(
            f"\n{', '.join(seen)}: the shipped blocks difficulty and outlook know outcomes and "
            "readings of public sets; on these sets they flatter (docs/benchmarks/routing.md "
            "trains the former anew)"
        )


def _measure(
    name: str,
    path: Path,
    contenders: "Mapping[str, Contender]",
    kept: "_Kept",
    *,
    splits: int,
    prices: Path | None,
) -> None:
    """Measure what is not measured yet of a set."""
    import numpy as np  # noqa: PLC0415

    from routers.data.dataset import read_outcomes  # noqa: PLC0415
    from routers.data.doubts import doubts  # noqa: PLC0415
    from routers.data.prices import find_prices  # noqa: PLC0415
    from routers.gate.bench import Split, held_back  # noqa: PLC0415

    progress(f"reading {path.name}")
    table = read_outcomes([path])
    kept.check(name, table.files[0].sha256)
    for doubt in doubts(table):
        progress(f"WARNING: {name}: {doubt}")
    if len(table.models) < 2:
        raise DataError(f"{path}: has one model; there is nothing to compare")
    known = {} if np.isnan(table.cost_usd).all() else find_prices(table, prices).prices
    for seed in range(splits):
        found = kept.results.setdefault(name, {})
        missing = [each for each in contenders if str(seed) not in found.get(each, {})]
        if not missing:
            continue
        split = Split(table, known, held_back(table, seed), seed=seed)
        for each in missing:
            progress(f"{name}: split {seed + 1}/{splits}, {each}")
            began = time.perf_counter()
            measured = split.measure(contenders[each])
            measured["fit_s"] = round(time.perf_counter() - began, 1)
            found.setdefault(each, {})[str(seed)] = measured
            kept.write()


def _contender(name: str) -> "Contender":
    from routers.base import ROUTERS  # noqa: PLC0415
    from routers.gate.bench import Contender  # noqa: PLC0415
    from routers.training.fit import make_parts  # noqa: PLC0415
    from routers.training.recipe import (  # noqa: PLC0415
        Recipe,
        UnknownRecipeError,
        find_recipe,
        recipe_folder,
    )

    path = Path(name)
    is_kind = name in ROUTERS.kinds() and not (recipe_folder() / f"{name}.yaml").is_file()
    if is_kind:
        recipe = Recipe(strategy=name, blocks=("embedding", "lexical"))
    else:
        try:
            recipe = find_recipe(path)
        except UnknownRecipeError as error:
            kinds = ", ".join(ROUTERS.kinds())
            raise RoutingConfigError(
                f"{error}, or a kind of strategy: {kinds} (one of your own: an installed package, "
                "or --plugin MODULE)"
            ) from None
    if recipe.workflow is not None:
        raise RoutingConfigError(
            f"{name}: has a workflow, which steelyard replay measures; bench is about one choice"
        )
    make_parts(recipe)
    return Contender(
        strategy=recipe.strategy,
        options=recipe.options,
        blocks=recipe.blocks,
        embedder=recipe.embedder.kind,
        embedder_options=recipe.embedder.options,
    )


@dataclass
class _Kept:
    """What is measured, in a file where one is given: set → router → split."""

    file: Path | None
    data: dict[str, str]
    """Digests of the sets."""
    routers: dict[str, Any]
    results: dict[str, dict[str, dict[str, Any]]]

    @classmethod
    def read(cls, file: Path | None, contenders: "Mapping[str, Contender]") -> Self:
        """Read what is there, and refuse what was measured of other recipes of these names."""
        content: Any = {}
        if file is not None and file.exists():
            try:
                content = json.loads(file.read_bytes())
            except (OSError, ValueError) as error:
                raise DataError(f"{file}: is no file of results ({error})") from error
            if not isinstance(content, dict) or not {"data", "routers", "results"} <= set(content):
                raise DataError(f"{file}: is no file of results; give another")
        kept = cls(file, *(content.get(key, {}) for key in ("data", "routers", "results")))
        for name, contender in contenders.items():
            told = json.loads(json.dumps(asdict(contender)))
            if kept.routers.setdefault(name, told) != told:
                raise DataError(f"{file}: {name} was another recipe then; give another file")
        return kept

    def check(self, name: str, digest: str) -> None:
        """Refuse another file under the name of a set."""
        if self.data.setdefault(name, digest) != digest:
            raise DataError(f"{self.file}: {name} was another file then; give another --out")

    def write(self) -> None:
        """Write the file whole, if there is to be one."""
        if self.file is None:
            return
        content = {"data": self.data, "routers": self.routers, "results": self.results}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.file) as partial:
                partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise DataError(f"{self.file}: cannot be written ({error.strerror})") from error
