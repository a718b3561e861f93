"""`POST /v1/moderations`: a list of words in the place of a classifier."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from app.stub.dialects.base import Refused

_WORDS = {
    "harassment": "idiot|stupid|loser",
    "harassment/threatening": "i will hurt you",
    "hate": "hate all",
    "hate/threatening": "kill all",
    "illicit": "counterfeit|shoplift",
    "illicit/violent": "bomb|explosives",
    "self-harm": "suicide|self-harm",
    "self-harm/intent": "kill myself",
    "self-harm/instructions": "how to kill myself",
    "sexual": "porn",
    "sexual/minors": "child porn",
    "violence": "kill|murder|stab",
    "violence/graphic": "dismember",
}


def moderations(body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request to say which texts are harmful, and how."""
    sent = body.get("input")
    parts: list[Any] = sent if isinstance(sent, list) else [sent]
    if parts and all(isinstance(each, dict) for each in parts):  # parts of one input
        texts = ["\n".join(each["text"] for each in parts if each.get("type") == "text")]
    elif parts and all(isinstance(each, str) for each in parts):
        texts = parts
    else:
        raise Refused("'input' must be a text, texts, or parts.")
    digest = hashlib.sha256("\n".join(texts).encode("utf-8", "replace")).hexdigest()
    results = [_judged(text) for text in texts]
    return {"id": f"modr-sim{digest[:8]}", "model": body["model"], "results": results}


def _judged(text: str) -> dict[str, Any]:
    found = {
        name: re.search(rf"\b(?:{words})\b", text, re.IGNORECASE) is not None
        for name, words in _WORDS.items()
    }
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": {name: 0.97 if hit else 0.0001 for name, hit in found.items()},
        "category_applied_input_types": {name: ["text"] for name in found},
    }
