"""The endpoints that models which do not chat are asked at, and the kind of model of each."""

from collections.abc import Mapping

EMBEDDINGS = "embeddings"
SPEECH = "audio/speech"

ENDPOINTS: Mapping[str, str] = {
    EMBEDDINGS: "embeddings",
    "moderations": "moderations",
    "images/generations": "images",
    "images/edits": "images",
    "images/variations": "images",
    SPEECH: "audio",
    "audio/transcriptions": "audio",
    "audio/translations": "audio",
    "rerank": "rerank",
}
"""The kind of model by the dialect's name, which is the path below /v1."""

PINNED = frozenset(ENDPOINTS)
PASSED_THROUGH = PINNED - {EMBEDDINGS}
"""Those of which neither requests nor answers are looked into further than they have to be."""

TAKE_FORMS = frozenset(
    {"images/edits", "images/variations", "audio/transcriptions", "audio/translations"}
)
"""Those whose requests may come with files, as multipart/form-data."""


def paths_of(kind: str) -> str:
    """Return where models of a kind are asked, as a list to read."""
    paths = [f"/v1/{name}" for name, each in ENDPOINTS.items() if each == kind]
    return ", ".join(paths) or "/v1/chat/completions"
