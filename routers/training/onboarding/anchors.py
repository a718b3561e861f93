"""Anchors: the few prompts that are put to a new model to see where it stands."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routers.artifact.onboarded_model import nearest
from routers.errors import DataError
from routers.estimators.item_response import ItemResponseModel, chance_correct
from routers.evaluation.checkers import Checker, defect
from routers.files import read_regular
from routers.numeric import FloatArray
from routers.training.onboarding.clusters import cluster_centers
from routers.types import Conversation, FloatMatrix

SHIPPED_ANCHORS = Path(__file__).parents[2] / "pretrained" / "anchors" / "anchors.jsonl"
"""Prompts of our own with checkable answers, made by `scripts/make_anchors.py`."""

_MAX_BYTES = 64 * 2**20
_PROMPTS_PER_CLUSTER = 8
_MAX_CLUSTERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One prompt with a checkable answer.

    Attributes
    ----------
    kind
        What it is about; results are told by kind.
    outcomes
        What other models made of it, by name, in [0, 1]; may be empty.
    """

    anchor_id: str
    kind: str
    prompt: str
    checker: Checker
    expected: str
    outcomes: Mapping[str, float] = field(default_factory=dict)

    @property
    def conversation(self) -> Conversation:
        """The prompt as a request."""
        return Conversation.of(self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorSet:
    """A file of anchors."""

    anchors: tuple[Anchor, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.anchors)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    id: Annotated[str, Field(min_length=1)]
    kind: str = "other"
    prompt: Annotated[str, Field(min_length=1)]
    checker: Checker
    expected: str
    outcomes: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}


def read_anchors(path: Path) -> AnchorSet:
    """Read anchors from JSONL.

    A line has `id`, `prompt`, `checker`, `expected`, and if you like `kind` and `outcomes`
    (model → quality).

    Raises
    ------
    DataError
        If the file cannot be read, a line is wrong or an id stands twice; the message names the
        line.
    """
    try:
        raw = read_regular(path, most_bytes=_MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    anchors: dict[str, Anchor] = {}
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = _Line.model_validate(json.loads(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DataError(f"{path}:{number}: {where}: {first['msg']}") from error
        except (ValueError, RecursionError, OverflowError) as error:
            raise DataError(f"{path}:{number}: is not valid JSON") from error
        problem = defect(entry.checker, entry.expected)
        if problem is not None:
            raise DataError(f"{path}:{number}: expected: {problem}")
        if entry.id in anchors:
            raise DataError(f"{path}:{number}: the id {entry.id!r} stands twice")
        anchors[entry.id] = Anchor(
            anchor_id=entry.id,
            kind=entry.kind,
            prompt=entry.prompt,
            checker=entry.checker,
            expected=entry.expected,
            outcomes=entry.outcomes,
        )
    if not anchors:
        raise DataError(f"{path}: holds no anchor")
    return AnchorSet(anchors=tuple(anchors.values()), sha256=hashlib.sha256(raw).hexdigest())


def peer_quality(anchors: Sequence[Anchor], models: Sequence[str]) -> FloatArray | None:
    """Return known outcomes of `models` on the anchors (n, n_models), None where none is known."""
    known = np.asarray(
        [[anchor.outcomes.get(model, np.nan) for model in models] for anchor in anchors]
    )
    return None if np.isnan(known).all() else known


def choose_anchors(
    x: FloatMatrix, directions: FloatArray, chances: FloatArray, *, n: int, seed: int = 0
) -> np.ndarray:
    """Choose an informative subset: every cluster of prompts in proportion, then information.

    Within its cluster the next anchor is the one that adds most to the determinant of the
    Fisher information, the sum of p (1 - p) a aᵀ over the anchors, starting from the identity.

    Parameters
    ----------
    x
        (n_prompts, n_features); decides the clusters.
    directions
        (n_prompts, k): the discrimination a of each prompt, scaled so that abilities have a
        prior variance of one.
    chances
        (n_prompts,): p of a typical model.
    n
        How many; all prompts where there are no more.

    Returns
    -------
    ndarray
        (n,) row numbers, ascending. The same input gives the same choice.

    References
    ----------
    Lord 1980, Applications of Item Response Theory (item information); Kiefer and Wolfowitz
    1960 (D-optimality).
    """
    total = len(x)
    if n >= total:
        return np.arange(total)
    n_clusters = int(np.clip(n // _PROMPTS_PER_CLUSTER, 1, _MAX_CLUSTERS))
    clusters = nearest(x, cluster_centers(x, n_clusters, seed=seed))
    scaled = directions * np.sqrt(chances * (1 - chances))[:, None]
    inverse = np.eye(scaled.shape[1])
    free = np.ones(total, dtype=bool)
    chosen: list[int] = []
    for cluster in _turns(clusters, n):
        rows = np.flatnonzero(free & (clusters == cluster))
        gain = np.einsum("ij,jk,ik->i", scaled[rows], inverse, scaled[rows])
        pick = int(rows[gain.argmax()])
        along = inverse @ scaled[pick]
        inverse = inverse - np.outer(along, along) / (1 + scaled[pick] @ along)
        free[pick] = False
        chosen.append(pick)
    return np.sort(np.asarray(chosen, np.intp))


def choose_by_item_response(
    x: FloatMatrix, model: ItemResponseModel, *, n: int, seed: int = 0
) -> np.ndarray:
    """Choose anchors from your own outcomes, by a MIRT that was fitted on them."""
    discrimination, difficulty = model.items(x)
    typical = model.ability.mean(axis=0)
    spread = np.sqrt(model.ability.var(axis=0) + 0.05)
    chances = chance_correct(discrimination, typical, difficulty)
    return choose_anchors(x, discrimination * spread, chances, n=n, seed=seed)


def _turns(clusters: np.ndarray, n: int) -> list[int]:
    """Return whose turn it is, n times: every cluster in proportion to its size, spread evenly."""
    names, sizes = np.unique(clusters, return_counts=True)
    taken = np.zeros(len(names), dtype=int)
    turns = []
    for turn in range(1, n + 1):
        due = np.where(taken < sizes, turn * sizes / len(clusters) - taken, -np.inf)
        at = int(due.argmax())
        taken[at] += 1
        turns.append(int(names[at]))
    return turns
