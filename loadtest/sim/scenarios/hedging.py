"""When to start another model beside one that is silent: never, after so long, or by its p90."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.gateway.closing import closed
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.dispatch import Dispatcher
from app.gateway.latency import Pace
from app.gateway.ledger import LedgerEntry
from app.gateway.plan import FirstOf, Hedged
from app.gateway.request import Deployment, RouteRequest
from app.providers.base import Chunk, ModelCall, Timeouts
from app.usage import ToldUsage
from app.wire.body import Body
from loadtest.sim.arrivals import poisson
from loadtest.sim.drawn import averaged, line, plot
from loadtest.sim.result import percentile_s
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.traffic import Floats, Ints
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.models import Demand, ModelSpec, Prices
from routers.types import Conversation
from tests.support.virtual_time import VirtualTimeLoop

Clock = Callable[[], float]

MODELS = ("first", "second")
RATE_PER_S = 4.0
FIRST_S, READ_S_PER_TOKEN, TOKENS_PER_S = 0.4, 2e-4, 80.0
"""Until a first token: this, and so much for each token of the prompt; then how fast it goes on."""

JITTER, MISJUDGED = 0.25, 0.4
"""Standard deviations of logarithms, of times and of lengths around the predicted ones."""

STALLS, STALLED_S = 0.03, (6.0, 20.0)
"""The share of calls that hang for a while before their first token, and for how long."""

SLOW, SLOWER = (0.4, 0.7), 3.0
"""When the first model is slower, as parts of the time, and how many times."""

QUICKER = 7.0
"""How many times as soon the other model begins in the second setting."""

DELAYS_S = (1.0, 2.0, 4.0)
PRICES = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Requests, and how long each model takes for each: (model, request)."""

    arrives_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    expected_tokens: Floats
    first_s: Floats
    whole_s: Floats

    @property
    def slow(self) -> tuple[float, float]:
        """Between which times the first model is slower."""
        begins, ends = SLOW
        return begins * float(self.arrives_s[-1]), ends * float(self.arrives_s[-1])


def asked(setting: Setting, *, quicker: float = 1.0) -> Asked:
    """Return the requests; each model's stalls are its own.

    Parameters
    ----------
    quicker
        How many times as soon the second model begins to answer as the first.
    """
    rng = np.random.default_rng(setting.seed)
    n = 1_200 if setting.short else 12_000
    arrives_s = poisson(RATE_PER_S, n / RATE_PER_S, rng)
    n = len(arrives_s)
    expected = np.exp(rng.normal(np.log(150.0), 0.6, n)).clip(10, 2_000)
    output = np.maximum(2, expected * np.exp(rng.normal(0, MISJUDGED, n))).astype(np.int64)
    prompt = np.exp(rng.normal(np.log(1_000.0), 1.2, n)).clip(20, 40_000).astype(np.int64)
    lasts_s = float(arrives_s[-1])
    slower = np.ones((len(MODELS), n))
    slower[0, (arrives_s >= SLOW[0] * lasts_s) & (arrives_s < SLOW[1] * lasts_s)] = SLOWER
    shape = (len(MODELS), n)
    first_s = (FIRST_S + READ_S_PER_TOKEN * prompt) * np.exp(rng.normal(0, JITTER, shape)) * slower
    first_s[1] /= quicker
    first_s += (rng.random(shape) < STALLS) * rng.uniform(*STALLED_S, shape)
    writing_s = output / TOKENS_PER_S * np.exp(rng.normal(0, JITTER, shape)) * slower
    return Asked(
        arrives_s=arrives_s,
        input_tokens=prompt,
        output_tokens=output,
        expected_tokens=expected,
        first_s=first_s,
        whole_s=first_s + writing_s,
    )


class Simulated:
    """A provider whose calls take as long as it is written; requests are told by their ids."""

    native_dialects: frozenset[str] = frozenset()
    token_counter = None

    def __init__(self, told: Asked, row: int) -> None:
        self._told, self._row = told, row

    async def send(self, call: ModelCall) -> AsyncGenerator[Chunk, None]:
        """Answer when it is time."""
        told, request = self._told, int(call.request_id)
        first_s = float(told.first_s[self._row, request])
        await asyncio.sleep(first_s)
        yield Chunk(data=b"a", content_events=1, content_chars=1)
        await asyncio.sleep(float(told.whole_s[self._row, request]) - first_s)
        usage = ToldUsage(
            input_tokens=int(told.input_tokens[request]),
            output_tokens=int(told.output_tokens[request]),
        )
        yield Chunk(data=b"", has_content=False, usage=usage)

    async def aclose(self) -> None:
        """Have nothing to close."""


class Hedging:
    """The gateway's dispatcher before both models, on a clock that waits for nothing.

    Parameters
    ----------
    after_s
        The delay of the policy: None for no hedge, 0 for the predicted p90.
    """

    def __init__(self, told: Asked, after_s: float | None, *, seed: int) -> None:
        self._told, self._after_s, self._seed = told, after_s, seed
        n = len(told.arrives_s)
        self.first_s, self.whole_s, self.cost_usd = np.zeros(n), np.zeros(n), np.zeros(n)
        self.hedged = np.zeros(n, bool)

    def run(self) -> None:
        """Let every request be answered."""
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        specs = {
            name: ModelSpec(
                model_id=name,
                predicted_as=name,
                prices=PRICES,
                context_window_tokens=1_000_000,
            )
            for name in MODELS
        }
        timeouts = Timeouts(first_token_s=120.0)
        pool = DeploymentPool(
            {
                name: [
                    Deployment(
                        spec=specs[name],
                        upstream=name,
                        upstream_model=name,
                        provider=Simulated(self._told, row),
                        stream_timeouts=timeouts,
                        whole_timeouts=timeouts,
                        pace=Pace(ttft_s=FIRST_S, tokens_per_s=TOKENS_PER_S),
                    )
                ]
                for row, name in enumerate(MODELS)
            },
            clock=loop.time,
            rng=random.Random(self._seed),
        )
        dispatcher = Dispatcher(
            pool=pool,
            clock=loop.time,
            rng=random.Random(self._seed),
            on_failure=lambda *_: None,
        )
        began = loop.time()
        async with asyncio.TaskGroup() as running:
            for request, at_s in enumerate(self._told.arrives_s.tolist()):
                await asyncio.sleep(began + at_s - loop.time())
                running.create_task(self._ask(request, dispatcher, loop.time))

    async def _ask(self, request: int, dispatcher: Dispatcher, clock: Clock) -> None:
        entry = _opened(self._told, request, clock)
        plan = FirstOf(MODELS[:1])
        if self._after_s is not None:
            plan = Hedged(MODELS, self._after_s or None)
        answer = await dispatcher.open(entry.request, plan, entry)
        self.first_s[request] = clock() - entry.started
        async for chunk in dispatcher.rest(answer, entry):
            entry.saw(chunk)
        self.whole_s[request] = clock() - entry.started
        outcome = closed(entry, status=200, error=None)
        self.cost_usd[request] = sum(call.cost_usd or 0.0 for call in outcome.calls)
        self.hedged[request] = len(outcome.calls) > 1


def _opened(told: Asked, request: int, clock: Clock) -> LedgerEntry:
    """Return the account of a request for which the first model was chosen."""
    n_input, expected = int(told.input_tokens[request]), float(told.expected_tokens[request])
    estimate = CandidateEstimate(
        model_id=MODELS[0],
        quality=None,
        quality_std=None,
        input_tokens=n_input,
        output_tokens=expected,
        output_tokens_upper=1.7 * expected,
        cost_usd=None,
        cost_usd_upper=None,
    )
    return LedgerEntry(
        clock=clock,
        request=RouteRequest(
            request_id=str(request),
            decision_id=str(request),
            requested_model="auto",
            pinned_model_id=None,
            policy=None,
            objective=None,
            allowed_model_ids=None,
            max_cost_usd=None,
            fallback=True,
            explain=False,
            conversation=_NOTHING_SAID,
            demand=Demand(input_tokens=n_input, input_tokens_upper=n_input),
            body=_NO_BODY,
            stream=True,
            include_usage=False,
            headers=(),
        ),
        policy_version="",
        started=clock(),
        decision=Decision(
            model_id=MODELS[0],
            fallbacks=MODELS[1:],
            candidates=tuple(
                msgspec.structs.replace(estimate, model_id=model_id) for model_id in MODELS
            ),
            reason=Reason.KNOB,
            usd_per_quality=None,
        ),
    )


_NOTHING_SAID, _NO_BODY = Conversation.of(""), Body({})


@SCENARIOS.register("hedging")
class HedgingScenario(Scenario):
    """Another model beside one that is silent: never, after fixed delays, once its p90 is exceeded.

    Three in a hundred calls hang for 6 to 20 s; prompts of all lengths, of which first tokens
    depend; for a third of the time the first model takes three times as long. Then the same beside
    a second model that begins seven times as soon, so that nearly every hedge wins.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate every rule on the same requests."""
        told, beside = asked(setting), asked(setting, quicker=QUICKER)
        rules: list[tuple[str, float | None]] = [
            ("no hedge", None),
            *((f"after {delay_s:g} s", delay_s) for delay_s in DELAYS_S),
            ("auto", 0.0),
        ]
        done: dict[str, Hedging] = {}
        for name, after_s in rules:
            done[name] = Hedging(told, after_s, seed=setting.seed)
            done[name].run()
        quick = {
            name: Hedging(beside, after_s, seed=setting.seed)
            for name, after_s in rules
            if name in ("no hedge", "auto")
        }
        for each in quick.values():
            each.run()
        begins, ends = told.slow
        slow = (told.arrives_s >= begins) & (told.arrives_s < ends)
        alone_usd = float(done["no hedge"].cost_usd.sum())
        shown = {**done, **{f"a quick second: {name}": each for name, each in quick.items()}}
        rows: list[Row] = [
            {
                "": name,
                "requests": len(each.first_s),
                "first token p50 s": percentile_s(each.first_s, 50),
                "p90 s": percentile_s(each.first_s, 90),
                "p99 s": percentile_s(each.first_s, 99),
                "whole p50 s": percentile_s(each.whole_s, 50),
                "whole p99 s": percentile_s(each.whole_s, 99),
                "hedged %": 100 * float(each.hedged[~slow].mean()),
                "hedged % while slow": 100 * float(each.hedged[slow].mean()),
                "costs more %": 100 * (float(each.cost_usd.sum()) / alone_usd - 1),
            }
            for name, each in shown.items()
        ]
        lasts_s = float(told.arrives_s[-1])
        edges = np.linspace(0.0, lasts_s, 41)
        return Report(
            rows=rows,
            verdicts=_verdicts(done, quick, slow),
            plots=[
                plot(
                    "Requests with a hedge",
                    "share; the first model is slower in the middle",
                    [
                        line(
                            name,
                            edges[:-1],
                            averaged(told.arrives_s, each.hedged.astype(float), edges),
                        )
                        for name, each in done.items()
                    ],
                    maximum=1.0,
                ),
                plot(
                    "Until the first token",
                    "mean",
                    [
                        line(name, edges[:-1], averaged(told.arrives_s, each.first_s, edges))
                        for name, each in done.items()
                    ],
                    unit="s",
                ),
            ],
            duration_s=lasts_s,
        )


def _verdicts(
    done: dict[str, Hedging], quick: dict[str, Hedging], slow: NDArray[np.bool_]
) -> list[Verdict]:
    auto, never = done["auto"], done["no hedge"]
    return [
        Verdict(
            claim="p99 until the first token, auto / without a hedge",
            measured=percentile_s(auto.first_s, 99) / percentile_s(never.first_s, 99),
            at_most=0.6,
        ),
        Verdict(
            claim="share of requests that auto hedges",
            measured=float(auto.hedged[~slow].mean()),
            at_least=0.05,
            at_most=0.15,
        ),
        # Those that a hedge overtakes count as slow, else the p90 would be one of the quick ones.
        Verdict(
            claim="the same beside a quick second, the first model's slow time included",
            measured=float(quick["auto"].hedged.mean()),
            at_least=0.05,
            at_most=0.2,
        ),
    ]
