"""The shared model of requests: what is asked, apart from how long the text is."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from routers.embedders.base import Embedder
from routers.errors import RoutingConfigError
from routers.layer import HiddenLayer
from routers.options import State, take, under
from routers.request.courtesy import CourtesyModel
from routers.request.gloss import Glossary
from routers.request.layout import DOMAINS, KINDS, LEVELS, Description
from routers.request.split import split_request
from routers.request.words import WordModel
from routers.request.wrapping import unwrap
from routers.text.conversation import ConversationText
from routers.text.lexical import LEXICAL_SIGNALS, measure_context, measure_prompt
from routers.types import FloatMatrix, FloatVector

WEIGHTS_FILE = Path(__file__).parents[1] / "pretrained" / "request" / "weights.npz"

MATERIAL_CHARS = 2_000
"""That much of the material is read, beyond what the lexical signals measure of the whole."""

_ASK_CHARS = 1_500
_MATERIAL_WEIGHT = np.float32(0.5)
_FARTHEST = 5.0
_BY_LEVEL = np.array(0.75, np.float32)
"""Arrays without dimensions: as operands these cost half of what numbers do."""

_FARTHEST_Z, _SLOPE_Z, _CUBE_Z = (np.array(each, np.float32) for each in (6.0, 1.5976, 0.07056))
N_THRESHOLDS = len(LEVELS) - 1
N_TARGETS = N_THRESHOLDS + len(KINDS) + len(DOMAINS) + 1
"""What the network predicts first: chances to reach each level, kinds, domains, length. What
follows are the leading directions of public outcomes."""


class RequestReader:
    """Turn texts into the inputs of the network.

    Parameters
    ----------
    embedder
        Embeds what is asked and what it is asked of, apart.
    glossary
        Reads other languages in English.
    courtesy
        Leaves out what asks for nothing.
    """

    def __init__(self, embedder: Embedder, glossary: Glossary, courtesy: CourtesyModel) -> None:
        self._embedder = embedder
        self._glossary = glossary
        self._courtesy = courtesy

    @property
    def dimensions(self) -> int:
        """Columns of the inputs."""
        return 2 * self._embedder.dimensions + 2 * len(LEXICAL_SIGNALS)

    def read(
        self, texts: Sequence[ConversationText], *, polite: bool = False
    ) -> tuple[list[str], FloatMatrix]:
        """Return the words of each request and float32 (n_texts, dimensions).

        The newest turn alone is the request; what was said before is material, and system
        prompts are the same for every request of an application. The words of other languages
        stand beside their English.

        Parameters
        ----------
        polite
            Read courtesies and wrappings too, which a model has to bear that were not recognised.
        """
        words: list[str] = []
        segments: list[str] = []
        signals: list[list[float]] = []
        no_context = measure_context(ConversationText(prompt=""))
        for text in texts:
            prompt = text.prompt
            if not polite:
                prompt = unwrap(self._courtesy.strip(unwrap(prompt)))
            request = split_request(prompt)
            ask = request.ask[:_ASK_CHARS]
            english = self._glossary.gloss(ask)
            words.append(ask if english == ask else f"{ask}\n{english}")
            segments += (english, request.material[:MATERIAL_CHARS] or text.history)
            whole = measure_prompt(prompt)
            alone = whole if request.ask == prompt else measure_prompt(request.ask)
            turns = msgspec.structs.replace(text, system="") if text.system else text
            signals.append([*alone, *no_context, *whole, *measure_context(turns)])
        vectors = self._embedder.encode(segments)
        vectors[1::2] *= _MATERIAL_WEIGHT
        both = vectors.reshape(len(texts), 2 * self._embedder.dimensions)
        return words, np.concatenate([both, np.array(signals, np.float32)], axis=1)


class RequestModel:
    """Describe requests: level, kind, domain, length of a good answer, outcome directions.

    A network reads the parts of the prompt, a linear model the words of the request; both
    together give the level, by an ordered probit that was fitted on requests which
    neither had seen, so that the chances are as sure as they may be.

    Parameters
    ----------
    embedder
        The one that the weights were trained with.
    state
        `center`, `scale`, `hidden`, `hidden_bias`, `output`, `output_bias` of the network; `cuts`
        (n_levels - 1,) and `slopes` (2,) of the levels; `level_lengths` (n_levels,); `lexicon`,
        `embedder_id`; `words.*` and `courtesy.*` of the linear models.

    Raises
    ------
    KeyError, ValueError
        If an array is missing or does not fit.
    RoutingConfigError
        If the embedder is another one.

    References
    ----------
    McCullagh 1980, Regression models for ordinal data; Song et al. 2025, IRT-Router,
    arXiv:2506.01048 (few traits of a query behind the success of many models).
    """

    def __init__(self, embedder: Embedder, state: State) -> None:
        if bytes(take(state, "embedder_id", ndim=1)).decode() != embedder.embedder_id:
            raise RoutingConfigError(
                "the feature block 'request' needs the embedder 'static' with its default "
                "options; leave the block out or change the embedder"
            )
        self._reader = RequestReader(
            embedder,
            Glossary.from_bytes(take(state, "lexicon", ndim=1)),
            CourtesyModel.restore(under("courtesy.", state)),
        )
        self._words = WordModel.restore(under("words.", state))
        hidden, hidden_bias = take(state, "hidden", ndim=2), take(state, "hidden_bias", ndim=1)
        center, scale = take(state, "center", ndim=1), take(state, "scale", ndim=1)
        n_inputs = self._reader.dimensions
        if not len(hidden) == len(center) == len(scale) == n_inputs:
            raise ValueError("the network of the request model does not fit its inputs")
        if len(hidden_bias) != hidden.shape[1]:
            raise ValueError("the layers of the request model do not fit together")
        self._layer = HiddenLayer(center, scale, hidden, hidden_bias, farthest=_FARTHEST)
        self._output = take(state, "output", ndim=2).astype(np.float32)
        self._output_bias: FloatVector = take(state, "output_bias", ndim=1)
        if self._output.shape != (hidden.shape[1], len(self._output_bias)):
            raise ValueError("the layers of the request model do not fit together")
        if len(self._output_bias) < N_TARGETS:
            raise ValueError("the request model predicts too little")
        self._cuts: FloatVector = take(state, "cuts", ndim=1)
        self._slopes: FloatVector = take(state, "slopes", ndim=1)
        self._level_lengths: FloatVector = take(state, "level_lengths", ndim=1)
        if (
            self._cuts.shape != (N_THRESHOLDS,)
            or self._slopes.shape != (2,)
            or self._level_lengths.shape != (len(LEVELS),)
        ):
            raise ValueError("the levels of the request model do not fit")

    @classmethod
    def load(cls, embedder: Embedder, file: Path = WEIGHTS_FILE) -> "RequestModel":
        """Load the weights, by default those that are shipped."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(embedder, dict(arrays))

    @property
    def n_directions(self) -> int:
        """Directions of public outcomes beside the description."""
        return len(self._output_bias) - N_TARGETS

    def describe(self, texts: Sequence[ConversationText]) -> tuple[Description, FloatMatrix]:
        """Describe requests; return also float32 (n_texts, n_directions)."""
        requests, x = self._reader.read(texts)
        out = self._layer(x).dot(self._output)
        out += self._output_bias
        words = np.array([self._words.score(each) for each in requests], np.float32)
        described = describe(
            out,
            words,
            cuts=self._cuts,
            slopes=self._slopes,
            level_lengths=self._level_lengths,
        )
        return described, out[:, N_TARGETS:]


def network_score(out: FloatMatrix) -> FloatVector:
    """Return the mean logit of the thresholds of the network's outputs, (n_texts,)."""
    total = np.add.reduce(out[:, :N_THRESHOLDS], axis=1)
    return np.asarray(total / np.float32(N_THRESHOLDS), np.float32)


def describe(
    out: FloatMatrix,
    words: FloatVector,
    *,
    cuts: FloatVector,
    slopes: FloatVector,
    level_lengths: FloatVector,
) -> Description:
    """Turn the outputs of network and word model into chances.

    Parameters
    ----------
    level_lengths
        (n_levels,), mean log(1 + tokens) of good answers on each level: what a single text lets
        expect scatters, and three quarters of it are taken from there.
    """
    # One pass over all units: with a single request every call of numpy costs more than its work.
    units = out[:, :N_TARGETS].copy()
    score = slopes[0] * network_score(out) + slopes[1] * words
    np.subtract(score[:, None], cuts, out=units[:, :N_THRESHOLDS])
    units[:, :N_THRESHOLDS] = normal_logit(units[:, :N_THRESHOLDS])
    chances = _sigmoid(units)
    reach = chances[:, :N_THRESHOLDS]
    levels = np.ones((len(out), len(LEVELS)), np.float32)
    levels[:, 1:] = reach
    levels[:, :-1] -= reach
    log_tokens = _SPAN_LOG * chances[:, N_TARGETS - 1]
    log_tokens += _SHORTEST_LOG
    log_tokens *= _BY_TEXT
    log_tokens += _BY_LEVEL * levels.dot(level_lengths)
    kinds_to = N_THRESHOLDS + len(KINDS)
    return Description(
        levels=levels,
        kinds=_normalised(chances[:, N_THRESHOLDS:kinds_to]),
        domains=_normalised(chances[:, kinds_to : kinds_to + len(DOMAINS)]),
        log_tokens=log_tokens,
    )


SHORTEST_LOG, LONGEST_LOG = 1.0, 9.0
"""Logarithms of the lengths that the network's last unit tells apart, at 0 and at 1."""


_SHORTEST_LOG = np.array(SHORTEST_LOG, np.float32)
_SPAN_LOG = np.array(LONGEST_LOG - SHORTEST_LOG, np.float32)
_ONE = np.array(1, np.float32)
_BY_TEXT = _ONE - _BY_LEVEL


def normal_logit(z: np.ndarray) -> np.ndarray:
    """Return the log odds of the share of a standard normal variable below `z`, nearly.

    The share is right to .0002. Those of a logistic variable would have too heavy tails: of
    prompts that look trivial, less than half as many were graded moderate as they let expect.

    References
    ----------
    Bowling et al. 2009, A logistic approximation to the cumulative normal distribution.
    """
    bounded = np.minimum(np.maximum(z, -_FARTHEST_Z), _FARTHEST_Z)
    return np.asarray(bounded * (_SLOPE_Z + _CUBE_Z * bounded * bounded))


def _normalised(chances: FloatMatrix) -> FloatMatrix:
    return np.asarray(chances / np.add.reduce(chances, axis=1, keepdims=True), np.float32)


def _sigmoid(x: FloatMatrix) -> FloatMatrix:
    """Return 1 / (1 + exp(-x)), in the place of `x`."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    np.add(x, _ONE, out=x)
    np.reciprocal(x, out=x)
    return x


def lexicon_bytes(entries: Mapping[str, str]) -> np.ndarray:
    """Return a lexicon as the bytes that `Glossary.from_bytes` reads."""
    text = "\n".join(f"{form}\t{word}" for form, word in sorted(entries.items()))
    return np.frombuffer(text.encode(), np.uint8)
