"""Agents at work, replayed: what a router would have paid for tasks of many steps.

What counts is the cost of a finished task, not of a call: a conversation that changes its model
reads everything anew, and a cheap answer that is no good is a step more. The steps stay those that
were logged, whichever model is chosen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routers.data.trajectories import Trajectory, models_of, output_tokens
from routers.decision.switching import LastTurn
from routers.errors import DataError
from routers.models import PriceTable
from routers.numeric import FloatArray
from routers.text.token_estimate import estimate_tokens

IntArray = NDArray[np.intp]

_ENOUGH = 0.5
"""From this quality on, the task is taken to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How the replay counts.

    Attributes
    ----------
    cache_lifetime_s
        How long after it was last read a provider keeps a prefix.
    step_s
        Seconds between two steps where the log does not tell.
    retries
        How often a step whose answer was no good is asked again, of the model that is predicted
        best; 0 leaves the task unfinished.
    """

    cache_lifetime_s: float = 300.0
    step_s: float = 20.0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one way of choosing came to.

    Attributes
    ----------
    finished
        Tasks whose steps all went on; a sum of chances where qualities are no certainties.
    steps
        Calls, those that were made again included.
    misses
        Calls behind the first of a task that found less in the cache than its model's own last
        call would have left, because another model had made it or too much time had gone by.
    reread_tokens
        Of these prefixes.
    switches
        Changes of the model within a task.
    shares
        Calls by model.
    """

    name: str
    kind: str
    n_tasks: int
    finished: float
    cost_usd: float
    steps: float
    misses: float
    reread_tokens: float
    switches: int
    shares: Mapping[str, float]

    @property
    def usd_per_finished(self) -> float | None:
        """What a finished task cost, the unfinished ones' money included; None without one."""
        return self.cost_usd / self.finished if self.finished > 0 else None


@dataclass(slots=True, kw_only=True)
class Scene:
    """Tasks, and what is known of every step under every model.

    Attributes
    ----------
    input_tokens
        (n_steps,) of what each step reads; `tokens` is (n_steps, n_models) of what is written.
    qualities
        (n_steps, n_models), in [0, 1].
    bounds
        Of each task: its first step, and the one after its last.
    at_s
        (n_steps,) seconds since the task began.
    """

    trajectories: Sequence[Trajectory]
    models: tuple[str, ...]
    prices: PriceTable
    input_tokens: FloatArray
    tokens: FloatArray
    qualities: FloatArray
    at_s: FloatArray
    bounds: tuple[tuple[int, int], ...]
    terms: Terms
    notes: list[str] = field(default_factory=list)


def arrange_steps(
    trajectories: Sequence[Trajectory],
    models: Sequence[str],
    prices: PriceTable,
    *,
    terms: Terms,
    predicted_tokens: NDArray[np.floating] | None = None,
) -> Scene:
    """Lay out tasks for the replay.

    Output tokens that the log does not tell are those of the answer that the next step shows,
    whichever model wrote it; else the median of those that are known, or what was predicted.

    Parameters
    ----------
    predicted_tokens
        (n_steps, n_models) or None.

    Raises
    ------
    DataError
        If a model of `models` was not tried on every step, or has no price.
    """
    tried = models_of(trajectories)
    unknown = [model for model in models if model not in tried]
    if unknown:
        raise DataError(
            f"no quality of {unknown[0]!r} is known for every step; known are: {', '.join(tried)}"
        )
    for model in models:
        price = prices.get(model)
        if price is None or price.input_usd_per_mtok is None or price.output_usd_per_mtok is None:
            raise DataError(f"{model!r} has no price; give --prices with one")
    steps = [step for each in trajectories for step in each.steps]
    told = output_tokens(trajectories, models)
    shown = np.asarray([n for each in trajectories for n in _answers(each)], np.float64)
    tokens = np.where(np.isnan(told), shown[:, None], told)
    known = tokens[~np.isnan(tokens)]
    notes = []
    if np.isnan(tokens).any():
        if predicted_tokens is not None:
            tokens = np.where(np.isnan(tokens), predicted_tokens, tokens)
            notes.append("lengths of answers that no step shows are those that were predicted")
        else:
            usual = float(np.median(known)) if known.size else 0.0
            tokens = np.where(np.isnan(tokens), usual, tokens)
    without = [model for model in models if prices[model].cached_input_usd_per_mtok is None]
    if without:
        notes.append(
            f"no price of cached input is known of {', '.join(without)}: their prefixes are billed "
            "in full each time, so leaving them costs nothing"
        )
    ends = np.cumsum([len(each.steps) for each in trajectories]).tolist()
    return Scene(
        trajectories=trajectories,
        models=tuple(models),
        prices=prices,
        input_tokens=np.asarray([estimate_tokens(s.conversation) for s in steps], np.float64),
        tokens=tokens,
        qualities=np.asarray([[s.qualities[m] for m in models] for s in steps], np.float64),
        at_s=np.asarray([at for each in trajectories for at in _times(each, terms)], np.float64),
        bounds=tuple(zip([0, *ends[:-1]], ends, strict=True)),
        terms=terms,
        notes=notes,
    )


def _answers(trajectory: Trajectory) -> Iterator[float]:
    """Yield the tokens of what the next step shows that was answered, NaN where it shows none."""
    steps = trajectory.steps
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        if after is None:
            yield np.nan
            continue
        new = after.conversation.messages[len(step.conversation.messages) :]
        said = [message.text for message in new if message.role == "assistant"]
        yield float(estimate_tokens("\n".join(said))) if said else np.nan


def _times(trajectory: Trajectory, terms: Terms) -> Iterator[float]:
    at_s = 0.0
    for number, step in enumerate(trajectory.steps):
        if step.at_s is not None:
            at_s = max(at_s, step.at_s)
        elif number:
            at_s += terms.step_s
        yield at_s


Choose = Callable[[int, LastTurn | None], int]
"""Returns the column of the model for a step, given where its conversation stands."""


def replay(scene: Scene, choose: Choose, *, name: str, kind: str, best: IntArray) -> Tally:
    """Go through every task, step by step.

    Parameters
    ----------
    best
        (n_steps,) column of the model that a step goes to which is asked again.
    """
    terms, n_models = scene.terms, len(scene.models)
    finished = cost_usd = steps = misses = reread = 0.0
    switches, calls = 0, np.zeros(n_models)
    for begin, end in scene.bounds:
        chance = 1.0
        previous: int | None = None
        # By column: how much that model read last, and when.
        read: dict[int, tuple[float, float]] = {}
        for step in range(begin, end):
            last = None
            if previous is not None:
                tokens, at_s = read[previous]
                last = LastTurn(
                    model_id=scene.models[previous],
                    prefix_tokens=int(tokens),
                    idle_s=float(scene.at_s[step] - at_s),
                )
            column = int(choose(step, last))
            left = 1.0
            for nth, each in enumerate([column, *[int(best[step])] * terms.retries]):
                if left <= 0:
                    break
                usd, missed = _call(scene, step, each, read)
                cost_usd += left * usd
                steps += left
                calls[each] += left
                if step > begin and not nth:
                    misses += float(missed > 0)
                    reread += missed
                left *= 1 - float(scene.qualities[step, each])
            switches += int(previous is not None and previous != column)
            # Whoever's answer the task went on with is who the conversation is with.
            good = scene.qualities[step, column] >= _ENOUGH or not terms.retries
            previous = column if good else int(best[step])
            chance *= 1 - left
        finished += chance
    total = max(steps, 1e-12)
    return Tally(
        name=name,
        kind=kind,
        n_tasks=len(scene.bounds),
        finished=finished,
        cost_usd=cost_usd,
        steps=steps,
        misses=misses,
        reread_tokens=reread,
        switches=switches,
        shares={m: float(n / total) for m, n in zip(scene.models, calls, strict=True)},
    )


def _call(
    scene: Scene, step: int, column: int, read: dict[int, tuple[float, float]]
) -> tuple[float, float]:
    """Return what a call costs, and how many tokens of the prefix it had to read anew."""
    price, now = scene.prices[scene.models[column]], float(scene.at_s[step])
    tokens = float(scene.input_tokens[step])
    before, at_s = read.get(column, (0.0, -np.inf))
    warm = now - at_s < scene.terms.cache_lifetime_s
    cached = min(before, tokens) if warm else 0.0
    prefix = min(max((n for n, _ in read.values()), default=0.0), tokens)
    read[column] = tokens, now
    usd = price.cost_usd(
        input_tokens=tokens,
        output_tokens=float(scene.tokens[step, column]),
        cached_input_tokens=cached,
    )
    assert usd is not None  # noqa: S101  (`arrange_steps` refuses models without a price)
    return usd, prefix - cached
