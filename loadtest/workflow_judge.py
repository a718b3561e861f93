"""The accounts of clients, gateway and models, held against each other after a run."""

import gc
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.gateway.held_answers import HeldAnswer
from app.gateway.open_answer import OpenAnswer
from app.outcomes.calls import StoredCall, read_calls
from app.outcomes.rows import OutcomeRow
from loadtest.faulty_models import BILLED_AS_TOLD, JUDGE, ModelCall
from tests.support.gateway import RunningGateway

MAX_CALLS = 2
MAX_COST_USD = 2e-4
MAX_TIME_S = 0.2
"""The ceilings of the policies that have some."""
BLOCKING, RESTRICTING = "blocking", "restricting"
"""How the names of policies with a guard begin: it blocks, or leaves requests to `POOL`."""
POOL = ("sim-nano", "sim-small")
_LATE_MS = 150.0
"""How much later than its ceiling a busy machine may begin a call."""
_NUSD = 1e9
_MAX_EXAMPLES = 5
_CUT = {"cancelled", "hedge_lost", "upstream_timeout", "hold_back_exceeded"}
"""What calls end in that are given up: maybe before they got as far as the wire."""
_LOST = "upstream_connection_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request; equal ones share a tag.

    Attributes
    ----------
    leaves_s
        After how long its client leaves; None where it stays.
    """

    tag: str
    request_id: str
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    key: int
    leaves_s: float | None

    @property
    def policy(self) -> str:
        """Of the request."""
        return str(self.body["model"]).removeprefix("auto:")


@dataclass(slots=True, kw_only=True)
class End:
    """What a client got."""

    ask: Ask
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    left: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left in a gateway that nobody asks anything any more.

    Attributes
    ----------
    outstanding
        Calls that the pool takes to run.
    objects
        Answers that somebody still holds.
    scopes
        Where the keys' limits and budgets stand, in the order of the keys.
    """

    outstanding: int
    objects: int
    in_flight: str
    key_ids: tuple[str, ...]
    scopes: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class Findings:
    """What was checked, and what did not hold."""

    counts: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def check(self, what: str, holds: object, *told: object) -> None:
        """Note whether something held."""
        self.checked[what] += 1
        if not holds:
            self.broken[what].append(" ".join(map(str, told)))

    def told(self) -> str:
        """Return all of it as text."""
        lines = [f"{n:8,} {what}" for what, n in sorted(self.counts.items())]
        for what, n in self.checked.items():
            failed = self.broken.get(what, [])
            lines.append(f"{'BROKEN' if failed else 'held'}: {what} ({n:,} checked)")
            lines += [f"    {each}" for each in failed[:_MAX_EXAMPLES]]
        return "\n".join(lines)


def answers() -> frozenset[int]:
    """Return the answers that anybody in this process holds, by their ids."""
    gc.collect()
    return frozenset(
        id(each) for each in gc.get_objects() if type(each) in {OpenAnswer, HeldAnswer}
    )


def look_at(
    gateway: RunningGateway,
    admin: httpx.Client,
    key_ids: Sequence[str],
    *,
    before: frozenset[int],
) -> Left:
    """Return what is left in a gateway at rest, beside the answers that there were before."""
    pool = gateway.app.state.steelyard.gateway.dispatcher.pool
    scopes = [admin.get(f"/admin/keys/{each}/standing").json()["scopes"][0] for each in key_ids]
    in_flight = re.search(
        r"^gateway_requests_in_flight (\S+)$", admin.get("/metrics").text, re.MULTILINE
    )
    return Left(
        outstanding=sum(slot.outstanding for slot in pool.slots()),
        objects=len(answers() - before),
        in_flight=in_flight[1] if in_flight else "",
        key_ids=tuple(key_ids),
        scopes=tuple(scopes),
    )


def judge(
    ends: Sequence[End], rows: Sequence[OutcomeRow], calls: Sequence[ModelCall], left: Left
) -> Findings:
    """Hold everything against each other."""
    found = Findings()
    by_id: dict[str, list[OutcomeRow]] = defaultdict(list)
    for row in rows:
        by_id[row.request_id].append(row)
    for end in ends:
        _judge_end(found, end, by_id.get(end.ask.request_id, []))
    asks = {end.ask.request_id: end.ask for end in ends}
    _judge_calls(found, rows, calls)
    _judge_guards(found, ends, calls)
    for row in rows:
        _judge_row(found, row, asks[row.request_id])
    _judge_left(found, rows, left)
    found.counts |= Counter(
        {
            "requests": len(ends),
            "calls that models saw": len(calls),
            "of these with a fault": sum(call.fault is not None for call in calls),
            "rows of the decision log": len(rows),
            "clients that left": sum(end.left for end in ends),
        }
    )
    return found


def _judge_end(found: Findings, end: End, rows: list[OutcomeRow]) -> None:
    ask = end.ask
    name = f"{ask.request_id} {ask.policy} {ask.path}"
    found.check("no connection broke", end.problem is None, name, end.problem)
    if end.problem is not None:
        return
    if end.left:
        found.check("one row at most of who left", len(rows) <= 1, name)
        return
    streamed = end.headers.get("content-type", "").startswith("text/event-stream")
    try:
        how = _well_formed(ask, end, streamed=streamed)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        found.check("every end is well-formed", False, name, repr(error), end.body[-300:])
        return
    found.counts[f"ended in {how}"] += 1
    found.check("every end is well-formed", True)
    if end.status == 429 and not rows:
        return  # turned away before it was read
    found.check("one row for every request", len(rows) == 1, name, end.status, len(rows))
    if len(rows) == 1:
        _judge_headers(found, name, end, rows[0], how)


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _well_formed(ask: Ask, end: End, *, streamed: bool) -> str:
    """Return how a request ended; raise where that is not clear."""
    if not streamed:
        told = json.loads(end.body)
        if end.status == 200:
            key = {"messages": "content", "responses": "output"}.get(_dialect(ask), "choices")
            _require(told.get("error") is None, "an answer and an error")
            _require(isinstance(told[key], list), "no answer")
            return "an answer"
        _require(told["error"]["message"], "an error without words")
        of_messages = _dialect(ask) == "messages"
        _require((told.get("type") == "error") == of_messages, "an error of another dialect")
        return f"an error {end.status} {told['error'].get('code') or told['error']['type']}"
    _require(end.status == 200, "a stream that is none")
    text = end.body.decode()
    _require(text.endswith("\n\n"), "cut in the middle of an event")
    blocks = [each for each in text.split("\n\n") if each and not each.startswith(":")]
    data = [
        line.removeprefix("data: ")
        for block in blocks
        for line in block.split("\n")
        if line.startswith("data: ")
    ]
    done = data.count("[DONE]")
    events = [json.loads(each) for each in data if each != "[DONE]"]
    kinds = Counter(each.get("type") for each in events)
    failed = sum(
        each.get("type") in {"error", "response.failed"} or bool(each.get("error"))
        for each in events
        if isinstance(each, dict)
    )
    match _dialect(ask):
        case "messages":
            whole = kinds["message_stop"]
        case "responses":
            whole = kinds["response.completed"] + kinds["response.incomplete"]
        case _:
            whole = done
            _require(not done or data[-1] == "[DONE]", "more after the end")
    _require(whole + failed >= 1, "a stream without an end")
    _require(whole <= 1, "two ends")
    _require(not (whole and failed), "an end and an error")
    return "a stream" if whole else "a stream that broke"


def _dialect(ask: Ask) -> str:
    return ask.path.rpartition("/")[2] if "chat" not in ask.path else "chat"


def _judge_headers(found: Findings, name: str, end: End, row: OutcomeRow, how: str) -> None:
    headers = end.headers
    if "x-route-decision-id" in headers:
        same = headers["x-route-decision-id"] == row.decision_id
        found.check("headers and rows tell the same", same, name, "decision")
    if how in {"an answer", "a stream"}:
        found.check("who got an answer is recorded so", row.status == 200, name, row.status)
        found.check("who got an answer is recorded so", row.error is None, name, row.error)
    else:
        found.check("who got an error is recorded so", row.error is not None, name, how)
    if not how.startswith("a stream"):
        # Anthropic's API says 529 where models cannot be had.
        told = row.status if end.status != 529 or row.status < 500 else 529
        found.check("statuses agree", told == end.status, name, row.status, end.status)
    workflow = json.loads(row.workflow) if row.workflow else {}
    told = headers.get("x-route-attempts")
    if told is not None:
        rounds = ";".join(",".join(each) for each in workflow["rounds"])
        found.check("headers and rows tell the same", told == rounds, name, told, rounds)
    notes = workflow.get("notes", {})
    for header, known in (
        ("x-route-rounds", notes.get("rounds")),
        ("x-route-mode", notes.get("mode")),
        ("x-route-agents", len(notes.get("agents", []))),
        ("x-route-accepted-by", workflow.get("accepted_by")),
        ("x-route-ceiling", workflow.get("ceiling")),
    ):
        if header in headers:
            same = headers[header] == str(known)
            found.check("headers and rows tell the same", same, name, header, workflow)
    if "x-route-calls" in headers:
        n_calls = len(read_calls(row.calls))
        same = int(headers["x-route-calls"]) == n_calls
        found.check("headers and rows tell the same", same, name, "calls", n_calls)
    if end.status == 200 and "x-route-model" in headers and row.error is None:
        same = headers["x-route-model"] == row.model
        found.check("headers and rows tell the same", same, name, headers["x-route-model"])


def _judge_calls(found: Findings, rows: Sequence[OutcomeRow], calls: Sequence[ModelCall]) -> None:
    """Compare what the models saw with what the ledger has, tag by tag."""
    saw: dict[str, list[ModelCall]] = defaultdict(list)
    for call in calls:
        saw[call.tag].append(call)
    booked: dict[str, list[StoredCall]] = defaultdict(list)
    for row in rows:
        booked[row.request_id.rpartition("-")[0]] += read_calls(row.calls)
    for tag in sorted({*saw, *booked} - {""}):
        there, here = saw[tag], [each for each in booked[tag] if each.upstream]
        sent = [each for each in here if each.error not in _CUT]
        found.check(
            "every call that a model saw is in the ledger, and no other",
            len(sent) <= len(there) <= len(here),
            tag,
            [(each.model, each.fault) for each in there],
            [(each.role, each.model, each.error) for each in here],
        )
        told = Counter((each.model, each.output_tokens) for each in there)
        exact = [each for each in here if each.output_tokens is not None and not each.estimated]
        for each in exact:
            known = told[each.model or "", each.output_tokens]
            told[each.model or "", each.output_tokens] -= 1
            found.check("what is booked as told was told", known > 0, tag, each)
        n_exact = Counter((each.model, each.output_tokens) for each in exact)
        n_cut = sum(each.error in _CUT or each.estimated for each in here)
        for call in there:
            if call.handed_over and call.fault in BILLED_AS_TOLD:
                key = (call.model, call.output_tokens)
                is_booked = n_exact[key] > 0
                n_exact[key] -= is_booked
                n_cut -= not is_booked
                holds = is_booked or n_cut >= 0
                found.check("what was told is booked", holds, tag, call, here)


def _judge_guards(found: Findings, ends: Sequence[End], calls: Sequence[ModelCall]) -> None:
    """See that nothing was answered, or by nobody else, that no guard found harmless."""
    by_tag: dict[str, list[ModelCall]] = defaultdict(list)
    for call in calls:
        by_tag[call.tag].append(call)
    for end in ends:
        ask = end.ask
        blocks, restricts = (ask.policy.startswith(name) for name in (BLOCKING, RESTRICTING))
        if not (blocks or restricts):
            continue
        there = by_tag[ask.tag]
        passed = any(str(each.said).lower().startswith("safe") for each in there)
        if not passed:
            answering = {each.model for each in there} - {JUDGE}
            holds = not answering if blocks else answering <= {*POOL}
            found.check("nothing goes around a guard", holds, ask.request_id, ask.policy, there)
        guard = end.headers.get("x-route-guard", "")
        if blocks and end.status == 200 and "x-route-model" in end.headers and not end.left:
            kept = end.headers.get("x-route-cache") == "hit"
            holds = kept or guard.endswith("; harmless")
            found.check("what a guard blocks is refused", holds, ask.request_id, guard)


def _judge_row(found: Findings, row: OutcomeRow, ask: Ask) -> None:
    calls = read_calls(row.calls)
    name = f"{row.request_id} {ask.policy}"
    paid_nusd = sum(each.cost_nusd or 0 for each in calls)
    if row.cache != "hit":
        same = (row.cost_nusd or 0) == paid_nusd
        found.check("a request costs what its calls cost", same, name, row.cost_nusd, calls)
    if row.cache == "hit":
        found.check("a kept answer costs nothing", not row.cost_nusd and not calls, name)
    workflow = json.loads(row.workflow) if row.workflow else {}
    carried = bool(workflow.get("rounds"))
    n_sent = sum(bool(each.upstream) for each in calls)
    if carried and ask.policy in {"capped", "capped_agents"}:
        # Retries apart: a call whose connection was lost is made again.
        n_once = n_sent - sum(each.error == _LOST for each in calls)
        found.check("ceilings on calls hold", n_once <= MAX_CALLS, name, calls)
    if carried:
        found.check("no workflow is endless", n_sent <= 2 * 12 + 3, name, n_sent)
    if carried and (ask.policy in {"frugal", "frugal_rounds"} or "x-route-max-cost" in ask.headers):
        holds = paid_nusd <= MAX_COST_USD * _NUSD + 1
        found.check("ceilings on cost hold", holds, name, paid_nusd, calls)
    if carried and ask.policy in {"hasty", "hasty_rounds"}:
        # Counted from the first call: what is decided or waited for before is no workflow's.
        ends_ms = (calls[0].began_ms or 0.0) + MAX_TIME_S * 1e3 + _LATE_MS
        late = [each for each in calls if (each.began_ms or 0.0) > ends_ms]
        alone = all(each.role == "answer" for each in late)
        found.check("ceilings on time hold", alone, name, late)


def _judge_left(found: Findings, rows: Sequence[OutcomeRow], left: Left) -> None:
    found.check("no call is left", left.outstanding == 0, left.outstanding)
    found.check("no answer is left", left.objects == 0, left.objects)
    found.check("no request is left", left.in_flight == "0.0", left.in_flight)
    paid: Counter[str] = Counter()
    for row in rows:
        paid[row.key_id or ""] += sum(each.cost_nusd or 0 for each in read_calls(row.calls))
    for key_id, scope in zip(left.key_ids, left.scopes, strict=True):
        found.check("no place is left taken", scope["in_flight"] == 0, scope)
        for budget in scope["budgets"]:
            found.check("nothing is left reserved", budget["reserved_usd"] == 0, budget)
            spent = round(budget["spent_usd"] * _NUSD)
            found.check("keys paid what was booked", spent == paid[key_id], spent, paid[key_id])
