"""RouterArena's submission files: what a router chooses on each of its prompts."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.data.dataset import read_outcomes
from routers.data.lines import json_items
from routers.decision.choice import choose_each
from routers.errors import DataError
from routers.evaluation.assess import predicted_costs
from routers.evaluation.crossfit import normalised
from routers.files import replacing
from routers.models import ModelSpec, PriceTable
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation

_NAME = re.compile(r"[\w.-]+")
_LONG_CONTEXT = 2**31 - 1
_BLOCK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What was written."""

    files: tuple[Path, ...]
    n_prompts: int
    statement: str


def write_submission(
    artifact: RouterArtifact,
    data: Path,
    folder: Path,
    *,
    name: str,
    cost_quality: float,
    train: Sequence[Path],
    prices: PriceTable,
) -> Submission:
    """Decide every prompt of RouterArena's `router_data*.json`, and write what it asks for.

    `predictions/NAME.json` and `config/NAME.json` go to `router_inference/` of its repository,
    `NAME.md` says what the router was trained on and that no prompt of the file was among it.

    Parameters
    ----------
    train
        The files that the artifact was trained on: all that its manifest lists.

    Raises
    ------
    DataError
        If a file cannot be used or is not what the manifest lists, or a prompt of the file (but
        for case, punctuation and white space) is among those of the training.
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} is no name of a router: letters, digits, dots, hyphens")
    entries = _entries(data)
    conversations = [Conversation.of(prompt) for _, prompt in entries]
    statement = _statement(artifact, conversations, data, train, name)
    picks = _choices(artifact, conversations, cost_quality, prices)
    predictions = [
        {
            "global index": index,
            "prompt": prompt,
            "prediction": model,
            "generated_result": None,
            "cost": None,
            "accuracy": None,
        }
        for (index, prompt), model in zip(entries, picks, strict=True)
    ]
    config = {"pipeline_params": {"router_name": name, "models": list(artifact.models)}}
    texts = {
        folder / "predictions" / f"{name}.json": _json(predictions),
        folder / "config" / f"{name}.json": _json(config),
        folder / f"{name}.md": statement,
    }
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial:
                partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from error
    return Submission(files=tuple(texts), n_prompts=len(entries), statement=statement)


def _entries(data: Path) -> list[tuple[str, str]]:
    """Return the index and the prompt of every entry, the formatted one where there is one."""
    found = []
    for where, entry in json_items(data):
        index = entry.get("global index", entry.get("global_index"))
        prompt = entry.get("prompt_formatted") or entry.get("prompt")
        if not isinstance(index, str) or not isinstance(prompt, str):
            raise DataError(f"{where}: needs 'global index' and 'prompt_formatted' or 'prompt'")
        found.append((index, prompt))
    if not found:
        raise DataError(f"{data}: has no prompts")
    return found


def _choices(
    artifact: RouterArtifact,
    conversations: Sequence[Conversation],
    cost_quality: float,
    prices: PriceTable,
) -> list[str]:
    specs = [
        ModelSpec(
            model_id=model,
            predicted_as=model,
            prices=prices[model],
            context_window_tokens=_LONG_CONTEXT,
        )
        for model in artifact.models
    ]
    rate = artifact.knob_curve(specs).usd_per_quality_for(cost_quality)
    chosen: list[str] = []
    for start in range(0, len(conversations), _BLOCK):
        block = conversations[start : start + _BLOCK]
        predicted = artifact.predict_conversations(block)
        tokens = np.asarray([estimate_tokens(each) for each in block], np.float64)
        cost = predicted_costs(tokens, predicted.output_tokens, artifact.models, prices)
        (picks,) = choose_each(
            predicted.quality.astype(np.float64), cost, [rate], model_ids=artifact.models
        )
        chosen += [artifact.models[column] for column in picks]
    return chosen


def _statement(
    artifact: RouterArtifact,
    conversations: Sequence[Conversation],
    data: Path,
    train: Sequence[Path],
    name: str,
) -> str:
    listed: Sequence[dict[str, Any]] = artifact.manifest["data"]
    table = read_outcomes(train) if train else None
    given = {file.sha256 for file in table.files} if table is not None else set()
    missing = [each["file"] for each in listed if each["sha256"] not in given]
    if missing:
        raise DataError(
            f"whether {data.name} was trained on cannot be told without the training's files: give "
            f"--train {','.join(missing)}, the very files that the artifact was fitted on"
        )
    learned = set() if table is None else {normalised(each) for each in table.conversations}
    twice = [i for i, each in enumerate(conversations) if normalised(each) in learned]
    if twice:
        raise DataError(
            f"{len(twice)} prompts of {data.name} are among those of the training (the first is "
            f"number {twice[0] + 1}): RouterArena refuses what was trained on its prompts; fit "
            "without them"
        )
    auxiliary = artifact.manifest["training"].get("auxiliary") or []
    files = "\n".join(f"- {each['file']} (sha256 {each['sha256']})" for each in listed)
    further = (
        "\nFitted along, and not compared here: " + ", ".join(auxiliary) + ".\n"
        if auxiliary
        else ""
    )
    return (
        f"# {name}\n\nRouter artifact {artifact.version}, strategy "
        f"{artifact.manifest['strategy']['kind']}.\n\nNo prompt of {data.name} "
        f"({len(conversations)} prompts) was trained on: each was compared, but for case, "
        "punctuation and white space, with every prompt of the files that the router was fitted "
        f"on:\n\n{files or '- none: it was made without outcomes'}\n{further}"
    )


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
