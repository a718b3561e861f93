"""Many models on machines with room for few of them: what knowing which are loaded takes off."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.gateway.deployments.loading import LoadCredits
from app.gateway.deployments.machines import Home, HostedModel, Machine, MachineRule
from loadtest.sim.arrivals import poisson
from loadtest.sim.boxes import Box, Hosted
from loadtest.sim.drawn import averaged, line, plot, times
from loadtest.sim.fleet import Place
from loadtest.sim.result import Result
from loadtest.sim.scenarios.base import SCENARIOS, Report, Row, Scenario, Setting, Verdict
from loadtest.sim.servers import SlotServer
from loadtest.sim.traffic import Floats, Ints, Traffic
from loadtest.sim.world import World
from routers.decision.decide import decide
from routers.decision.knob import KnobCurve
from routers.models import Demand, ModelSpec
from routers.objectives import Constraints, UsdPerQuality
from routers.types import Predictions

N_DOMAINS, PER_DOMAIN, MACHINES = 30, 5, 2
MEMORY_GB, MODEL_GB, LOAD_S, ANSWER_S, SLOTS = 80.0, 8.0, 4.0, 1.0, 4
"""Ten of the 150 models fit on a machine; one takes as long to load as four answers."""

USD_PER_QUALITY, USD_PER_WAIT_S = 1.0, 0.01
"""A hundredth of quality is given up for a second less."""

RATES = (0.25, 0.5, 1.0, 2.0)
IN_TIME_S, MAX_LOST = 5.0, 0.005

_DEMAND = Demand(input_tokens=1, input_tokens_upper=1)
_KNOB = KnobCurve(cost_quality=(0.0, 1.0), usd_per_quality=(1e-9, 1e9))
NAMES = [f"expert {number}" for number in range(N_DOMAINS * PER_DOMAIN)]


@dataclass(frozen=True)
class Asked:
    """Requests, and how good every model is at each of them."""

    traffic: Traffic
    domain: Ints
    quality: Floats


def asked(rate_per_s: float, n_requests: int, seed: int) -> Asked:
    """Return requests of 30 domains with five experts each, some domains more popular by far.

    Experts of a domain differ by about .02 on the whole, and by .01 from request to request.
    """
    rng = np.random.default_rng(seed)
    arrives = poisson(rate_per_s, n_requests / rate_per_s, rng)
    n = len(arrives)
    popular = 1.0 / np.arange(1, N_DOMAINS + 1)
    domain = rng.choice(N_DOMAINS, n, p=popular / popular.sum())
    skill = np.full((N_DOMAINS, len(NAMES)), 0.55)
    for each in range(N_DOMAINS):
        own = slice(each * PER_DOMAIN, (each + 1) * PER_DOMAIN)
        skill[each, own] = 0.8 + 0.02 * rng.standard_normal(PER_DOMAIN)
    quality = skill[domain] + 0.01 * rng.standard_normal((n, len(NAMES)))
    ones = np.ones(n, np.int64)
    traffic = Traffic(
        arrives_s=arrives, input_tokens=ones, output_tokens=ones, effort=rng.exponential(1.0, n)
    )
    return Asked(traffic, domain, quality.clip(0.0, 1.0))


def homes() -> Mapping[tuple[str, str], Home]:
    """Return a gateway's picture of the machines, which it knows to be empty."""
    models = {name: HostedModel(memory_gb=MODEL_GB, load_s=LOAD_S) for name in NAMES}
    found = {}
    for number in range(MACHINES):
        machine = Machine(MachineRule(memory_gb=MEMORY_GB), models)
        for name in NAMES:
            found[_place(number, name), name] = Home(machine=machine, name=name)
    return found


def run(work: Asked, *, aware: bool, seed: int) -> tuple[Result, Floats, int]:
    """Simulate; return what came of it, the quality of each answer, and how many loads it took.

    Parameters
    ----------
    aware
        Whether the gateway minds which models are loaded, and where.
    """
    traffic, quality = work.traffic, work.quality
    boxes, places = [], []
    for number in range(MACHINES):
        service_s = (traffic.effort * ANSWER_S).tolist()
        box = Box(
            {
                name: Hosted(
                    server=SlotServer(service_s, slots=SLOTS), memory_gb=MODEL_GB, load_s=LOAD_S
                )
                for name in NAMES
            },
            memory_gb=MEMORY_GB,
        )
        boxes.append(box)
        places += [
            Place(name=_place(number, name), model_id=name, server=box, door=box.door(name))
            for name in NAMES
        ]
    specs: list[ModelSpec] = [each.spec for each in places[: len(NAMES)]]
    nothing = np.zeros((1, len(NAMES)), np.float32)
    given_up = LoadCredits()
    got = np.zeros(len(traffic))

    def models(request: int, _now: float) -> tuple[str]:
        waits = world.pools[0].to_load(NAMES)
        row = quality[request : request + 1].astype(np.float32)
        decision = decide(
            candidates=specs,
            predictions=Predictions(
                quality=row, quality_std=nothing, output_tokens=nothing, output_tokens_upper=nothing
            ),
            demand=_DEMAND,
            constraints=Constraints(
                surcharges_usd=given_up.surcharges(waits, usd_per_wait_s=USD_PER_WAIT_S)
            ),
            objective=UsdPerQuality(USD_PER_QUALITY),
            knob=_KNOB,
        )
        given_up.learn(decision, waits)
        got[request] = quality[request, int(decision.model_id.split()[1])]
        return (decision.model_id,)

    world = World(traffic, places, seed=seed, models=models, homes=homes if aware else dict)
    result = world.run()
    return result, got, sum(box.n_loads for box in boxes)


def _place(machine: int, name: str) -> str:
    return f"machine {machine + 1}/{name}"


@SCENARIOS.register("residency")
class Residency(Scenario):
    """150 models on two machines that hold ten each: with and without minding what is loaded.

    As SN40L's composition of experts, where loading one takes seconds; requests want experts that
    are nearly as good as each other. Then a traffic that wants half as many models as fit.
    """

    def run(self, setting: Setting) -> Report:
        """Simulate both on the same requests, at rates from low to beyond what loads allow."""
        n = 800 if setting.short else 5_000
        rows: list[Row] = []
        lines, duration_s, means_s, lost = [], 60.0, {}, {}
        for rate_per_s in RATES:
            work = asked(rate_per_s, n, setting.seed)
            quality = {}
            for name, aware in (("blind", False), ("minding", True)):
                result, got, n_loads = run(work, aware=aware, seed=setting.seed)
                rows.append(_row(f"{rate_per_s:g}/s, {name}", result, got, n_loads))
                means_s[name, rate_per_s] = result.mean_s
                quality[name] = float(got.mean())
                if rate_per_s == RATES[0]:
                    arrives = work.traffic.arrives_s
                    duration_s = float(arrives[-1])
                    edges = np.linspace(0, duration_s, 31)
                    lines.append(line(name, edges[:-1], averaged(arrives, result.took_s, edges)))
            lost[rate_per_s] = quality["blind"] - quality["minding"]
        most = {
            name: max(
                (
                    rate
                    for rate in RATES
                    if means_s[name, rate] <= IN_TIME_S
                    and (name == "blind" or lost[rate] <= MAX_LOST)
                ),
                default=0.0,
            )
            for name in ("blind", "minding")
        }
        few = asked(1.0, 1_500 if setting.short else 6_000, setting.seed)
        few.quality[:, MACHINES * 5 :] = 0.0
        result, got, n_loads = run(few, aware=True, seed=setting.seed)
        rows.append(_row("half as many models as fit", result, got, n_loads))
        slow = RATES[0]
        return Report(
            rows=rows,
            verdicts=[
                Verdict(
                    claim=f"{slow:g}/s: mean latency, minding / blind",
                    measured=means_s["minding", slow] / means_s["blind", slow],
                    at_most=0.5,
                ),
                Verdict(
                    claim=f"{slow:g}/s: quality given up", measured=lost[slow], at_most=MAX_LOST
                ),
                Verdict(
                    claim=f"requests a second within {IN_TIME_S:g} s on the mean and {MAX_LOST:g} "
                    "of the quality, minding / blind",
                    measured=most["minding"] / most["blind"] if most["blind"] else 0.0,
                    at_least=2.0,
                ),
                Verdict(
                    claim="found loaded where twice the active models fit",
                    measured=1 - n_loads / len(got),
                    at_least=0.95,
                ),
            ],
            plots=[plot(f"{slow:g} requests/s", "mean time to the whole answer", lines, unit="s")],
            duration_s=duration_s,
        )


def _row(name: str, result: Result, got: Floats, n_loads: int) -> Row:
    return times(name, result) | {
        "quality": f"{got.mean():.4f}",
        "found loaded %": 100 * (1 - n_loads / len(got)),
    }
