"""Train the shared model of requests on graded prompts and public outcomes together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routers.data.dataset import OutcomeTable
from routers.data.graded import Courtesy, Judgement
from routers.embedders.base import Embedder
from routers.heads.mlp import MlpHead
from routers.options import prefixed
from routers.request.courtesy import CourtesyModel
from routers.request.gloss import Glossary
from routers.request.layout import DOMAINS, KINDS, LEVELS
from routers.request.model import (
    LONGEST_LOG,
    N_TARGETS,
    N_THRESHOLDS,
    SHORTEST_LOG,
    RequestReader,
    lexicon_bytes,
    network_score,
    normal_logit,
)
from routers.request.words import WordModel
from routers.text.conversation import conversation_text
from routers.training.rewording import Judged, alone, padded, reworded
from routers.types import FloatMatrix, FloatVector

_FOLDS = 4
_NETWORK: Mapping[str, Any] = {"n_hidden": 128, "n_networks": 2, "n_epochs": 16, "batch_size": 128}
_REPEATED = 6
"""How often graded prompts of our own stand among the rows; public ones, graded once, a third."""

DIRECTIONS = 8
_DIRECTION_SPREAD = 0.3
"""Standard deviation of the leading direction, so that it does not drown the other columns."""

_MOST_PER_BENCHMARK = 250
_CHAT_LIKE = ("alpaca_eval", "mt_bench", "commongen", "natural_qa", "trivia_qa", "logicgrid")
_CHAT_REPEATED = 2
"""Multiple-choice sets are many and alike: they must not drown what people ask."""


def train(
    own: Sequence[Judged],
    public: Sequence[Judged],
    outcomes: Sequence[OutcomeTable],
    *,
    embedder: Embedder,
    lexicon: Mapping[str, str],
    courtesies: Sequence[Courtesy],
    openers: Mapping[str, Sequence[tuple[str, ...]]],
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of `RequestModel` and what is worth knowing of the training.

    Parameters
    ----------
    own
        Graded prompts of the training part.
    public
        Prompts of others that were graded here.
    outcomes
        Public outcome sets: every model of every set is one more target of the network, whose
        predicted logits give the outcome directions.
    courtesies
        What people put around requests: prompts padded with them keep their grades.
    openers
        By language, groups of words that begin requests and ask for the same.
    """
    rng = np.random.default_rng(seed)
    courtesy = CourtesyModel.fit(
        [each.text for each in courtesies if each.opens],
        [each.text for each in courtesies if not each.opens],
        [each.text.prompt for each in own],
    )
    reader = RequestReader(embedder, Glossary(lexicon), courtesy)
    graded = [*own, *public, *alone(courtesies)]
    progress(f"reading {len(graded)} graded prompts")
    words, x = reader.read([each.text for each in graded])
    target = np.vstack([_target(each.judgements) for each in graded])
    grade = np.array([each.grade for each in graded])
    repeats = np.full(len(graded), _REPEATED // 3)
    repeats[: len(own)] = _REPEATED
    dressed = [*padded(own, courtesies, rng), *reworded(own, openers, rng)]
    # What is recognised is left out, and teaches nothing: these are read as they stand.
    dressed_words, dressed_x = reader.read([each.text for each in dressed], polite=True)
    dressed_target = np.vstack([_target(each.judgements) for each in dressed])
    progress("reading outcomes")
    outcome_x, outcome_y = _outcome_rows(outcomes, reader, rng)

    def rows(index: np.ndarray, themes: set[str]) -> tuple[FloatMatrix, FloatMatrix]:
        chosen = np.repeat(index, repeats[index])
        extra = [i for i, each in enumerate(dressed) if each.theme in themes]
        known = np.vstack([target[chosen], np.repeat(dressed_target[extra], 2, axis=0)])
        inputs = np.vstack([x[chosen], np.repeat(dressed_x[extra], 2, axis=0), outcome_x])
        n_known, n_outcomes = len(known), len(outcome_x)
        y = np.full((n_known + n_outcomes, N_TARGETS + outcome_y.shape[1]), np.nan, np.float32)
        y[:n_known, :N_TARGETS] = known
        y[n_known:, N_TARGETS:] = outcome_y
        return inputs, y

    def networks(index: np.ndarray, themes: set[str]) -> "_Network":
        inputs, y = rows(index, themes)
        head = MlpHead(**_NETWORK)
        head.fit(inputs, y, rng=np.random.default_rng(seed))
        return _Network.of(head)

    def word_model(index: np.ndarray, themes: set[str]) -> WordModel:
        extra = [i for i, each in enumerate(dressed) if each.theme in themes]
        texts = [words[i] for i in index] + [dressed_words[i] for i in extra]
        return WordModel.fit(
            texts, np.concatenate([grade[index], [dressed[i].grade for i in extra]])
        )

    # What neither part has seen decides how sure both together may be.
    folds = _theme_folds(graded, rng)
    by_network, by_words = np.zeros(len(graded), np.float32), np.zeros(len(graded), np.float32)
    for fold in range(_FOLDS):
        progress(f"fold {fold + 1} of {_FOLDS}")
        seen, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        themes = {graded[i].theme for i in seen}
        by_network[held] = network_score(networks(seen, themes).outputs(x[held]))
        by_word = word_model(seen, themes)
        by_words[held] = [by_word.score(words[i]) for i in held]
    # Public prompts are hard by selection: the levels of our own decide.
    scores = np.stack([by_network, by_words], axis=1)[: len(own)]
    cuts, slopes = fit_levels(scores, target[: len(own), :N_THRESHOLDS])

    progress("fitting on all prompts")
    everything, all_themes = np.arange(len(graded)), {each.theme for each in graded}
    network = networks(everything, all_themes)
    final_words = word_model(everything, all_themes)
    output, bias, shares = _with_directions(network, np.vstack([x, outcome_x]))
    arrays = {
        "center": network.center,
        "scale": network.scale,
        "hidden": network.hidden,
        "hidden_bias": network.hidden_bias,
        "output": output.astype(np.float16),
        "output_bias": bias.astype(np.float32),
        "cuts": cuts,
        "slopes": slopes,
        "level_lengths": _level_lengths(own),
        "lexicon": lexicon_bytes(lexicon),
        "embedder_id": np.frombuffer(embedder.embedder_id.encode(), np.uint8),
        **prefixed("words.", final_words.state()),
        **prefixed("courtesy.", courtesy.state()),
    }
    facts = {
        "graded_prompts": len(own),
        "public_prompts": len(public),
        "outcome_rows": len(outcome_x),
        "outcome_models": int(outcome_y.shape[1]),
        "variance_of_directions": [round(float(each), 4) for each in shares],
        "seed": seed,
    }
    return arrays, facts


@dataclass(frozen=True, slots=True)
class _Network:
    """Several networks side by side whose logits are averaged."""

    center: FloatVector
    scale: FloatVector
    hidden: np.ndarray
    hidden_bias: FloatVector
    output: np.ndarray
    bias: FloatVector

    @classmethod
    def of(cls, head: MlpHead) -> "_Network":
        state = head.state()
        n_networks = len(state["output"])
        return cls(
            center=state["center"],
            scale=state["scale"],
            hidden=state["hidden"],
            hidden_bias=state["hidden_bias"],
            output=np.concatenate(list(state["output"].astype(np.float64) / n_networks)),
            bias=state["output_bias"].mean(axis=0),
        )

    def active(self, x: FloatMatrix) -> np.ndarray:
        z = np.clip((x - self.center) / self.scale, -5, 5)
        active = np.maximum(z @ self.hidden.astype(np.float64) + self.hidden_bias, 0)
        return np.asarray(active)

    def outputs(self, x: FloatMatrix) -> FloatMatrix:
        return np.asarray(self.active(x) @ self.output + self.bias, np.float32)


def _target(judgements: Sequence[Judgement]) -> FloatVector:
    """Return (N_TARGETS,): the share of readers who saw each level reached, each kind, domain."""
    parts = []
    for each in judgements:
        reached = [float(each.grade > level) for level in range(1, N_THRESHOLDS + 1)]
        kinds = [float(each.kind == kind) for kind in KINDS]
        domains = [float(each.domain == domain) for domain in DOMAINS]
        length = (np.log1p(each.tokens) - SHORTEST_LOG) / (LONGEST_LOG - SHORTEST_LOG)
        parts.append([*reached, *kinds, *domains, float(np.clip(length, 0, 1))])
    return np.asarray(np.mean(parts, axis=0), np.float32)


def _level_lengths(own: Sequence[Judged]) -> FloatVector:
    """Return the mean log(1 + tokens) of good answers on each level, (n_levels,)."""
    lengths: list[list[float]] = [[] for _ in LEVELS]
    for judged in own:
        for each in judged.judgements:
            lengths[each.grade - 1].append(float(np.log1p(each.tokens)))
    return np.array([np.mean(each or [np.log1p(300)]) for each in lengths], np.float32)


def _outcome_rows(
    tables: Iterable[OutcomeTable], reader: RequestReader, rng: np.random.Generator
) -> tuple[FloatMatrix, FloatMatrix]:
    """Return features and outcomes, a column per model and set; benchmarks weigh alike."""
    features, qualities = [], []
    for table in tables:
        benchmark = np.array(["/".join(group.split("/")[:2]) for group in table.groups])
        chosen = []
        for name in np.unique(benchmark):
            rows = np.flatnonzero(benchmark == name)
            if any(word in name for word in _CHAT_LIKE):
                chosen.append(np.repeat(rows, _CHAT_REPEATED))
            else:
                chosen.append(rng.permutation(rows)[:_MOST_PER_BENCHMARK])
        rows, where = np.unique(np.concatenate(chosen), return_inverse=True)
        _, x = reader.read([conversation_text(table.conversations[row]) for row in rows])
        features.append(x[where])
        qualities.append(table.quality[rows][where])
    width = sum(each.shape[1] for each in qualities)
    blocks, column = [], 0
    for quality in qualities:
        block = np.full((len(quality), width), np.nan, np.float32)
        block[:, column : column + quality.shape[1]] = quality
        column += quality.shape[1]
        blocks.append(block)
    if not blocks:
        return np.zeros((0, reader.dimensions), np.float32), np.zeros((0, 0), np.float32)
    return np.vstack(features), np.vstack(blocks)


def _theme_folds(graded: Sequence[Judged], rng: np.random.Generator) -> np.ndarray:
    themes = sorted({each.theme for each in graded})
    fold = dict(zip(themes, rng.permutation(len(themes)) % _FOLDS, strict=True))
    return np.array([fold[each.theme] for each in graded])


def fit_levels(scores: np.ndarray, reached: np.ndarray) -> tuple[FloatVector, FloatVector]:
    """Fit an ordered probit: P(level > k) is the normal share below scores @ slopes - cuts[k].

    Parameters
    ----------
    scores
        (n_prompts, n_scores), of models that had not seen the prompt.
    reached
        (n_prompts, n_levels - 1): the share of readers who saw level k exceeded.

    Returns
    -------
    tuple of FloatVector
        Cuts, ascending, and slopes.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  (training only)

    n_cuts, n_scores = reached.shape[1], scores.shape[1]
    spread = scores.std(axis=0)

    def unpack(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Gaps as exponentials keep the cuts in order.
        cuts = values[0] + np.concatenate([[0.0], np.cumsum(np.exp(values[1:n_cuts]))])
        return cuts, values[n_cuts:] / spread

    def loss(values: np.ndarray) -> float:
        cuts, slopes = unpack(values)
        z = (scores @ slopes)[:, None] - cuts
        above = np.concatenate([np.ones((len(z), 1)), 1 / (1 + np.exp(-normal_logit(z)))], axis=1)
        levels = above - np.concatenate([above[:, 1:], np.zeros((len(z), 1))], axis=1)
        seen = np.concatenate([np.ones((len(z), 1)), reached], axis=1)
        share = seen - np.concatenate([seen[:, 1:], np.zeros((len(z), 1))], axis=1)
        return float(-(share * np.log(np.clip(levels, 1e-9, 1))).sum() / len(z))

    start = np.concatenate([[-2.0], np.zeros(n_cuts - 1), np.ones(n_scores)])
    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 500})
    cuts, slopes = unpack(found.x)
    return cuts.astype(np.float32), slopes.astype(np.float32)


def _with_directions(
    network: _Network, x: FloatMatrix
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replace the units of single models by the leading directions of their logits."""
    output, bias = network.output, network.bias
    if output.shape[1] == N_TARGETS:
        return output, bias, np.zeros(0)
    logits = network.active(x) @ output[:, N_TARGETS:] + bias[N_TARGETS:]
    mean = logits.mean(axis=0)
    _, size, directions = np.linalg.svd(logits - mean, full_matrices=False)
    # The sign of a direction is arbitrary: easy, for most models, is to be positive.
    directions *= np.sign(directions.sum(axis=1))[:, None]
    basis = directions[:DIRECTIONS].T * (_DIRECTION_SPREAD * np.sqrt(len(x)) / size[0])
    new_output = np.hstack([output[:, :N_TARGETS], output[:, N_TARGETS:] @ basis])
    new_bias = np.concatenate([bias[:N_TARGETS], (bias[N_TARGETS:] - mean) @ basis])
    share = size**2 / (size**2).sum()
    return new_output, new_bias, share[:DIRECTIONS]
