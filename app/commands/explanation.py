"""`steelyard explain`: one decision as a table."""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.api.dialects.chat_completions import parse_chat_request
from app.api.explained import document_numbers
from app.api.knobs import NO_KNOBS, parse_cost_quality
from app.api.resolve import resolve
from app.api.route import route_object
from app.assembly import build_names, build_policies, load_artifacts
from app.assembly.usual_latencies import usual_latencies
from app.config import LoadedConfig, load_config
from app.errors import InvalidRequestError
from app.gateway.course import Course
from app.gateway.decide import AtTheMoment, decide_now
from app.gateway.documents import by_theta, heed_documents
from app.gateway.forecasts import with_latencies
from app.gateway.ledger import LedgerEntry
from app.gateway.load.tier_choice import TierChoice, TierChoices, may_be_tiered
from app.gateway.plan import begun
from app.gateway.policy import Policy, promise_doubt
from app.gateway.request import RouteRequest
from app.gateway.tasks import check_begun, may_be_recognised, with_recognised
from app.wire.decoding import DECODE_ERRORS
from routers.artifact.evidence import abstention_note
from routers.decision.decide import knob_steps
from routers.decisions import CandidateEstimate, Decision, KnobStep, Latency, Reason
from routers.objectives import Constraints, CostQuality, StrongThreshold
from routers.request.layout import Description
from routers.request.sentence import why


def explain(
    prompt: str,
    *,
    file: Path,
    cost_quality: str | None,
    policy: str | None,
    flags: str | None = None,
    max_cost_usd: float | None,
    max_latency_ms: str | None = None,
    max_ttft_ms: str | None = None,
    latency_weight: str | None = None,
    documents: Path | None = None,
    as_json: bool,
    task: str | None = None,
    console: Console | None = None,
) -> None:
    """Decide on `prompt` as the gateway would, and print what the decision rests on.

    Raises
    ------
    GatewayError
        If the configuration or an option is wrong.
    RoutingError
        If no model can take the prompt.
    """
    # In a locale that is not UTF-8 the command line comes in as bytes in disguise.
    prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    config = load_config(file, secrets_needed=False)
    names = build_names(config, build_policies(config, load_artifacts(config)))
    routing: dict[str, Any] = {"policy": policy, "max_cost": max_cost_usd, "flags": flags}
    routing |= {"task": task, "latency_weight": latency_weight}
    routing |= {"max_latency_ms": max_latency_ms, "max_ttft_ms": max_ttft_ms}
    if cost_quality is not None:
        routing["cost_quality"] = parse_cost_quality("--cost-quality", cost_quality).t
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}], "routing": routing}
    if documents is not None:
        body["documents"] = _listed(documents)
    parsed = parse_chat_request(msgspec.json.encode(body))
    request = resolve(parsed, NO_KNOBS, names, request_id="explain")
    request = by_theta(heed_documents(request, parsed.turns))
    if documents is not None and request.read is None:
        raise InvalidRequestError(
            f"policy {request.policy_name!r} looks at no documents; say `documents: {{features: "
            "true}` there, or leave --documents out"
        )
    chosen_policy = names.policies[request.policy_name]
    scorer = chosen_policy.scorer_model_id
    if scorer is not None and isinstance(request.objective, StrongThreshold):
        raise InvalidRequestError(
            f"policy {chosen_policy.name!r} asks the model {scorer!r} before it decides, which "
            "explain does not; ask a running gateway's /v1/route, or give --cost-quality"
        )
    began = time.perf_counter()
    if chosen_policy.recogniser is not None and may_be_recognised(request):
        request = with_recognised(request, chosen_policy.recogniser.recognise(prompt))
    decision = decide_now(
        request,
        chosen_policy,
        Constraints(
            max_cost_usd=max_cost_usd,
            output_limit=chosen_policy.output_limit,
            wishes=request.wishes,
            allowed_model_ids=request.allowed_model_ids,
        ),
        now=_timed(request, config) if as_json or request.latency is not None else None,
    )
    course = None
    if request.workflow is not None:
        decision, course = begun(
            request, decision, chosen_policy, request.workflow, left_s=math.inf
        )
        check_begun(request, course)
    tier = None
    if chosen_policy.best_effort is not None and may_be_tiered(request, decision):
        tiers = TierChoices.of([chosen_policy], lambda *_: None)
        decision, tier = tiers.choose(request, decision, now=0.0, passed_s=0.0)
    took_ms = (time.perf_counter() - began) * 1e3
    described = chosen_policy.artifact.describe(request.routed_by)
    if as_json:
        answer = _answer(request, decision, described, course, tier)
        click.echo(msgspec.json.format(msgspec.json.encode(answer)))
        return
    steps = knob_steps(decision, chosen_policy.knobs.get(request.allowed_model_ids))
    console = console or Console(highlight=False)
    _print(
        request,
        chosen_policy,
        decision,
        steps,
        tier=tier,
        because=why(decision, described),
        took_ms=took_ms,
        console=console,
    )


def _listed(file: Path) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes())
    except DECODE_ERRORS as error:
        raise InvalidRequestError(f"{file}: is no JSON ({error})") from error


def _answer(
    request: RouteRequest,
    decision: Decision,
    described: Description | None,
    course: Course | None,
    tier: TierChoice | None,
) -> dict[str, Any]:
    entry = LedgerEntry(
        clock=time.perf_counter,
        request=request,
        policy_version="" if request.policy is None else request.policy.version,
        started=time.perf_counter(),
        decision=decision,
        course=course,
        tier=tier,
    )
    return route_object(request, decision, entry, described)


def _timed(request: RouteRequest, config: LoadedConfig) -> AtTheMoment:
    """Return what tells of latencies, as the catalogue has them, of a request that streams."""
    return partial(
        with_latencies,
        predicted=usual_latencies(config),
        terms=request.latency,
        streams=True,
        elapsed_s=0.0,
    )


def _print(
    request: RouteRequest,
    policy: Policy,
    decision: Decision,
    steps: tuple[KnobStep, ...],
    *,
    tier: TierChoice | None,
    because: str,
    took_ms: float,
    console: Console,
) -> None:
    knob = request.objective.t if isinstance(request.objective, CostQuality) else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("model", no_wrap=True)
    table.add_column("quality", justify="right", no_wrap=True)
    table.add_column("tokens out", justify="right", no_wrap=True)
    table.add_column("cost, USD", justify="right", no_wrap=True)
    goals = any(each.goal_costs for each in decision.candidates)
    if goals:
        table.add_column("goals take", justify="right")
    table.add_column("chosen at knob")
    for each in sorted(decision.candidates, key=lambda each: -(each.quality or 0)):
        wins = each.model_id == decision.model_id
        table.add_row(
            "▶" if wins else "",
            escape(each.model_id),
            _quality(each),
            _tokens(each),
            "unknown" if each.cost_usd is None else f"{each.cost_usd:.6f}",
            *([_goals(each)] if goals else []),
            _status(each, steps, decision.reason),
            style="bold green" if wins else ("dim" if not each.eligible else ""),
        )
    console.print(table)
    _print_moment(decision, console)
    served = decision.estimate(decision.model_id)
    console.print(
        f"[bold green]▶ {escape(decision.model_id)}[/]"
        + ("" if knob is None else f" at cost-quality {knob:g}")
    )
    console.print(f"  {escape(because)}")
    console.print(
        f"  [dim]policy {escape(policy.name)}, reason {decision.reason.value}, "
        f"decided in {took_ms:.1f} ms[/]"
    )
    _print_heard(request, console)
    if tier is not None and policy.best_effort is not None:
        console.print(
            f"  tier {tier.effort.tier + 1} of {len(policy.best_effort.tiers)} within "
            f"{tier.deadline_s:g} s, in calm{'; late' if tier.effort.late else ''}; the load of "
            "the moment is known to a running gateway's /v1/route"
        )
    if decision.category is not None:
        scheme, name = decision.category.scheme, decision.category.told
        console.print(f"  {scheme} {escape(name)}")
    if isinstance(request.objective, StrongThreshold):
        told = request.objective
        console.print(
            f"  threshold {told.threshold:.6g}: {told.strong} from it on, else {told.weak}"
        )
        if told.statement is not None:
            console.print(f"  {escape(told.statement)}")
    if knob is not None:
        _print_turns(decision, steps, served, knob=knob, console=console)
    doubt = promise_doubt(policy)
    if doubt is not None:
        console.print(f"  [dim]{escape(doubt)}[/]")
    abstention = abstention_note(policy.artifact.manifest)
    if abstention is not None:
        console.print(f"  [dim]{escape(abstention)}[/]")


def _print_heard(request: RouteRequest, console: Console) -> None:
    if request.wishes is not None:
        console.print(f"  flags {escape(request.wishes.told)}")
    if request.task is not None:
        found = ", recognised" if request.task.recognised and request.task.names else ""
        console.print(f"  task {escape(request.task.told)}{found}")
    policy = request.policy
    if policy is not None and policy.decision_model is not None:
        console.print(
            f"  decided without the decision model {escape(policy.decision_model.name)}, which "
            "explain does not ask; a running gateway's /v1/route does"
        )
    numbers = document_numbers(request)
    if numbers is not None:
        console.print(
            f"  {numbers.n} document{'s' if numbers.n > 1 else ''}, which hold "
            f"{numbers.coverage:.0%} of the question's words"
        )


def _print_turns(
    decision: Decision,
    steps: tuple[KnobStep, ...],
    served: CandidateEstimate | None,
    *,
    knob: float,
    console: Console,
) -> None:
    if served is None:
        return
    others = [step for step in steps if step.model_id != decision.model_id]
    up = next((step for step in others if step.from_cost_quality >= knob), None)
    down = next((step for step in reversed(others) if step.to_cost_quality <= knob), None)
    for word, step in (("up", up), ("down", down)):
        other = None if step is None else decision.estimate(step.model_id)
        if step is None or other is None:
            console.print(f"  turn the knob {word}: nothing changes")
            continue
        at = step.from_cost_quality if step is up else step.to_cost_quality
        console.print(
            f"  turn the knob {word} to {at:.2f}: {escape(step.model_id)}, "
            f"{_difference(other, served)}"
        )


def _difference(other: CandidateEstimate, served: CandidateEstimate) -> str:
    parts = []
    if other.quality is not None and served.quality is not None:
        parts.append(f"quality {other.quality - served.quality:+.3f}")
    if other.cost_usd is not None and served.cost_usd:
        parts.append(f"cost x{other.cost_usd / served.cost_usd:.3g}")
    return ", ".join(parts)


def _quality(each: CandidateEstimate) -> str:
    if each.quality is None:
        return "unknown"
    return f"{each.quality:.3f} ±{each.quality_std or 0:.3f}"


def _goals(each: CandidateEstimate) -> str:
    costs = each.goal_costs or {}
    return f"{each.penalty:.3f} ({', '.join(f'{name} {cost:.2f}' for name, cost in costs.items())})"


def _print_moment(decision: Decision, console: Console) -> None:
    """Print what candidates cost beside their price and how long they take, where that counts."""
    candidates = decision.candidates
    if not any(each.surcharge_usd or each.latency for each in candidates):
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("first token, s", "whole, s", "surcharge, USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in sorted(candidates, key=lambda each: -(each.quality or 0)):
        table.add_row(
            escape(each.model_id),
            _first_token(each.latency),
            _whole(each.latency),
            f"{each.surcharge_usd:.6f}",
            style="bold green" if each.model_id == decision.model_id else "",
        )
    console.print(table)


def _first_token(found: Latency | None) -> str:
    return "unknown" if found is None else f"{found.ttft_s:.2f} (≤ {found.ttft_s_upper:.2f})"


def _whole(found: Latency | None) -> str:
    return "unknown" if found is None else f"{found.total_s:.2f} (≤ {found.total_s_upper:.2f})"


def _tokens(each: CandidateEstimate) -> str:
    if each.output_tokens is None:
        return "unknown"
    return f"{each.output_tokens:.0f} (≤ {each.output_tokens_upper or 0:.0f})"


def _status(each: CandidateEstimate, steps: tuple[KnobStep, ...], reason: Reason) -> str:
    if not each.eligible:
        return f"excluded: {each.exclusion_detail}"
    ranges = [_range(step) for step in steps if step.model_id == each.model_id]
    if not ranges:
        return "never: later" if reason is Reason.LATENCY_UNMET else "never: dominated"
    return ", ".join(ranges)


def _range(step: KnobStep) -> str:
    ends = step.from_cost_quality, step.to_cost_quality
    digits = 2 if round(ends[0], 2) < round(ends[1], 2) else 4
    return " - ".join(f"{end:.{digits}f}" for end in ends)
