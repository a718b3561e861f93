"""From the decision log to a file that training reads: labelled decisions with their texts."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from app.calls import CallRole
from app.keys import NUSD_PER_USD
from app.outcomes.calls import StoredCall, read_calls, serving_call
from app.outcomes.rows import Label, LabelKind, OutcomeRow
from app.outcomes.sqlite import ContentReader, read_labels, read_outcomes
from routers.decision.judged import LEVELS
from routers.errors import DataError
from routers.files import repaired, replacing

Record = dict[str, Any]

_ID_DIGITS = 16
_SHARED = (
    *("query_id", "messages", "media", "set", "benchmark", "request_id", "decision_id", "time"),
    *("key_id", "team", "policy", "policy_version", "artifact_version", "decision_model"),
)
"""What rows of answers to the same request have in common."""
_WINNERS = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}


class Contents(Protocol):
    """Texts by decision."""

    def get(self, decision_id: str) -> bytes | None:
        """Return the texts as JSON, or None."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A decision log that can be read, whatever holds it."""

    outcomes: Iterable[OutcomeRow]
    labels: Iterable[Label]
    contents: Contents


def sqlite_log(data_dir: Path, *, since: float, until: float) -> Log:
    """Read the log of a data folder, while gateways may append to it.

    `since` and `until` are in seconds since the epoch, the latter excluded.

    Raises
    ------
    sqlite3.Error
        If there is none, or it cannot be read.
    """
    return Log(
        outcomes=(row for _, row in read_outcomes(data_dir, since=since, until=until)),
        labels=read_labels(data_dir),
        contents=ContentReader(data_dir),
    )


@dataclass(slots=True, kw_only=True)
class Selection:
    """Which decisions become rows, and what was left out.

    Attributes
    ----------
    predicted_as
        The gateway's model → what stands for it in the artifact that was served, as far as known.
    as_predicted
        Whether rows go by those names rather than by the gateway's; models that share one then
        become one.
    unlabelled
        Whether decisions without a quality are wanted, too.
    without_prompts
        Whether those whose text is not kept are.
    answers
        Whether rows carry the answers, for judges and policies of several calls; answers that were
        held back have rows of their own then, after all others.
    most_per_key
        How many rows one key may have, its newest; None: all. Nobody's labels should be all that
        a router learns from.
    """

    predicted_as: Mapping[str, str] = field(default_factory=dict)
    as_predicted: bool = False
    unlabelled: bool = False
    without_prompts: bool = False
    answers: bool = False
    most_per_key: int | None = None
    n_labelled: int = 0
    n_without_prompt: int = 0
    n_over_share: int = 0

    def outcomes(self, log: Log) -> list[Record]:
        """Return a record per decision, oldest first; then those of answers held back."""
        labels = {label.decision_id: label for label in log.labels if not label.other_decision_id}
        found, drafts = [], dict[str, list[Record]]()
        for row in log.outcomes:
            label = labels.get(row.decision_id)
            if row.status != 200 or row.model is None or not (label or self.unlabelled):
                continue
            self.n_labelled += label is not None
            content = log.contents.get(row.decision_id)
            if content is None:
                self.n_without_prompt += 1
                if not self.without_prompts:
                    continue
            record = _finite(self._record(row, label, content))
            found.append(record)
            if self.answers and content is not None:
                drafts[row.decision_id] = list(self._drafts(record, _said(content)))
        kept = self._bounded(found)
        return kept + [each for row in kept for each in drafts.get(row["decision_id"], ())]

    def _drafts(self, record: Record, said: dict[str, Any]) -> Iterator[Record]:
        """Yield a record for each answer that was held back and did not serve.

        What is said of the one that served is noted in its own record. Nobody labels the others,
        but what says the same is worth the same.
        """
        shared = {name: record[name] for name in _SHARED if name in record}
        for draft in said.get("drafts", ()):
            told = {name: draft[name] for name in ("logprob", "judged", "verified")}
            if draft["served"]:
                record |= told
                continue
            yield _finite(
                {
                    **shared,
                    "model": self._name(draft["model"]),
                    "predicted_as": self.predicted_as.get(draft["model"]),
                    "quality": record["quality"]
                    if record["model"] == self._name(draft["model"])
                    and draft["text"] == record.get("text")
                    else None,
                    "output_tokens": draft["output_tokens"],
                    "cost_usd": draft["cost_usd"],
                    "answer": draft["text"],
                    "text": draft["text"],
                    "latency_s": draft["took_s"],
                    "role": CallRole.DRAFT.value,
                    **told,
                }
            )

    def _name(self, model: str) -> str:
        return self.predicted_as.get(model, model) if self.as_predicted else model

    def preferences(self, log: Log) -> Iterator[Record]:
        """Yield a battle per comparison of two answers to the same prompt."""
        rows = {row.decision_id: row for row in log.outcomes}
        for label in log.labels:
            if label.kind is not LabelKind.PREFERENCE:
                continue
            a, b = rows.get(label.decision_id), rows.get(label.other_decision_id)
            if a is None or b is None or a.model is None or b.model is None:
                continue
            self.n_labelled += 1
            texts = [log.contents.get(row.decision_id) for row in (a, b)]
            prompts = [None if text is None else _prompt(text) for text in texts]
            models = [self._name(name) for name in (a.model, b.model)]
            if prompts[0] is None or prompts[0] != prompts[1] or models[0] == models[1]:
                self.n_without_prompt += 1
                continue
            yield {
                "query_id": _hash(prompts[0]),
                "prompt": prompts[0],
                "model_a": models[0],
                "model_b": models[1],
                "winner": _WINNERS[label.quality],
                "set": "decision-log",
                "benchmark": a.policy,
            }

    def _record(self, row: OutcomeRow, label: Label | None, content: bytes | None) -> Record:
        said = None if content is None else _said(content)
        model = row.model or ""
        calls = read_calls(row.calls)
        served = serving_call(calls, row.model)
        # What the model's own answer cost; a judge or a draft says nothing of that model's price.
        cost_nusd = row.cost_nusd if served is None else served.cost_nusd
        messages = None if said is None else said["messages"]
        media = None if said is None else said.get("media")
        return {
            "query_id": row.decision_id if messages is None else _query_id(messages, media),
            **({} if messages is None else {"messages": messages}),
            **({} if media is None else {"media": media}),
            "model": self._name(model),
            "predicted_as": self.predicted_as.get(model),
            "quality": None if label is None else label.quality,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "cost_usd": None if cost_nusd is None else cost_nusd / NUSD_PER_USD,
            "set": "decision-log",
            "benchmark": row.policy,
            **(_answered(said["answer"], served) if self.answers and said is not None else {}),
            "request_id": row.request_id,
            "decision_id": row.decision_id,
            "time": row.time,
            "key_id": row.key_id,
            "team": row.team,
            "session_id": row.session_id,
            "agent_id": row.agent_id,
            "parent_agent_id": row.parent_agent_id,
            "agent_kind": row.agent_kind,
            "policy": row.policy,
            "policy_version": row.policy_version,
            "artifact_version": row.artifact_version,
            "served_model_id": row.model,
            "decided_model_id": row.decided_model,
            "reason": row.reason,
            "objective": _parsed(row.objective),
            "usd_per_quality": row.usd_per_quality,
            "propensity": row.propensity,
            "candidates": _parsed(row.candidates),
            "calls": msgspec.to_builtins(calls),
            **_judged(row.decision_model),
            "category": row.category,
            "tier": row.tier,
            "tier_in_force": row.tier_in_force,
            "deadline_s": row.deadline_s,
            "documents_told": _parsed(row.documents),
            "workflow": _parsed(row.workflow),
            "predicted_quality": row.predicted_quality,
            "predicted_ttft_s": row.predicted_ttft_s,
            "predicted_ttft_s_upper": row.predicted_ttft_s_upper,
            "predicted_latency_s": row.predicted_latency_s,
            "predicted_latency_s_upper": row.predicted_latency_s_upper,
            "time_to_first_token_s": row.time_to_first_token_s,
            "duration_s": row.duration_s,
            "label": None if label is None else label.kind.value,
        }

    def _bounded(self, records: list[Record]) -> list[Record]:
        if self.most_per_key is None:
            return records
        per_key: dict[str | None, int] = defaultdict(int)
        kept = []
        for record in reversed(records):
            per_key[record["key_id"]] += 1
            if per_key[record["key_id"]] <= self.most_per_key:
                kept.append(record)
        self.n_over_share += len(records) - len(kept)
        return kept[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What an export amounts to."""

    n_rows: int
    n_queries: int
    n_per_model: Mapping[str, int]


def write(records: Iterable[Record], out: Path) -> Written:
    """Write records to a .jsonl, or outcomes to a wide .parquet.

    Raises
    ------
    DataError
        If it cannot be written; what was there before, or nothing, is left then.
    """
    from routers.data.convert import convert  # noqa: PLC0415  (training needs its own packages)

    suffix = out.suffix.lower()
    if suffix not in (".parquet", ".jsonl"):
        raise DataError(f"{out}: give the output a name that ends in .parquet or .jsonl")
    models: Counter[str] = Counter()
    queries = set()
    n_rows = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as partial:
            lines = partial if suffix == ".jsonl" else partial.with_name(f"{partial.name}.jsonl")
            try:
                with lines.open("w", encoding="utf-8") as file:
                    lines.chmod(0o600)
                    for record in records:
                        if lines is not partial:  # a wide table has no place for it
                            record.pop("decision_model", None)
                        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
                        file.write(text + "\n")
                        models.update(record[name] for name in _MODELS if name in record)
                        queries.add(record["query_id"])
                        n_rows += 1
                if lines is not partial:
                    convert("jsonl", lines, partial, suffix=suffix)
                    partial.chmod(0o600)
            finally:
                if lines is not partial:
                    lines.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    return Written(n_rows=n_rows, n_queries=len(queries), n_per_model=dict(models.most_common()))


_MODELS = ("model", "model_a", "model_b")


def unlabelled_models(records: Iterable[Record]) -> list[str]:
    """Return the models without any label: `fit` refuses a file that names them."""
    best: dict[str, float] = defaultdict(lambda: math.nan)
    for record in records:
        quality = record["quality"]
        best[record["model"]] = best[record["model"]] if quality is None else quality
    return sorted(model for model, quality in best.items() if math.isnan(quality))


def _answered(text: str | None, served: StoredCall | None) -> Record:
    """Return an answer as training reads it: nobody has read yet what it comes down to."""
    ms = None if served is None else served.ms
    return {"answer": text, "text": text, "latency_s": None if ms is None else ms / 1000}


def _said(content: bytes) -> dict[str, Any]:
    """Return the texts of a decision; halves of surrogate pairs, which no file holds, repaired."""
    said: dict[str, Any] = json.loads(content)
    found: dict[str, Any] = repaired(said)
    return found


def _finite(value: Any) -> Any:
    """Return plain values that JSON can hold: what is not finite becomes null.

    The exchange rate of a knob at 1 is infinite, for one; `objective` still says what was asked.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value


def _prompt(content: bytes) -> str | None:
    """Return the one prompt of a conversation; None where it is more than that."""
    messages = _said(content)["messages"]
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return None


def _judged(text: str | None) -> Record:
    """Return what a decision model said, and once more as training reads it where it can."""
    told = _parsed(text)
    if told is None or not told["level"]:
        return {"decision_model_told": told}
    read = {"decision_model": {"level": told["level"]}} if set(told["level"]) <= set(LEVELS) else {}
    return {"decision_model_told": told, **read}


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _query_id(messages: object, media: object) -> str:
    """Return what tells queries apart: the same words about another picture are another one."""
    return _hash(json.dumps(messages if media is None else [messages, media]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]
