"""What requests are: kinds of tasks with their lengths, and conversations that grow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.sim.traffic import Floats, Ints, Traffic


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of task: lengths are log-normal around their medians.

    Attributes
    ----------
    spread
        Of both lengths: the standard deviation of their logarithms.
    """

    name: str
    share: float
    input_tokens: float
    output_tokens: float
    spread: float = 0.3


PREFILL_S_PER_TOKEN, DECODE_S_PER_TOKEN = 3.2e-4, 3.3e-5
"""Llama-2-7B on a V100, as published: per token of a prompt; per step and token of the batch."""

HEAVY_LIGHT = (
    Kind(name="LL", share=0.25, input_tokens=300, output_tokens=60),
    Kind(name="LH", share=0.25, input_tokens=300, output_tokens=500),
    Kind(name="HL", share=0.25, input_tokens=2200, output_tokens=60),
    Kind(name="HH", share=0.25, input_tokens=2200, output_tokens=500),
)
"""Light and heavy prompts (half a second and more to read) with light and heavy answers."""


def mixed(
    arrives_s: Floats,
    kinds: Sequence[Kind],
    rng: np.random.Generator,
    *,
    misjudged: float = 0.0,
    longest_tokens: int = 8_000,
) -> Traffic:
    """Return independent requests of several kinds.

    Parameters
    ----------
    misjudged
        The error of the expected lengths of answers: the standard deviation of its logarithm.
    """
    n = len(arrives_s)
    shares = np.array([kind.share for kind in kinds])
    kind = rng.choice(len(kinds), n, p=shares / shares.sum())

    def lengths(medians: Sequence[float]) -> Ints:
        spread = np.array([each.spread for each in kinds])[kind]
        drawn = np.array(medians)[kind] * np.exp(spread * rng.standard_normal(n))
        return np.clip(np.rint(drawn), 1, longest_tokens).astype(np.int64)

    output = lengths([each.output_tokens for each in kinds])
    return Traffic(
        arrives_s=arrives_s,
        kinds=tuple(each.name for each in kinds),
        kind=kind,
        input_tokens=lengths([each.input_tokens for each in kinds]),
        output_tokens=output,
        effort=rng.exponential(1.0, n),
        expected_tokens=output * np.exp(misjudged * rng.standard_normal(n)),
    )


def pieces_of_work(arrives_s: Floats, rng: np.random.Generator) -> Traffic:
    """Return requests without tokens: pieces of work whose lengths are exponential."""
    ones = np.ones(len(arrives_s), np.int64)
    return Traffic(
        arrives_s=arrives_s,
        input_tokens=ones,
        output_tokens=ones,
        effort=rng.exponential(1.0, len(arrives_s)),
    )


def conversations(
    begins_s: Floats,
    rng: np.random.Generator,
    *,
    mean_turns: float = 6.0,
    system_tokens: int = 400,
    question_tokens: float = 80.0,
    answer_tokens: float = 200.0,
    pause_s: float = 20.0,
    applications: Sequence[float] | None = None,
) -> Traffic:
    """Return the turns of conversations, each with all that was said before.

    How long they are is geometric, questions, answers and pauses are exponential. A turn comes at
    its time, whether or not the one before is answered by then.

    Parameters
    ----------
    applications
        How often conversations are of each of some applications, which have a system prompt each.
        Default: each conversation has one of its own.
    """
    n_turns = rng.geometric(1.0 / mean_turns, len(begins_s))
    conversation = np.repeat(np.arange(len(begins_s)), n_turns)
    n = len(conversation)
    first = np.concatenate([[0], np.cumsum(n_turns)[:-1]]).astype(np.int64)
    turn = np.arange(n) - first[conversation]
    question = 1 + rng.exponential(question_tokens, n).astype(np.int64)
    answer = 1 + rng.exponential(answer_tokens, n).astype(np.int64)
    pause = np.where(turn == 0, 0.0, rng.exponential(pause_s, n))

    def so_far(steps: Floats | Ints) -> Floats:
        total = np.cumsum(steps, dtype=np.float64)
        return total - (total - steps)[first][conversation]

    said = so_far(question + answer).astype(np.int64) + system_tokens
    arrives = begins_s[conversation] + so_far(pause)
    order = np.argsort(arrives, kind="stable")
    shared: dict[str, Ints] = {}
    if applications is not None:
        shares = np.array(applications) / np.sum(applications)
        opening = rng.choice(len(shares), len(begins_s), p=shares)[conversation]
        shared = {
            "opening": opening[order],
            "opening_tokens": np.full(n, system_tokens, np.int64),
        }
    return Traffic(
        arrives_s=arrives[order],
        input_tokens=(said - answer)[order],
        output_tokens=answer[order],
        effort=rng.exponential(1.0, n),
        conversation=conversation[order],
        known_tokens=np.where(turn == 0, 0, said - answer - question)[order],
        expected_tokens=np.full(n, answer_tokens),
        **shared,
    )


def alone_s(traffic: Traffic) -> Floats:
    """Return how long each request takes on an instance that it has for itself."""
    steps = traffic.output_tokens - 1.0
    read = traffic.input_tokens
    decode = DECODE_S_PER_TOKEN * steps * (read + 1 + steps / 2)
    return PREFILL_S_PER_TOKEN * read + decode


def erlang_wait_s(rate_per_s: float, mean_s: float, servers: int) -> float:
    """Return the mean wait of Poisson arrivals for one of some servers of exponential service."""
    busy = rate_per_s * mean_s
    terms = [busy**k / math.factorial(k) for k in range(servers)]
    last = busy**servers / math.factorial(servers) * servers / (servers - busy)
    return last / (sum(terms) + last) * mean_s / (servers - busy)
