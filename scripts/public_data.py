"""What scripts share about the public sets: where they lie and what charts call them."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

DATA = Path(os.environ.get("STEELYARD_DATA_DIR", ROOT.parent / "shared" / "data"))

OUTCOMES = (
    "routellm_mmlu",
    "routerbench",
    "mmlupro_tiger",
    "mmlupro_carrot",
    "routerdc7",
    "llmrouter9",
    "zeroeval",
    "alpaca_eval",
)
"""Sets with outcomes of every model on every prompt."""

TITLES = {
    "routellm_mmlu": "GPT-4 / Mixtral on MMLU, APGR",
    "routellm_mmlu_1500": "the same, 1,500 training rows",
    "routerbench": "RouterBench, 11 models, AIQ",
    "mmlupro_tiger": "MMLU-Pro, TIGER's 16, AIQ",
    "mmlupro_carrot": "MMLU-Pro, CARROT's 18, AIQ",
    "routerdc7": "RouterDC, 7 models, accuracy",
    "zeroeval": "ZeroEval CRUX, 25 models, AIQ",
    "alpaca_eval": "AlpacaEval, 15 models, AIQ",
    "llmrouter9": "LLMRouter, 9 models, accuracy",
}
"""What is measured on a set, as the title of a chart."""
