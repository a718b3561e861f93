"""Made-up outcomes in which every subject has a model of its own, and all else a generalist."""

import json
from pathlib import Path

import numpy as np

MODELS = ("general", "mathy", "doctor")
PRICES = {"general": (1.0, 3.0), "mathy": (1.0, 3.0), "doctor": (1.0, 3.0)}
SKILL = {
    "math": (0.55, 0.95, 0.3),
    "health": (0.6, 0.3, 0.95),
    "history": (0.8, 0.4, 0.5),
}
PROMPTS = {
    "math": (
        "Solve the equation {a}x + {b} = {c} for x and show every step of the algebra.",
        "What is the derivative of {a}x^{b} + {c}x with respect to x?",
        "Compute the integral of {a}x over the interval from {b} to {c}.",
    ),
    "health": (
        "A patient of {a} years has a fever of {b} days and a cough; which dose of {c} mg is safe?",
        "Which symptoms of diabetes does a patient show after {a} weeks on {b} mg of insulin {c}?",
        "Is a blood pressure of {a} over {b} dangerous for a patient who takes {c} mg of aspirin?",
    ),
    "history": (
        "Which king ruled the empire in the year {a}, and what treaty ended the war of {b} to {c}?",
        "Describe the causes of the revolution of {a} and the battle that followed in {b}, {c}.",
        "Who signed the treaty of {a} after the siege of {b}, and which emperor lost {c} ships?",
    ),
}
STRANGE = (
    "zxcv qwer {a} !!! uiop {b} ;;; hjkl {c} {{}} <<>>",
    "Rezept: {a} Eier, {b} g Mehl, {c} ml Milch verruehren und backen",
)


def prompts(subject: str | None, n: int, *, seed: int) -> list[str]:
    """Return prompts of a subject, or such as are like none of them."""
    rng = np.random.default_rng(seed)
    forms = STRANGE if subject is None else PROMPTS[subject]
    return [
        forms[i % len(forms)].format(**dict(zip("abc", rng.integers(2, 999, 3), strict=True)))
        for i in range(n)
    ]


def write_subjects(path: Path, *, n: int = 120, seed: int = 0, labelled: bool = True) -> Path:
    """Write `n` queries of each subject and what the models made of them, an outcome a line."""
    rng = np.random.default_rng(seed)
    lines = []
    for subject, chances in SKILL.items():
        for i, prompt in enumerate(prompts(subject, n, seed=seed)):
            for model, chance in zip(MODELS, chances, strict=True):
                line = {
                    "query_id": f"{subject}{i}",
                    "prompt": prompt,
                    "model": model,
                    "quality": float(rng.random() < chance),
                    "output_tokens": int(rng.integers(80, 120)),
                }
                if labelled:
                    line |= {"set": "made", "benchmark": "exam", "subset": subject}
                lines.append(json.dumps(line))
    path.write_text("\n".join(lines) + "\n")
    return path
