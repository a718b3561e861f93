"""Train the model behind the feature block `request`.

    python scripts/train_request_model.py [--out FILE] [--graded-only]

Reads the graded prompts of configs/graded_prompts and, from STEELYARD_DATA_DIR (default:
../shared/data beside the repository; prompts without outcomes: ../answers beside that), public
outcomes and public prompts. Where any of these is missing it stops, unless it is to do without:
the same command must not give a worse model on another machine.
"""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pyarrow.parquet as pq
from public_data import DATA, OUTCOMES, ROOT

from routers.data.dataset import read_outcomes
from routers.data.graded import (
    read_courtesies,
    read_graded,
    read_judgements,
    read_lexicon,
    read_openers,
)
from routers.embedders.static import StaticEmbedder
from routers.request.model import WEIGHTS_FILE
from routers.text.conversation import ConversationText
from routers.training.request_model import train
from routers.training.rewording import Judged

GRADED = ROOT / "configs" / "graded_prompts"
SETS = (OUTCOMES[0], "routellm_mtbench", *OUTCOMES[1:])
PROMPTS = ("arena_hard_prompts", "everyday_prompts")


def outcome_files() -> list[Path]:
    """Return the files of public outcomes."""
    return [DATA / f"{name}.parquet" for name in SETS]


def prompt_files() -> list[Path]:
    """Return the files of public prompts without outcomes."""
    return [DATA.parent / "answers" / f"{name}.parquet" for name in PROMPTS]


def public_prompts() -> list[Judged]:
    """Return the public prompts that were graded here."""
    texts: dict[str, str] = {}
    for file in prompt_files():
        texts |= {row["query_id"]: row["prompt"] for row in pq.read_table(file).to_pylist()}
    for file in outcome_files():
        for row in pq.read_table(file).to_pylist():
            texts[f"{file.stem}/{row['query_id']}"] = row.get("query") or row["prompt"]
    return [
        Judged(text=ConversationText(prompt=texts[key]), judgements=(judgement,), theme=key)
        for key, judgement in sorted(read_judgements(GRADED / "public_grades.tsv").items())
        if key in texts
    ]


def _missing() -> list[Path]:
    return [file for file in (*outcome_files(), *prompt_files()) if not file.exists()]


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS_FILE)
    parser.add_argument(
        "--graded-only", action="store_true", help="do without public prompts and outcomes"
    )
    options = parser.parse_args()
    missing = [] if options.graded_only else _missing()
    if missing:
        parser.error(
            f"public data are missing: {', '.join(map(str, missing))}. Set STEELYARD_DATA_DIR to "
            "where they are, or give --graded-only to train on graded prompts alone, which is worse"
        )
    arrays, facts = train(
        [Judged.of(each) for each in read_graded(GRADED / "train.jsonl")],
        [] if options.graded_only else public_prompts(),
        [] if options.graded_only else [read_outcomes([file]) for file in outcome_files()],
        embedder=StaticEmbedder(),
        lexicon=read_lexicon(GRADED / "lexicon.tsv"),
        courtesies=read_courtesies(GRADED / "courtesies.tsv"),
        openers=read_openers(GRADED / "openers.tsv"),
        progress=print,
    )
    facts["made_with"] = {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "command": "python scripts/train_request_model.py",
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **arrays)
    options.out.with_suffix(".json").write_text(
        json.dumps(facts, indent=1) + "\n", encoding="utf-8"
    )
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
