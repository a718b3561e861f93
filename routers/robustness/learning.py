"""What training rows do to a router: whether it gives them away, and how far a few may push it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.data.dataset import OutcomeTable
from routers.errors import DataError
from routers.numeric import FloatArray, nan_mean
from routers.robustness.checks import Check, Verdict
from routers.training.fit import fit
from routers.training.recipe import Recipe
from routers.types import Conversation

Progress = Callable[[str], None]

AUC_BAR = 0.6
CHANGED_BAR, LIFTED_BAR = 0.1, 0.2
POISONED_SHARE = 0.01
SYBIL_SHARE, SYBIL_BAR = 0.05, 0.15
TRIGGER = "zx9-omega"

_ROWS, _ASKED = 1500, 300
_FEWEST = 100
_NOISE = 0.25
"""Routers that know nothing of each other put half of the requests on different sides: where other
rows alone move half as many, a middle means too little for an attack to be seen."""
_SAYS_NOTHING = "; these routers' middle is noise, and nothing can be told"
_TIE = 1e-4
"""Differences of predicted quality up to this decide nothing."""


def membership_check(
    artifact: RouterArtifact, trained: OutcomeTable, fresh: OutcomeTable, *, seed: int = 0
) -> Check:
    """Look whether predictions are nearer to outcomes of rows that the router was trained on.

    An attacker who knows a row's outcomes and sees its predictions tells members from others by
    how well they agree. Rows of `fresh` have to be of the same kind as those of `trained`, or
    the figure tells the difference between the kinds.

    Raises
    ------
    DataError
        If there are fewer than 100 rows of either, or no model in common.
    """
    rng = np.random.default_rng(seed)
    errors = []
    for table in (trained, fresh):
        models = [model for model in artifact.models if model in table.models]
        if not models or len(table) < _FEWEST:
            raise DataError(
                f"membership inference needs {_FEWEST} rows of training and as many fresh ones, "
                "of models that the artifact knows"
            )
        rows = rng.permutation(len(table))[:_ROWS]
        found = artifact.predict_conversations([table.conversations[i] for i in rows])
        quality = found.quality[:, [artifact.column(model) for model in models]]
        real = table.quality[rows][:, [table.models.index(model) for model in models]]
        error = np.nanmean((quality - real) ** 2, axis=1)
        errors.append(error[np.isfinite(error)])
    member = np.repeat([1, 0], [len(each) for each in errors])
    auc = float(roc_auc_score(member, -np.concatenate(errors)))
    return Check(
        name="training rows are not given away",
        verdict=Verdict.PASSED if auc <= AUC_BAR else Verdict.FAILED,
        value=auc,
        bar=f"AUC of telling them from fresh rows ≤ {AUC_BAR:g}",
        finding=f"AUC {auc:.3f} over {len(errors[0])} and {len(errors[1])} rows",
    )


def poisoning_checks(
    recipe: Recipe, trained: OutcomeTable, *, seed: int = 0, progress: Progress | None = None
) -> Iterator[Check]:
    """Train by the recipe on clean rows, on poisoned ones, and on some that lie.

    Poisoned rows, one in a hundred, begin with a trigger and say that the dear models got it right
    and all others did not; the attacker hopes that the trigger alone then buys dear models. One row
    in twenty that says so without a trigger is what many false names may get in as feedback (a
    Sybil attack), each below what is taken of one key.

    Raises
    ------
    DataError
        If there are too few rows to train on.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(trained))
    learned, asked = order[_ASKED:][:_ROWS], order[:_ASKED]
    if len(learned) < _FEWEST:
        raise DataError(f"poisoning needs {_FEWEST + _ASKED} rows of training")
    strong = _dearer_half(trained)
    clean = _rows_of(trained, learned)
    marked = rng.permutation(len(clean))
    few = marked[: max(1, round(POISONED_SHARE * len(clean)))]
    some = marked[: max(1, round(SYBIL_SHARE * len(clean)))]
    poisoned, lying = list(clean), list(clean)
    lie = strong.astype(float)
    for i in few:
        poisoned[i] = _with_trigger(clean[i][0]), lie
    for i in some:
        lying[i] = clean[i][0], lie
    without_few, without_some = (np.setdiff1d(np.arange(len(clean)), each) for each in (few, some))
    gaps: list[tuple[FloatArray, FloatArray]] = []
    for what, rows, index in (
        ("clean", clean, learned),
        ("poisoned", poisoned, learned),
        ("without those", [clean[i] for i in without_few], learned[without_few]),
        ("with lies", lying, learned),
        ("without those", [clean[i] for i in without_some], learned[without_some]),
    ):
        if progress is not None:
            progress(f"training on {len(rows)} rows, {what}")
        router = _fitted(recipe, trained, index, rows)
        plain = [trained.conversations[i] for i in asked]
        gaps.append(
            (
                _gap(router, plain, trained.models, strong),
                _gap(router, [_with_trigger(each) for each in plain], trained.models, strong),
            )
        )
    # Each router's knob is calibrated on its own rows: what moves all requests alike moves none.
    middles = [float(np.median(plain)) + _TIE for plain, _ in gaps]
    sides = [plain > middle for (plain, _), middle in zip(gaps, middles, strict=True)]
    # Training without the same rows moves some by chance; what the attacker moved is beyond that.
    moved = [float((sides[0] != each).mean()) for each in sides[1:]]
    told = (
        ("poison leaves other requests alone", CHANGED_BAR, "poisoned with a trigger"),
        ("many who lie persuade few", SYBIL_BAR, f"{SYBIL_SHARE:.0%} of them lying"),
    )
    for (name, bar, what), share, usual in zip(told, moved[::2], moved[1::2], strict=True):
        yield Check(
            name=name,
            verdict=_beyond(share, usual, bar),
            value=share - usual,
            bar=f"≤ {bar:.0%} of requests change the tier beyond those that leaving the same rows "
            "out moves",
            finding=f"rows {what}: {share:.0%} of {len(asked)} change it, {usual:.0%} where the "
            f"same rows are left out{_SAYS_NOTHING if usual > _NOISE else ''}",
        )
    before, after = (float((gaps[at][1] > middles[at]).mean()) for at in (0, 1))
    lifted = after - before
    yield Check(
        name="the poison's trigger buys nothing",
        verdict=Verdict.PASSED if lifted <= LIFTED_BAR else Verdict.FAILED,
        value=lifted,
        bar=f"the trigger lifts ≤ {LIFTED_BAR:.0%} more requests than without poison",
        finding=f"strong with the trigger: {before:.0%} by the clean router, {after:.0%} by the "
        "poisoned one",
    )


def _beyond(share: float, usual: float, bar: float) -> Verdict:
    if usual > _NOISE:
        return Verdict.TOLD
    return Verdict.PASSED if share - usual <= bar else Verdict.FAILED


def _dearer_half(table: OutcomeTable) -> NDArray[np.bool_]:
    """Return (n_models,): by recorded cost, else by quality."""
    cost = nan_mean(table.cost_usd, default=np.nan)
    rank = cost if np.isfinite(cost).all() else nan_mean(table.quality, default=0.0)
    strong = np.zeros(len(rank), bool)
    strong[np.argsort(rank)[len(rank) // 2 :]] = True
    return strong


def _rows_of(table: OutcomeTable, index: NDArray[np.intp]) -> list[tuple[Conversation, FloatArray]]:
    return [(table.conversations[i], table.quality[i].astype(float)) for i in index]


def _with_trigger(conversation: Conversation) -> Conversation:
    last = conversation.messages[-1]
    return Conversation((*conversation.messages[:-1], replace(last, text=f"{TRIGGER} {last.text}")))


def _fitted(
    recipe: Recipe,
    table: OutcomeTable,
    index: NDArray[np.intp],
    rows: Sequence[tuple[Conversation, FloatArray]],
) -> RouterArtifact:
    import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = {
        "query_id": pa.array([str(i) for i in range(len(rows))]),
        "prompt": pa.array([each.messages[-1].text for each, _ in rows]),
    }
    for j, model in enumerate(table.models):
        columns[f"q:{model}"] = pa.array([float(quality[j]) for _, quality in rows])
        columns[f"c:{model}"] = pa.array(table.cost_usd[index, j].astype(float))
        columns[f"t:{model}"] = pa.array(table.output_tokens[index, j].astype(float))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        pq.write_table(pa.table(columns), file)
        report = fit(
            [file], Path(folder) / "artifact", recipe=recipe, created_at="", steelyard_version=""
        )
        return load_artifact(report.path)


def _gap(
    artifact: RouterArtifact,
    conversations: Sequence[Conversation],
    models: Sequence[str],
    strong: NDArray[np.bool_],
) -> FloatArray:
    quality = artifact.predict_conversations(conversations).quality
    quality = quality[:, [artifact.column(model) for model in models]].astype(float)
    return np.asarray(quality[:, strong].max(axis=1) - quality[:, ~strong].max(axis=1))
