"""Ways of choosing models for agents' steps, replayed side by side."""

from collections.abc import Iterator, Sequence

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.decision.decide import decide
from routers.decision.switching import LastTurn, SwitchRule, weigh
from routers.decisions import Decision
from routers.evaluation.agent_steps import Choose, IntArray, Scene, Tally, replay
from routers.models import Demand, ModelSpec, Prices
from routers.objectives import Constraints, CostQuality
from routers.text.token_estimate import estimate_tokens_and_upper
from routers.types import Predictions

_WINDOW = 2**31 - 1


def compare_steps(
    scene: Scene,
    artifact: RouterArtifact,
    predictions: Predictions,
    *,
    positions: Sequence[float],
    seed: int = 0,
) -> list[Tally]:
    """Replay a router at several positions of the knob, beside what needs no router.

    Each position is replayed as the gateway serves it, staying with a model where leaving it costs
    more than it gains, and choosing anew for each step; beside it, whole tasks given to models by
    lot, in the same shares: what the router knows has to be worth more than that.
    """
    specs = [
        ModelSpec(
            model_id=model,
            predicted_as=model,
            prices=scene.prices[model],
            context_window_tokens=_WINDOW,
        )
        for model in scene.models
    ]
    columns = [artifact.models.index(model) for model in scene.models]
    rows = predictions.columns(tuple(columns))
    best = rows.quality.argmax(axis=1)
    knob = artifact.knob_curve(specs)
    steps = [step for each in scene.trajectories for step in each.steps]
    demands = [
        Demand(input_tokens=n, input_tokens_upper=upper)
        for n, upper in (estimate_tokens_and_upper(each.conversation) for each in steps)
    ]
    rng = np.random.default_rng(seed)
    found = []
    for t in positions:
        decisions = [
            decide(
                candidates=specs,
                predictions=rows.rows(np.asarray([i])),
                demand=demand,
                constraints=Constraints(),
                objective=CostQuality(t),
                knob=knob,
            )
            for i, demand in enumerate(demands)
        ]
        stays = replay(
            scene, _staying(scene, decisions, t), name=f"knob {t:g}", kind="router", best=best
        )
        found.append(stays)
        anew = _choosing_anew(scene, decisions)
        found.append(
            replay(scene, anew, name=f"knob {t:g}, each step anew", kind="router", best=best)
        )
        found.append(_by_lot(scene, stays, f"shares of knob {t:g}, by lot", best=best, rng=rng))
    for column, model in enumerate(scene.models):
        found.append(replay(scene, _always(column), name=model, kind="model", best=best))
    found.append(
        replay(
            scene, _cheapest_that_does(scene), name="cheapest that does", kind="bound", best=best
        )
    )
    return found


def _always(column: int) -> Choose:
    return lambda _step, _last: column


def _as_listed(columns: IntArray) -> Choose:
    return lambda step, _last: int(columns[step])


def _choosing_anew(scene: Scene, decisions: Sequence[Decision]) -> Choose:
    at = {model: column for column, model in enumerate(scene.models)}
    return lambda step, _last: at[decisions[step].model_id]


def _staying(scene: Scene, decisions: Sequence[Decision], t: float) -> Choose:
    at = {model: column for column, model in enumerate(scene.models)}
    rule = SwitchRule(cache_lifetime_s=scene.terms.cache_lifetime_s)
    objective = CostQuality(t)

    def choose(step: int, last: LastTurn | None) -> int:
        decision = decisions[step]
        if last is None:
            return at[decision.model_id]
        prices: Prices = scene.prices[last.model_id]
        verdict = weigh(decision, last, objective=objective, prices=prices, rule=rule)
        return at[verdict.decision.model_id]

    return choose


def _cheapest_that_does(scene: Scene) -> Choose:
    """Return who does each step for the least money, as nobody can know before."""
    rates = [
        [
            scene.prices[model].cost_usd(
                input_tokens=float(n), output_tokens=float(written[column])
            )
            for column, model in enumerate(scene.models)
        ]
        for n, written in zip(scene.input_tokens, scene.tokens, strict=True)
    ]
    costs = np.asarray(rates, np.float64)
    top = scene.qualities.max(axis=1, keepdims=True)
    able = np.where(scene.qualities >= top, costs, np.inf).argmin(axis=1)
    return _as_listed(able)


_DRAWS = 20


def _by_lot(
    scene: Scene, like: Tally, name: str, *, best: IntArray, rng: np.random.Generator
) -> Tally:
    """Return the mean over draws that give each whole task one model, with the shares of `like`."""
    shares = np.asarray([like.shares[model] for model in scene.models])
    shares = shares / shares.sum()
    of_step = np.repeat(np.arange(len(scene.bounds)), [end - begin for begin, end in scene.bounds])
    tallies = []
    for _ in range(_DRAWS):
        drawn = rng.choice(len(shares), size=len(scene.bounds), p=shares)
        tallies.append(replay(scene, _as_listed(drawn[of_step]), name=name, kind="lot", best=best))

    def mean(values: Iterator[float]) -> float:
        return float(np.mean(list(values)))

    return Tally(
        name=name,
        kind="lot",
        n_tasks=len(scene.bounds),
        finished=mean(each.finished for each in tallies),
        cost_usd=mean(each.cost_usd for each in tallies),
        steps=mean(each.steps for each in tallies),
        misses=mean(each.misses for each in tallies),
        reread_tokens=mean(each.reread_tokens for each in tallies),
        switches=0,
        shares={m: mean(each.shares[m] for each in tallies) for m in scene.models},
    )
