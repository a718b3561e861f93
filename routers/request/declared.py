"""Documents as requests and rows of training data declare them: beside the messages."""

from typing import Any

from routers.request.documents import MAX_DOCUMENTS
from routers.types import Document

_TEXT_KEYS = ("text", "content", "snippet", "page_content", "data")
"""Where libraries keep the text of a document."""

_SCORE_KEYS = ("score", "relevance_score")


def declared_documents(value: object) -> tuple[Document, ...]:
    """Read the documents that were declared.

    Parameters
    ----------
    value
        A list of texts, or of objects with the text under `text`, `content`, `snippet`,
        `page_content` or `data` (which may be such an object itself), and perhaps a number under
        `score` or `relevance_score`.

    Raises
    ------
    ValueError
        If it is no such list; the message says what is wrong with it.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError("must be a list of texts, or of objects with a text each")  # noqa: TRY004
    if len(value) > MAX_DOCUMENTS:
        raise ValueError(f"holds {len(value)} documents; at most {MAX_DOCUMENTS} are taken")
    return tuple(_document(place, each) for place, each in enumerate(value))


def _document(place: int, value: Any) -> Document:
    if isinstance(value, str):
        return Document(value, declared=True)
    if not isinstance(value, dict):
        raise ValueError(f"[{place}] must be a text, or an object with one")  # noqa: TRY004
    inner = value["data"] if isinstance(value.get("data"), dict) else value
    text = next((inner[key] for key in _TEXT_KEYS if isinstance(inner.get(key), str)), None)
    if text is None:
        raise ValueError(f"[{place}] needs its text under {', '.join(map(repr, _TEXT_KEYS))}")
    score = next((value[key] for key in _SCORE_KEYS if value.get(key) is not None), None)
    if score is None:
        return Document(text, declared=True)
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    if not is_number or not abs(score) < 1e300:
        raise ValueError(f"[{place}].score must be a number")
    return Document(text, score=float(score), declared=True)
