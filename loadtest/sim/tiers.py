"""Three tiers of models, the questions that they are asked, and who chooses between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.gateway.deployments.tier_load import TierLoad
from app.gateway.load.best_effort import BestEffort
from app.gateway.load.load_price import LoadPrice
from loadtest.sim.fleet import Place
from loadtest.sim.result import Result
from loadtest.sim.servers import SlotServer
from loadtest.sim.traffic import Floats, Traffic
from loadtest.sim.world import World

DEADLINE_S, SLOTS = 2.0, 4
TIERS = {"best": (0.50, 0.90), "middle": (0.15, 0.80), "cheapest": (0.04, 0.65)}
"""Mean time of an answer in seconds, and its quality."""

TASKS = {"easy": (0.90, 0.89, 0.85), "middling": (0.90, 0.80, 0.65), "hard": (0.90, 0.71, 0.45)}
"""The same quality by task, of every tier."""
EASY_MIX, HARD_MIX = (0.6, 0.3, 0.1), (0.1, 0.3, 0.6)
PREDICTED_WITHIN = 0.05
"""The standard deviation of what a router predicts from that."""


def of(arrives: Floats, rng: np.random.Generator, *, shape: float = 1.0) -> Traffic:
    """Return requests that take as long as a gamma distribution says; 1: exponential."""
    ones = np.ones(len(arrives), np.int64)
    return Traffic(
        arrives_s=arrives,
        input_tokens=ones,
        output_tokens=ones,
        effort=rng.gamma(shape, 1 / shape, len(arrives)),
    )


@dataclass(frozen=True, kw_only=True)
class Questions:
    """By request and tier, how good an answer is, and how good it is predicted to be."""

    quality: Floats
    predicted: Sequence[Sequence[float]]

    @classmethod
    def mixed(cls, n: int, shares: Sequence[float], rng: np.random.Generator) -> "Questions":
        """Return questions of the tasks, by their shares."""
        kind = rng.choice(len(TASKS), n, p=np.array(shares) / sum(shares))
        quality = np.array(list(TASKS.values()))[kind]
        noise = PREDICTED_WITHIN * rng.standard_normal(quality.shape)
        return cls(quality=quality, predicted=(quality + noise).tolist())


@dataclass(frozen=True, kw_only=True)
class Served:
    """What came of a run.

    Attributes
    ----------
    worth
        Of each request: the quality of its answer, nothing if that was late.
    changes
        When the tier in force changed, and to which.
    """

    result: Result
    worth: Floats
    quality: Floats
    late: Floats
    changes: Sequence[tuple[float, int]]


def serve(
    traffic: Traffic,
    *,
    seed: int,
    static: str | None = None,
    prices: LoadPrice | None = None,
    questions: Questions | None = None,
    conversations: np.ndarray | None = None,
) -> Served:
    """Simulate the tiers: by best effort, or one of them alone.

    Parameters
    ----------
    static
        The only tier; None for best effort, by the rule or by `prices`.
    questions
        None: every answer of a tier is as good as the next.
    conversations
        Of which conversation each request is a turn, which keeps its tier as the rule has it; None:
        every request is looked at alone.
    """
    places = [
        Place(
            name=name,
            model_id=name,
            server=SlotServer((traffic.effort * mean_s).tolist(), slots=SLOTS),
        )
        for name, (mean_s, _) in TIERS.items()
    ]
    loads = {name: TierLoad() for name in TIERS}
    changes: list[tuple[float, int]] = []
    best_effort = BestEffort(
        tiers=tuple(TIERS),
        loads=tuple(loads.values()),
        deadline_s=DEADLINE_S,
        prices=prices,
        on_change=lambda _before, after: changes.append((world.clock.now, after)),
    )
    choose = (
        _by(best_effort, questions, conversations)
        if static is None
        else (lambda *_, only=(static,): only)
    )
    world = World(
        traffic, places, seed=seed, models=choose, tier_loads=[loads] if static is None else ()
    )
    result = world.run()
    late = ~result.answered | (result.ends_s - traffic.arrives_s > DEADLINE_S)
    if questions is None:
        quality = np.array([quality for _, quality in TIERS.values()])[result.place]
    else:
        quality = questions.quality[np.arange(len(traffic)), result.place]
    return Served(
        result=result,
        worth=np.where(late, 0.0, quality),
        quality=quality,
        late=late.astype(np.float64),
        changes=changes,
    )


def _by(
    best_effort: BestEffort, questions: Questions | None, conversations: np.ndarray | None
) -> Callable[[int, float], Sequence[str]]:
    names = [(name,) for name in best_effort.tiers]
    tier_of: dict[int, int] = {}

    def choose(request: int, now: float) -> Sequence[str]:
        values = None if questions is None else questions.predicted[request]
        effort = best_effort.choose(now, values=values)
        if conversations is not None:
            conversation = int(conversations[request])
            last = tier_of.get(conversation)
            if last is not None and last != effort.tier and best_effort.keeps(last, effort):
                there = best_effort.at(last, now, left_s=DEADLINE_S)
                if best_effort.is_in_time(there, left_s=DEADLINE_S):
                    effort = there
            tier_of[conversation] = effort.tier
        best_effort.went(effort, now)
        return names[effort.tier]

    return choose
