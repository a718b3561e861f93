"""What loading a model adds to the choice: the wait, what it costs, and when it is worth it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.gateway.decide import AtTheMoment
from app.gateway.deployments.machines import Wait
from routers.decisions import CandidateEstimate, Decision
from routers.objectives import Constraints

_MAX_MODELS = 4_096


class LoadCredits:
    """What requests gave up because a model was not loaded: it pays for loading it.

    A request that goes to a loaded model instead of a better one gives up a little. One request
    alone hardly ever pays for loading the better one; many do. So what they give up is summed up,
    and taken off what loading the model costs, until it is loaded: rent until as much was paid as
    buying costs, then buy. However requests come, that costs at most about twice as much as if it
    had been known before (Karlin et al. 1988, Competitive snoopy caching).
    """

    def __init__(self) -> None:
        self._usd: dict[str, float] = {}

    def of(self, model_id: str) -> float:
        """Return what there is for a model, in US dollars."""
        return self._usd.get(model_id, 0.0)

    def surcharges(
        self, waits: Mapping[str, Wait], *, usd_per_wait_s: float = 0.0
    ) -> dict[str, float]:
        """Return what the choice has to count for models that would have to be loaded.

        Parameters
        ----------
        usd_per_wait_s
            What a second of waiting is worth to whoever waits.
        """
        return {
            model_id: max(0.0, wait.usd + usd_per_wait_s * wait.seconds - self.of(model_id))
            for model_id, wait in waits.items()
        }

    def learn(self, decision: Decision, waits: Mapping[str, Wait]) -> None:
        """Note what a decision gave up, or that it has a model loaded.

        Parameters
        ----------
        waits
            Of the models that were not loaded when it was made.
        """
        chosen = decision.model_id
        if chosen in waits:
            self._usd.pop(chosen, None)
            return
        rate, here = decision.usd_per_quality, decision.estimate(chosen)
        if rate is None or not math.isfinite(rate) or here is None:
            return
        if here.quality is None or here.cost_usd is None:
            return
        best, most = None, 0.0
        for each in decision.candidates:
            if each.model_id not in waits or not each.eligible:
                continue
            if each.quality is None or each.cost_usd is None:
                continue
            gain = rate * (each.quality - each.penalty - here.quality + here.penalty)
            gain += here.cost_usd - each.cost_usd
            if gain > most:
                best, most = each.model_id, gain
        if best is not None and (best in self._usd or len(self._usd) < _MAX_MODELS):
            self._usd[best] = self.of(best) + most


@dataclass(slots=True, kw_only=True)
class Loading:
    """Has decisions count what loading models costs.

    How long a model is waited for is part of its predicted latency, and what that is worth is
    counted there; here comes what the machine costs meanwhile, less what was given up before.

    Attributes
    ----------
    to_load
        Returns what calls of models would wait for, of those that are loaded nowhere.
    """

    to_load: Callable[[Iterable[str]], Mapping[str, Wait]]
    given_up: LoadCredits = field(default_factory=LoadCredits)

    def beside(
        self, other: AtTheMoment | None, waits: Mapping[str, Wait], *, usd_per_wait_s: float
    ) -> AtTheMoment:
        """Return what adds that to a decision's constraints, after something else.

        Parameters
        ----------
        usd_per_wait_s
            What the other one counts for a second.
        """
        whole = self.given_up.surcharges(waits, usd_per_wait_s=usd_per_wait_s)
        counted = usd_per_wait_s if other is not None else 0.0
        more_usd = {
            model_id: usd - counted * waits[model_id].seconds for model_id, usd in whole.items()
        }

        def weigh(constraints: Constraints, estimates: Sequence[CandidateEstimate]) -> Constraints:
            if other is not None:
                constraints = other(constraints, estimates)
            return constraints.with_surcharges(more_usd)

        return weigh
