"""Train the model behind the feature block `request`.

    python scripts/train_request_model.py [--out FILE]

Reads the graded prompts of configs/graded_prompts and, from STEELYARD_DATA_DIR (default:
../shared/data beside the repository; prompts without outcomes: ../answers beside that), public
outcomes and public prompts. Without those it trains on the graded prompts alone.
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

from routers.conversation_text import ConversationText
from routers.embedders.static import StaticEmbedder
from routers.request.model import WEIGHTS_FILE
from routers.training.dataset import read_outcomes
from routers.training.graded import read_courtesies, read_graded, read_judgements, read_lexicon
from routers.training.request_model import Judged, train

_ROOT = Path(__file__).resolve().parents[1]
GRADED = _ROOT / "configs" / "graded_prompts"
DATA = Path(os.environ.get("STEELYARD_DATA_DIR", _ROOT.parent / "shared" / "data"))
SETS = (
    "routellm_mmlu",
    "routellm_mtbench",
    "routerbench",
    "mmlupro_tiger",
    "mmlupro_carrot",
    "routerdc7",
    "llmrouter9",
    "zeroeval",
    "alpaca_eval",
)
PROMPTS = ("arena_hard_prompts", "everyday_prompts")


def public_prompts() -> list[Judged]:
    """Return the public prompts that were graded here and are at hand."""
    texts: dict[str, str] = {}
    for name in PROMPTS:
        file = DATA.parent / "answers" / f"{name}.parquet"
        if file.exists():
            texts |= {row["query_id"]: row["prompt"] for row in pq.read_table(file).to_pylist()}
    for name in SETS:
        file = DATA / f"{name}.parquet"
        if file.exists():
            for row in pq.read_table(file).to_pylist():
                texts[f"{name}/{row['query_id']}"] = row.get("query") or row["prompt"]
    return [
        Judged(text=ConversationText(prompt=texts[key]), judgements=(judgement,), theme=key)
        for key, judgement in sorted(read_judgements(GRADED / "public_grades.tsv").items())
        if key in texts
    ]


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS_FILE)
    options = parser.parse_args()
    files = [DATA / f"{name}.parquet" for name in SETS]
    arrays, facts = train(
        [Judged.of(each) for each in read_graded(GRADED / "train.jsonl")],
        public_prompts(),
        [read_outcomes([file]) for file in files if file.exists()],
        embedder=StaticEmbedder(),
        lexicon=read_lexicon(GRADED / "lexicon.tsv"),
        courtesies=read_courtesies(GRADED / "courtesies.tsv"),
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
