"""Measure the default on what people really ask: docs/benchmarks/everyday.md.

    python scripts/everyday_benchmark.py [--config FILE] [--prompts FILE] [--write]

Reads graded prompts that took no part in training (configs/graded_prompts/test.jsonl) and decides
on each as the gateway of the configuration would; no server and no network is needed.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from app.assembly import build_names, build_policies, load_artifacts
from app.config import load_config
from app.gateway.policy import Policy
from routers.data.graded import GradedPrompt, read_graded, read_paddings, read_paraphrases
from routers.decision.choice import choose
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation
from scripts.everyday_invariance import UNSEEN, measure_invariance

_ROOT = Path(__file__).resolve().parents[1]
_GRADED = _ROOT / "configs" / "graded_prompts"
PROMPTS, PADDINGS, PARAPHRASES = (
    _GRADED / name for name in ("test.jsonl", "paddings.tsv", "paraphrases.tsv")
)
PAGE = _ROOT / "docs" / "benchmarks" / "everyday.md"
_TRIVIAL, _DEMANDING = 2.0, 4.0
_SHORT_CHARS, _LONG_CHARS = 90, 500
_FEWEST = 5
_MIDDLE = 0.5
_BALANCED = 0.8
_KNOBS = (_MIDDLE, _BALANCED)
"""The middle and the preset that serves where nobody says anything."""

_RESULTS = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)


class Default:
    """The policy `default` of a configuration, for many prompts at once."""

    def __init__(self, config_file: Path) -> None:
        config = load_config(config_file, secrets_needed=False)
        names = build_names(config, build_policies(config, load_artifacts(config)))
        self.policy: Policy = names.policies["default"]

    def predict(self, conversations: Sequence[Conversation]) -> tuple[np.ndarray, np.ndarray]:
        """Return quality and cost in US dollars, (n_prompts, n_candidates)."""
        policy = self.policy
        found = policy.artifact.predict_conversations(conversations).columns(policy.columns)
        tokens_in = np.array([estimate_tokens(each) for each in conversations])[:, None]
        prices = [spec.prices for spec in policy.candidates]
        usd_in = np.array([price.input_usd_per_mtok for price in prices], float)
        usd_out = np.array([price.output_usd_per_mtok for price in prices], float)
        cost = (tokens_in * usd_in + found.output_tokens * usd_out) / 1e6
        return found.quality.astype(float), cost

    def choices(self, quality: np.ndarray, cost: np.ndarray, t: float) -> np.ndarray:
        """Return the column that the knob at `t` takes of each prompt."""
        rate = self.policy.knobs.get(None).usd_per_quality_for(t)
        return choose(quality, cost, rate, model_ids=[s.model_id for s in self.policy.candidates])

    def decide(self, conversations: Sequence[Conversation]) -> np.ndarray:
        """Return the columns that the knob takes of each conversation, at 0.5 and `balanced`."""
        quality, cost = self.predict(conversations)
        return np.stack([self.choices(quality, cost, t) for t in _KNOBS], axis=1)


def measure(default: Default, prompts: Sequence[GradedPrompt]) -> dict[str, Any]:
    """Return every number of the page."""
    conversations = [each.conversation for each in prompts]
    quality, cost = default.predict(conversations)
    usd_per_token = [spec.prices.output_usd_per_mtok for spec in default.policy.candidates]
    cheapest = int(np.argmin(np.array(usd_per_token, float)))
    gap = quality.max(axis=1) - quality[:, cheapest]
    grade = np.array([each.grade for each in prompts])
    length = np.array([len(each.text) for each in prompts])
    language = np.array([each.language for each in prompts])
    trivial, demanding = grade <= _TRIVIAL, grade >= _DEMANDING
    either = trivial | demanding
    shortcut = (demanding & (length <= _SHORT_CHARS)) | (trivial & (length >= _LONG_CHARS))
    middle = default.choices(quality, cost, _MIDDLE)
    spent = cost[np.arange(len(cost)), middle]
    balanced = default.choices(quality, cost, _BALANCED)
    spent_balanced = cost[np.arange(len(cost)), balanced]
    kinds = {"trivial": trivial, "moderate": ~either, "demanding": demanding}
    paraphrases = read_paraphrases(PARAPHRASES)
    ends = default.choices(quality, cost, 0.0), default.choices(quality, cost, 1.0)
    result: dict[str, Any] = {
        "prompts": len(prompts),
        "trivial": int(trivial.sum()),
        "demanding": int(demanding.sum()),
        "auc": _auc(demanding, gap, either),
        "auc_short_demanding_long_trivial": _auc(demanding, gap, shortcut),
        "auc_by_language": {
            str(each): _auc(demanding, gap, either & (language == each))
            for each in np.unique(language)
            if (demanding & (language == each)).sum() >= _FEWEST
            and (trivial & (language == each)).sum() >= _FEWEST
        },
        "auc_of_length": _auc(demanding, length, either),
        "rank_correlation": _spearman(gap, grade),
        "rank_correlation_length_fixed": _partial(gap, grade, length),
        "gap_trivial": float(gap[trivial].mean()),
        "gap_demanding": float(gap[demanding].mean()),
        "cost_trivial_over_demanding_at_half": float(
            spent[trivial].mean() / spent[demanding].mean()
        ),
        "cost_trivial_over_demanding_at_balanced": float(
            spent_balanced[trivial].mean() / spent_balanced[demanding].mean()
        ),
        "knob_changes_choice": float((ends[0] != ends[1]).mean()),
        "served": {
            f"{t:g}": {
                name: {
                    spec.model_id: round(float((chosen[rows] == column).mean()), 3)
                    for column, spec in enumerate(default.policy.candidates)
                }
                for name, rows in kinds.items()
            }
            for t, chosen in zip(_KNOBS, (middle, balanced), strict=True)
        },
        "invariance": measure_invariance(
            default.decide, prompts, read_paddings(PADDINGS), paraphrases
        ),
        "paraphrases": len(paraphrases),
    }
    result["auc_worst_language"] = min(result["auc_by_language"].values())
    return result


def _auc(positive: np.ndarray, score: np.ndarray, rows: np.ndarray) -> float:
    return float(roc_auc_score(positive[rows], score[rows]))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, where, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return (ends - (count - 1) / 2)[where]


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _partial(a: np.ndarray, b: np.ndarray, fixed: np.ndarray) -> float:
    """Return the rank correlation of `a` and `b` with the ranks of `fixed` regressed out."""
    base = np.stack([_ranks(fixed), np.ones(len(fixed))], axis=1)
    left = []
    for values in (_ranks(a), _ranks(b)):
        weights, *_ = np.linalg.lstsq(base, values, rcond=None)
        left.append(values - base @ weights)
    return float(np.corrcoef(*left)[0, 1])


def table(result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = [
        ("graded prompts held out", f"{result['prompts']}", ""),
        ("AUC of the predicted gap, demanding against trivial", f"{result['auc']:.3f}", "≥ .95"),
        (
            "… short and demanding against long and trivial",
            f"{result['auc_short_demanding_long_trivial']:.3f}",
            "≥ .90",
        ),
        ("… worst language", f"{result['auc_worst_language']:.3f}", "≥ .90"),
        ("… of the prompt's length alone", f"{result['auc_of_length']:.3f}", ""),
        ("rank correlation of gap and grade", f"{result['rank_correlation']:.2f}", ""),
        ("… with length held fixed", f"{result['rank_correlation_length_fixed']:.2f}", "≥ .25"),
        (
            "mean gap, trivial / demanding",
            f"{result['gap_trivial']:.2f} / {result['gap_demanding']:.2f}",
            ".20 wider",
        ),
        (
            "cost of trivial over demanding prompts at 0.5",
            f"{result['cost_trivial_over_demanding_at_half']:.2f}",
            "≤ .25",
        ),
        (
            "… at `balanced`, 0.8",
            f"{result['cost_trivial_over_demanding_at_balanced']:.2f}",
            "≤ .25",
        ),
        ("prompts whose choice the knob changes", f"{result['knob_changes_choice']:.0%}", "≥ 80 %"),
    ]
    lines = ["| what | measured | aim |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {aim} |" for name, value, aim in rows]
    languages = ", ".join(f"{k} {v:.3f}" for k, v in sorted(result["auc_by_language"].items()))
    lines += ["", f"AUC by language: {languages}."]
    for t, served in result["served"].items():
        preset = " (`balanced`)" if float(t) == _BALANCED else ""
        models = list(served["trivial"])
        lines += ["", f"Who answers at {t}{preset}:", ""]
        lines += ["| prompts | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
        for name, shares in served.items():
            cells = " | ".join(f"{shares[model]:.0%}" for model in models)
            lines.append(f"| {name} | {cells} |")
    lines += ["", "How often the choice stays where the prompt asks for the same:", ""]
    return "\n".join([*lines, *_invariance_lines(result)]) + "\n"


def _invariance_lines(result: dict[str, Any]) -> list[str]:
    stays = result["invariance"]
    first = ("padding", "typing errors", "paraphrase", "unseen padding")
    families = [name for name in stays if name not in first and not name.startswith(UNSEEN)]
    unseen = [name for name in stays if name.startswith(UNSEEN)]
    lines = ["| what changes | at 0.5 | at `balanced` | aim |", "|---|--:|--:|---|"]
    for name in (*first[:3], *families, first[3], *unseen):
        told = f"paraphrase ({result['paraphrases']})" if name == "paraphrase" else name
        told = f"… {told.removeprefix(UNSEEN)}" if name in (*families, *unseen) else told
        aim = "≥ 90 %" if name in first[:3] else ""
        half, balanced = stays[name]
        lines.append(f"| {told} | {half:.0%} | {balanced:.0%} | {aim} |")
    return lines


def main() -> None:
    """Measure, print, and with --write put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "gateway.yaml")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--write", action="store_true", help=f"update {PAGE.name}")
    options = parser.parse_args()
    result = measure(Default(options.config), read_graded(options.prompts))
    print(json.dumps(result, indent=1) if options.as_json else table(result))
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(
            _RESULTS.sub(lambda m: f"{m[1]}{table(result)}{m[2]}", page), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
