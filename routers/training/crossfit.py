"""Predictions on training queries by routers that have not seen them."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from routers.base import AuxiliarySet, Labels, Router
from routers.errors import DataError
from routers.types import Conversation, FloatMatrix, Predictions

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
    group_of: dict[str, int] = {}
    groups = np.asarray(
        [group_of.setdefault(normalised(each), len(group_of)) for each in conversations],
        dtype=np.intp,
    )
    if len(group_of) < n_folds:
        raise DataError(
            f"{len(group_of)} different prompts cannot be split into {n_folds} folds; "
            "add data or lower calibration_folds"
        )
    fold_of_group = rng.permutation(len(group_of)) % n_folds
    return np.asarray(fold_of_group[groups])


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

    Raises
    ------
    DataError
        If a model was tried in one fold only, so that the others know nothing of it.
    """
    shape = (len(labels), len(labels.models))
    out = [np.empty(shape, np.float32) for _ in range(4)]
    strength: FloatMatrix | None = None
    n_folds = int(folds.max()) + 1
    for fold in range(n_folds):
        progress(f"cross-fitting {fold + 1}/{n_folds}")
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        unknown = np.isnan(labels.quality[train]).all(axis=0)
        if unknown.any():
            names = ", ".join(labels.models[i] for i in np.flatnonzero(unknown))
            raise DataError(f"too few outcomes of {names} to calibrate; drop it or add outcomes")
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
