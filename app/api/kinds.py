"""Which kind of model a request can be answered by, where that is not any that chats."""

import msgspec

from app.api.dialects.base import ParsedRequest
from app.errors import InvalidRequestError
from app.gateway.names import Names
from app.wire.pinned.endpoints import paths_of
from routers.models import CHAT

_WHY = {
    "embeddings": "vectors of different models cannot be compared, so that none is chosen for a "
    "request",
}


def with_model_of_its_kind(asked: ParsedRequest, names: Names) -> ParsedRequest:
    """Return a request with the only model of its kind, where it names none.

    Raises
    ------
    InvalidRequestError
        If there are several.
    """
    if asked.model:
        return asked
    models = names.of_kind(asked.kind)
    if len(models) == 1:
        return msgspec.structs.replace(asked, model=models[0])
    raise InvalidRequestError(
        f"you must provide a model parameter; {_listed(asked.kind, names)}", param="model"
    )


def check_kind(asked: ParsedRequest, pinned: str | None, names: Names) -> None:
    """Refuse a model that gives another kind of answer than is asked for.

    Raises
    ------
    InvalidRequestError
    """
    shown = repr(asked.model[:80])
    if pinned is None:
        why = _WHY.get(asked.kind, "such requests are not routed")
        raise InvalidRequestError(
            f"{shown} names no model; {why}: {_listed(asked.kind, names)}", param="model"
        )
    spec = names.others.get(pinned)
    kind = CHAT if spec is None else spec.kind
    if kind != asked.kind:
        raise InvalidRequestError(
            f"the model {shown} is asked at {paths_of(kind)}; here {_listed(asked.kind, names)}",
            param="model",
        )
    if asked.token_ids and spec is not None and not spec.takes_token_ids:
        raise InvalidRequestError(
            f"the model {shown} takes texts, not numbers of a tokeniser that is not its own; send "
            "texts (LangChain: check_embedding_ctx_length=False)",
            param="input",
        )


def _listed(kind: str, names: Names) -> str:
    if kind == CHAT:
        return "models that chat are asked"
    models = names.of_kind(kind)
    if not models:
        return f"no model of kind {kind} is configured"
    return f"send one of: {', '.join(models)}"
