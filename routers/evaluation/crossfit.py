"""Predictions on training queries by routers that have not seen them."""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from routers.base import AuxiliarySet, Labels, Router
from routers.errors import DataError
from routers.types import Conversation, FloatMatrix, Predictions

FURTHER, TRAIN_ONLY = -1, -2
"""In the place of a fold: rows that no router learns from, rows that all learn from."""

_NOT_WORDS = re.compile(r"[\W_]+")


def prompt_folds(
    conversations: Sequence[Conversation], n_folds: int, rng: np.random.Generator
) -> np.ndarray:
    """Assign a fold to every query: (n_queries,) in [0, n_folds).

    Prompts that differ only in case, punctuation or white space share a fold, so that no router
    is tested on a question it has learned.

    Raises
    ------
    DataError
        If there are fewer different prompts than folds.
    """
    groups = numbered_prompts(conversations)
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < n_folds:
        raise DataError(
            f"{n_groups} different prompts cannot be split into {n_folds} folds; "
            "add data or lower calibration_folds"
        )
    fold_of_group = rng.permutation(n_groups) % n_folds
    return np.asarray(fold_of_group[groups])


def numbered_prompts(conversations: Sequence[Conversation]) -> np.ndarray:
    """Give every query the number of its prompt; prompts that are `normalised` alike share one."""
    number_of: dict[str, int] = {}
    return np.asarray(
        [number_of.setdefault(normalised(each), len(number_of)) for each in conversations],
        dtype=np.intp,
    )


def random_streams(seed: int) -> tuple[np.random.Generator, ...]:
    """Return the streams of folds, cross-fitting, kept rows and the final fit.

    One for each use: more folds must not change the final fit.
    """
    return tuple(np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(4))


def splits(folds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Yield training rows, rows to predict and a name for every fold; `FURTHER` comes last.

    Rows of `FURTHER` never train, rows of `TRAIN_ONLY` do nothing else.
    """
    n_folds = int(folds.max()) + 1
    learnable = folds != FURTHER
    for fold in range(n_folds):
        test = np.flatnonzero(folds == fold)
        yield np.flatnonzero(learnable & (folds != fold)), test, f"{fold + 1}/{n_folds}"
    further = np.flatnonzero(folds == FURTHER)
    if len(further) > 0:
        yield np.flatnonzero(learnable), further, "further rows"


def check_folds(labels: Labels, folds: np.ndarray) -> None:
    """Refuse folds without which nothing is known of a model.

    Raises
    ------
    DataError
        If a model was tried in one fold only.
    """
    for train, _, _ in splits(folds):
        unknown = np.isnan(labels.quality[train]).all(axis=0)
        if unknown.any():
            names = ", ".join(labels.models[i] for i in np.flatnonzero(unknown))
            raise DataError(f"too few outcomes of {names} to calibrate; drop it or add outcomes")


Features = Callable[
    [np.ndarray, np.ndarray], tuple[FloatMatrix, FloatMatrix, Sequence[AuxiliarySet]]
]
"""Training rows and further rows → the features of both and of the auxiliary sets, learned on
the former alone."""


def cross_fit(
    make: Callable[[], Router],
    features: Features,
    labels: Labels,
    *,
    folds: np.ndarray,
    rng: np.random.Generator,
    progress: Callable[[str], None],
    length_column: int | None = None,
) -> Predictions:
    """Predict every fold by a router that was fitted on the others; rows as in `labels`.

    Parameters
    ----------
    folds
        (n_queries,), as `prompt_folds` assigns them. Rows of `FURTHER` are predicted by a router
        that was fitted on all others; nothing is predicted (zero) of those of `TRAIN_ONLY`.

    Raises
    ------
    DataError
        If a model was tried in one fold only, so that the others know nothing of it.
    """
    shape = (len(labels), len(labels.models))
    out = [np.zeros(shape, np.float32) for _ in range(4)]
    strength: FloatMatrix | None = None
    check_folds(labels, folds)
    for train, test, name in splits(folds):
        progress(f"cross-fitting {name}")
        x_train, x_test, auxiliary = features(train, test)
        router = make().fit(
            x_train,
            labels.rows(train),
            rng=rng,
            auxiliary=auxiliary,
            length_column=length_column,
        )
        predictions = router.predict(x_test)
        fields = (
            predictions.quality,
            predictions.quality_std,
            predictions.output_tokens,
            predictions.output_tokens_upper,
        )
        for array, field in zip(out, fields, strict=True):
            array[test] = field
        if predictions.strength is not None:
            strength = np.zeros(shape, np.float32) if strength is None else strength
            strength[test] = predictions.strength
    return Predictions(
        quality=out[0],
        quality_std=out[1],
        output_tokens=out[2],
        output_tokens_upper=out[3],
        strength=strength,
    )


def normalised(conversation: Conversation) -> str:
    """Return what is left of a prompt without case, punctuation and white space."""
    text = " ".join(message.text for message in conversation.messages)
    # A text without a single letter or digit stays what it is: "+" is not "-".
    return _NOT_WORDS.sub(" ", text.casefold()).strip() or text
