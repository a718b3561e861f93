"""`POST /v1/embeddings` and `/v1/rerank`: texts that share words are near each other."""

import base64
import hashlib
import math
import re
import struct
from collections.abc import Mapping
from typing import Any

from app.stub.dialects.base import Refused

EMBEDDERS: Mapping[str, int] = {"sim-embed": 256, "sim-embed-large": 1024}
"""Length of a vector by the model's name."""

RERANKERS: Mapping[str, int] = {"sim-rerank": 256}

_MAX_INPUTS = 2048
_MAX_TOKENS = 8192
_PLACES_PER_WORD = 8

_Input = str | list[int]


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request for embeddings.

    Raises
    ------
    Refused
        For inputs that the real API refuses too.
    """
    size = EMBEDDERS[body["model"]]
    wanted = body.get("dimensions")
    if wanted is not None and not (isinstance(wanted, int) and 0 < wanted <= size):
        raise Refused(f"'dimensions' must be from 1 to {size}.")
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise Refused("'encoding_format' must be 'float' or 'base64'.")
    inputs = _inputs(body.get("input"))
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _encoded(vector(each, size=size)[: wanted or size], form),
        }
        for index, each in enumerate(inputs)
    ]
    n_tokens = sum(map(_tokens, inputs))
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def rerank(body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request to put documents in the order in which they fit a query."""
    documents, query = body["documents"], body["query"]
    if not isinstance(query, str) or not query or not documents:
        raise Refused("'query' and 'documents' must not be empty.")
    texts = [each if isinstance(each, str) else each["text"] for each in documents]
    asked = vector(query)
    scores = [
        round((1 + sum(a * b for a, b in zip(asked, vector(text), strict=True))) / 2, 6)
        for text in texts
    ]
    order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))
    results = [
        {
            "index": index,
            "relevance_score": scores[index],
            **({"document": {"text": texts[index]}} if body.get("return_documents") else {}),
        }
        for index in order[: body.get("top_n") or len(order)]
    ]
    n_tokens = sum(map(_tokens, [query, *texts]))
    digest = hashlib.sha256("\n".join([query, *texts]).encode()).hexdigest()
    return {
        "id": f"rerank-sim{digest[:8]}",
        "model": body["model"],
        "results": results,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    }


def vector(text: _Input, *, size: int = 256) -> list[float]:
    """Return a vector of unit length, the same for the same text."""
    words = text if isinstance(text, list) else re.findall(r"\w+", text.casefold()) or [text]
    sums = [0.0] * size
    for word in words:
        digest = hashlib.sha256(str(word).encode("utf-8", "replace")).digest()
        for i in range(0, 4 * _PLACES_PER_WORD, 4):
            drawn = int.from_bytes(digest[i : i + 4])
            sums[(drawn >> 1) % size] += 1.0 if drawn & 1 else -1.0
    return _unit(sums)


def _unit(values: list[float]) -> list[float]:
    length = math.sqrt(sum(each * each for each in values))
    return [each / length for each in values] if length else [1.0] + [0.0] * (len(values) - 1)


def _inputs(sent: object) -> list[_Input]:
    inputs: list[Any] = sent if isinstance(sent, list) else [sent]
    if sent == inputs and inputs and all(isinstance(each, int) for each in inputs):
        inputs = [inputs]
    if not 0 < len(inputs) <= _MAX_INPUTS:
        raise Refused(f"'input' must have from 1 to {_MAX_INPUTS} entries.")
    for each in inputs:
        tokens = isinstance(each, list) and all(isinstance(token, int) for token in each)
        if not (isinstance(each, str) or tokens) or not each:
            raise Refused("'input' must be texts or arrays of token ids, none of them empty.")
        if _tokens(each) > _MAX_TOKENS:
            raise Refused(f"An input is longer than {_MAX_TOKENS} tokens.")
    return inputs


def _tokens(text: _Input) -> int:
    return len(text) if isinstance(text, list) else (len(text) + 3) // 4


def _encoded(values: list[float], form: str) -> list[float] | str:
    values = _unit(values)
    if form == "float":
        return [round(each, 8) for each in values]
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
