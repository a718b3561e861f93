"""Published formats by their columns: which command makes a file of them that can be read."""

from collections.abc import Collection
from pathlib import Path

_FORMATS = (
    ("routerbench", {"sample_id", "prompt", "eval_name"}),
    ("embedllm", {"prompt_id", "prompt", "model_name", "label"}),
    ("sprout", {"key", "dataset", "prompt"}),
    ("decision-log", {"request_id", "served_model_id"}),
    ("routerarena", {"global_index", "question", "llm_selected"}),
    ("coderouterbench", {"task_id", "model", "dimension", "cost_usd"}),
    ("twinrouterbench", {"id", "messages", "target_tier_id"}),
    ("xroutebench", {"query", "model_name", "performance"}),
    ("llmrouterbench", {"records", "performance"}),
    ("routellm-battles", {"model_a", "model_b"}),
)
"""Formats of `data convert`, and columns that tell each."""


def advice(path: Path, names: Collection[str]) -> str:
    """Return, as the end of a sentence, how to convert what has columns of these names.

    Empty where they are of no published format.
    """
    for kind, columns in _FORMATS:
        if columns <= set(names):
            suffix = ".jsonl" if kind == "routellm-battles" else ".parquet"
            out = path.with_name(f"{path.name.partition('.')[0]}-converted{suffix}")
            return (
                f"; its columns are those of {kind}: steelyard data convert --format {kind} "
                f"--in {path} --out {out}"
            )
    return ""
