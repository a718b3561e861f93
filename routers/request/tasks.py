"""Which task of a closed vocabulary a prompt asks for, by examples, or that it is none of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from routers.numeric import FloatArray
from routers.request._other_prompts import OTHER_PROMPTS
from routers.request.split import split_request
from routers.request.task_clauses import clauses
from routers.request.task_kernel import Embed, TaskKernel

_RIDGES = (0.03, 0.1, 0.3, 1.0)
_SHARPNESS = (2.0, 4.0, 8.0, 16.0)
_TOO_ALIKE = 0.6
"""A prompt that belongs to no task is not learned as such where it is so near to an example."""

_CLAUSE_CHARS = 600
"""A longer request is not taken apart."""


class TaskRecogniser:
    """Tell tasks apart by kernel ridge regression on few examples, and all else from them.

    What is asked counts, not the text that it is asked of. Ridge and sharpness are chosen by the
    log-loss of examples that were left out; a task that nothing is clearly of is told for none.

    Parameters
    ----------
    examples
        Prompts by task.
    embed
        Returns the embeddings of texts.
    least_chance
        How likely a task has to be.
    chains
        Whether two tasks are looked for, of which the second works on what the first brings.
    """

    def __init__(
        self,
        examples: Mapping[str, Sequence[str]],
        embed: Embed,
        *,
        least_chance: float = 0.6,
        chains: bool = False,
    ) -> None:
        self.tasks = tuple(examples)
        self.least_chance, self.chains = least_chance, chains
        texts = [_ask(each) for task in examples for each in examples[task]]
        labels = [at for at, task in enumerate(examples) for _ in examples[task]]
        others = _unlike(texts, TaskKernel([*texts, *OTHER_PROMPTS], embed).between())
        kernel = TaskKernel([*texts, *others], embed)
        label = np.array([*labels, *[len(self.tasks)] * len(others)])
        dual, self._sharpness = _learn(kernel.between(), label, len(self.tasks) + 1)
        self._read = kernel.readers(dual)

    def recognise(self, prompt: str) -> tuple[str, ...]:
        """Return the task, two of them in their order where a chain is asked for, or none."""
        ask = _ask(prompt)
        if self.chains and len(ask) <= _CLAUSE_CHARS:
            chain = self._chain(ask)
            if chain is not None:
                return chain
        chances = self.chances([ask])[0]
        best = int(chances.argmax())
        return (self.tasks[best],) if chances[best] >= self.least_chance else ()

    def chances(self, texts: Sequence[str]) -> FloatArray:
        """Return (len(texts), n_tasks): how likely each task is; what is missing to 1 is none."""
        return np.asarray(_softmax(self._sharpness * self._read(texts))[:, :-1])

    def _chain(self, ask: str) -> tuple[str, str] | None:
        """Return two tasks whose clauses are both clear; the clearest pair of them."""
        pairs = list(dict.fromkeys(clauses(ask)))
        if not pairs:
            return None
        chances = self.chances([part for pair in pairs for part in pair])
        first, second = chances[0::2], chances[1::2]
        sure = np.minimum(first.max(axis=1), second.max(axis=1))
        differ = first.argmax(axis=1) != second.argmax(axis=1)
        sure = np.where(differ, sure, 0.0)
        at = int(sure.argmax())
        if sure[at] < self.least_chance:
            return None
        return self.tasks[int(first[at].argmax())], self.tasks[int(second[at].argmax())]


def _ask(prompt: str) -> str:
    return split_request(prompt).ask


def _unlike(texts: Sequence[str], alike: FloatArray) -> list[str]:
    """Return the prompts of nobody's that are not much like one of some texts."""
    nearest = alike[len(texts) :, : len(texts)].max(axis=1)
    return [each for each, near in zip(OTHER_PROMPTS, nearest, strict=True) if near < _TOO_ALIKE]


def _learn(kernel: FloatArray, label: np.ndarray, n_classes: int) -> tuple[FloatArray, float]:
    """Return dual weights, (n_rows, n_classes), and the sharpness of the chances."""
    target = np.eye(n_classes)[label]
    values, vectors = np.linalg.eigh(kernel)
    found: list[tuple[float, FloatArray, float]] = []
    for ridge in _RIDGES:
        inverse = (vectors / (np.maximum(values, 0) + ridge)) @ vectors.T
        dual = inverse @ target
        left_out = target - dual / np.diag(inverse)[:, None]
        for sharpness in _SHARPNESS:
            chances = _softmax(sharpness * left_out)
            loss = -np.log(np.maximum(chances[np.arange(len(label)), label], 1e-9)).mean()
            found.append((float(loss), dual, sharpness))
    _, dual, sharpness = min(found, key=lambda each: each[0])
    return dual, sharpness


def _softmax(scores: FloatArray) -> FloatArray:
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
