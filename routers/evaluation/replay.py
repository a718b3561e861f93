"""Replay held-out outcomes: what artifacts and baselines would have chosen, and its worth."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.data.doubts import doubts
from routers.data.prices import read_prices
from routers.data.support import Support
from routers.decision.choice import choose_each
from routers.errors import DataError
from routers.evaluation import baselines
from routers.evaluation.assess import predicted_costs
from routers.evaluation.compare import by_benchmark, paired
from routers.evaluation.frame import Frame, Rows, Series, select_rows, sweep
from routers.evaluation.summary import measure, pair_of, reportable
from routers.evaluation.transfer import predicted_as
from routers.models import ModelSpec, Prices, PriceTable
from routers.types import Predictions

KNOB_POSITIONS = tuple(round(0.1 * step, 1) for step in range(11))

_BLOCK = 2048
_LONG_CONTEXT = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Everything that is compared on the same rows.

    Attributes
    ----------
    series
        Artifacts first, then baselines, then bounds.
    train
        Training rows, None where no training file was given.
    notes
        What a reader of the numbers should know, as sentences.
    """

    frame: Frame
    series: tuple[Series, ...]
    artifacts: tuple[RouterArtifact, ...]
    train: Rows | None
    prices: PriceTable
    support: Support
    files: tuple[dict[str, Any], ...]
    train_files: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    def named(self, name: str) -> Series:
        """Return the series of a name."""
        return next(each for each in self.series if each.name == name)


def prepare(
    artifacts: Sequence[Path],
    data: Sequence[Path],
    *,
    train: Sequence[Path] = (),
    prices_file: Path | None = None,
    n_draws: int = 1000,
    seed: int = 0,
    trusted: Collection[str] = (),
    served_as: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Arena:
    """Load artifacts and outcomes, predict, and build every baseline on the same rows.

    The models compared are those that the data and all artifacts know. Choices are made with
    the first artifact's prices, or those of `prices_file` where it lists a model; what a choice
    cost is what the data recorded, where it did. `trusted` are encoders that artifacts may name,
    `served_as` tells as which of the artifacts' models some of the data are predicted.

    Raises
    ------
    ArtifactError, DataError
        If an artifact or a file cannot be used, or fewer than two models are in common.
    """
    named = dict(
        zip(
            _names(artifacts),
            (load_artifact(path, trusted=trusted) for path in artifacts),
            strict=True,
        )
    )
    progress("reading outcomes")
    return arrange(
        named,
        predicted_as(read_outcomes(data), served_as or {}),
        train_table=read_outcomes(train) if train else None,
        prices_file=prices_file,
        n_draws=n_draws,
        seed=seed,
        progress=progress,
    )


def arrange(
    artifacts: Mapping[str, RouterArtifact],
    table: OutcomeTable,
    *,
    train_table: OutcomeTable | None = None,
    prices_file: Path | Mapping[str, Any] | None = None,
    n_draws: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Arena:
    """Build an arena of artifacts by their names and of outcomes that were read; see `prepare`."""
    loaded = tuple(artifacts.values())
    models = common_models(loaded, [table] if train_table is None else [table, train_table])
    prices = {model: loaded[0].prices[model] for model in models}
    if prices_file is not None:
        prices |= read_prices(prices_file, models)
    rows = select_rows(table, models, prices)
    if len(rows) < 2:
        raise DataError("at least two queries are needed to evaluate anything")
    support = Support.of(table.quality[:, [table.models.index(model) for model in models]])
    train_rows = None if train_table is None else select_rows(train_table, models, prices)
    series: list[Series] = []
    for name, artifact in artifacts.items():
        progress(f"predicting with {name}")
        series.append(_replay(name, artifact, rows, prices))
    progress("building baselines")
    series += baselines.fixed(rows, train_rows)
    series.append(baselines.prompt_length(rows, train_rows))
    if train_rows is not None:
        series += baselines.neighbours(rows, train_rows, prices)
    label = baselines.benchmark_label(rows, train_rows)
    series += [each for each in (label, baselines.oracle(rows)) if each is not None]
    return Arena(
        frame=Frame(rows=rows, n_draws=n_draws, seed=seed),
        series=tuple(series),
        artifacts=loaded,
        train=train_rows,
        prices=prices,
        support=support,
        files=_files(table),
        train_files=() if train_table is None else _files(train_table),
        notes=tuple(_notes(rows, table, train_rows, train_table, support)),
    )


def evaluate(arena: Arena, *, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure every series and return plain values, ready for JSON."""
    frame = arena.frame
    rows = frame.rows
    zero = arena.named(baselines.ZERO)
    best = baselines.best_single(rows, arena.train)
    cost, quality = frame.singles
    reference = frame.fair_area(zero.picks)
    results = []
    for series in arena.series:
        progress(f"measuring {series.name}")
        measured = measure(
            series, frame, best=best, zero=reference, oracle=arena.named(baselines.ORACLE)
        )
        results.append(reportable(measured, arena.support, oracle=series.name == baselines.ORACLE))
    weak, strong = pair_of(frame, best)
    artifacts = [each for each in arena.series if each.kind == "artifact"]
    knobbed = [each for each in artifacts if each.knob is not None]
    comparable = arena.support.comparable
    return {
        "n_queries": len(rows),
        "n_left_out": rows.n_left_out,
        "support": arena.support.to_dict(),
        "n_draws": len(frame.weights),
        "level": 0.95,
        "seed": frame.seed,
        "data": list(arena.files),
        "train": list(arena.train_files),
        "models": [
            {
                "model": model,
                "quality": float(quality[i]),
                "usd_per_1000": float(1000 * cost[i]),
                **_price_of(arena.prices.get(model)),
            }
            for i, model in enumerate(rows.models)
        ],
        "best_single": {
            "model": rows.models[best],
            "chosen_on": "evaluated rows" if arena.train is None else "training rows",
            "quality": float(quality[best]),
            "usd_per_1000": float(1000 * cost[best]),
        },
        "pair": {"weak": rows.models[weak], "strong": rows.models[strong]},
        "paired": paired(frame, artifacts) if comparable else [],
        "benchmarks": by_benchmark(frame, knobbed, best) if comparable else [],
        "notes": [*arena.notes, *_without_shares(results)],
        "routers": results,
    }


def _price_of(prices: Prices | None) -> dict[str, float | None]:
    return {
        "input_usd_per_mtok": None if prices is None else prices.input_usd_per_mtok,
        "output_usd_per_mtok": None if prices is None else prices.output_usd_per_mtok,
    }


def _without_shares(results: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"The knob of {each['name']}: {each['knob_no_share']}."
        for each in results
        if each.get("knob_no_share") is not None
    ]


def predict_rows(artifact: RouterArtifact, rows: Rows) -> Predictions:
    """Predict the models of `rows` on all of its queries, a block at a time."""
    columns = [artifact.column(model) for model in rows.models]
    blocks = [
        artifact.predict_conversations(rows.conversations[start : start + _BLOCK]).columns(columns)
        for start in range(0, len(rows), _BLOCK)
    ]
    return stacked(blocks)


def stacked(blocks: Sequence[Predictions]) -> Predictions:
    """Return the predictions of all blocks, one below the other."""
    strengths = [block.strength for block in blocks if block.strength is not None]
    return Predictions(
        quality=np.concatenate([block.quality for block in blocks]),
        quality_std=np.concatenate([block.quality_std for block in blocks]),
        output_tokens=np.concatenate([block.output_tokens for block in blocks]),
        output_tokens_upper=np.concatenate([block.output_tokens_upper for block in blocks]),
        strength=np.concatenate(strengths) if len(strengths) == len(blocks) else None,
    )


def _replay(name: str, artifact: RouterArtifact, rows: Rows, prices: PriceTable) -> Series:
    predictions = predict_rows(artifact, rows)
    quality = predictions.quality.astype(np.float64)
    cost = predicted_costs(rows.input_tokens, predictions.output_tokens, rows.models, prices)
    specs = [
        ModelSpec(
            model_id=model,
            predicted_as=model,
            prices=prices[model],
            context_window_tokens=_LONG_CONTEXT,
        )
        for model in rows.models
    ]
    knob = artifact.knob_curve(specs)
    rates = map(knob.usd_per_quality_for, KNOB_POSITIONS)
    at_knob = choose_each(quality, cost, rates, model_ids=rows.models)
    return Series(
        name=name,
        kind="artifact",
        picks=sweep(quality, cost),
        version=artifact.version,
        predictions=predictions,
        knob=(np.asarray(KNOB_POSITIONS), at_knob),
        note=f"strategy {artifact.manifest['strategy']['kind']}",
    )


def common_models(
    artifacts: Sequence[RouterArtifact], tables: Sequence[OutcomeTable]
) -> tuple[str, ...]:
    """Return the models that all artifacts and tables know, in the first artifact's order.

    Raises
    ------
    DataError
        If there are fewer than two.
    """
    known = [set(each.models) for each in artifacts] + [set(each.models) for each in tables]
    models = tuple(model for model in artifacts[0].models if all(model in each for each in known))
    if len(models) < 2:
        raise DataError(
            "artifacts and data have fewer than two models in common: the first artifact knows "
            f"{', '.join(artifacts[0].models)}; the data has {', '.join(tables[0].models)}"
        )
    return models


def _names(paths: Sequence[Path]) -> list[str]:
    """Name artifacts by their folders, with as much of the path as tells them apart."""
    for depth in range(1, 8):
        names = ["/".join(path.resolve().parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise DataError("the same artifact is given twice")


def _files(table: OutcomeTable) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"file": file.name, "sha256": file.sha256, "rows": file.n_rows} for file in table.files
    )


def _notes(
    rows: Rows,
    table: OutcomeTable,
    train: Rows | None,
    train_table: OutcomeTable | None,
    support: Support,
) -> list[str]:
    notes = []
    if support.warning is not None:
        notes.append(f"WARNING: {support.warning}.")
    notes += [f"WARNING: {doubt}." for doubt in doubts(table)]
    if rows.n_left_out:
        notes.append(f"{rows.n_left_out} queries are left out: not all models were tried on them.")
    others = [model for model in table.models if model not in rows.models]
    if others:
        notes.append(f"Not known to all, and left out: {', '.join(others)}.")
    if np.isnan(table.cost_usd).all():
        notes.append("No costs are recorded: they are prices times tokens.")
        if np.isnan(rows.output_tokens).all():
            notes.append("No output tokens are recorded either: all answers count as 256 tokens.")
    if train is None:
        notes.append(
            "Without training rows the best single model is chosen on the evaluated rows, and "
            "there is no kNN baseline."
        )
    elif train_table is not None:
        seen = set(train_table.conversations)
        twice = sum(each in seen for each in rows.conversations)
        if twice:
            notes.append(
                f"WARNING: {twice} evaluated queries are also among the training rows; "
                "nothing below is held out on them."
            )
    return notes
