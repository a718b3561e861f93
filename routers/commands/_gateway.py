"""A running gateway as a router under test: it is asked where it would send requests."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from routers.errors import DataError
from routers.robustness.subject import POSITIONS, Placements
from routers.types import Conversation

_TIMEOUT_S = 60.0
_AT_ONCE = 4
_REFUSED = (400, 403)
"""With the code `content_filter` the request itself was refused, which is an answer."""


class GatewaySubject:
    """The policy behind a model name of a gateway, asked at `POST /v1/route`.

    Parameters
    ----------
    url
        Of the gateway, with or without `/v1`.
    model
        What clients write as `model`.
    key
        Of the gateway; None where it asks for none.

    Raises
    ------
    DataError
        If the address is none of http or https.
    """

    def __init__(self, url: str, *, model: str = "auto", key: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{url}: give a gateway as http://HOST:PORT")
        self.name = f"{model} at {parts.hostname}:{parts.port or ''}".rstrip(":")
        self._url = url
        self._parts = parts
        self._path = parts.path.rstrip("/").removesuffix("/v1") + "/v1/route"
        self._model = model
        self._headers = {"content-type": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._models: tuple[str, ...] = ()

    def place(self, conversations: Sequence[Conversation]) -> Placements:
        """Ask where each request would go, at every position of the knob.

        Raises
        ------
        DataError
            If the gateway cannot be reached or does not decide.
        """
        parts = [conversations[start::_AT_ONCE] for start in range(_AT_ONCE)]
        answers: list[Mapping[str, Any] | None] = [None] * len(conversations)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for start, found in enumerate(pool.map(self._ask_each, parts)):
                answers[start::_AT_ONCE] = found
        if not self._models:
            decided = next((each for each in answers if each is not None), None)
            if decided is None:
                raise DataError(f"{self._url}: every request was refused")
            # A model that is asked for by its own name has no candidates beside it.
            named = [each["model"] for each in decided["candidates"]] or [decided["model"]]
            self._models = tuple(named)
        shape = len(answers), len(self._models)
        quality, cost = np.full(shape, np.nan), np.full(shape, np.nan)
        picks = np.full((len(POSITIONS), len(answers)), -1, np.intp)
        for row, answer in enumerate(answers):
            if answer is None:
                continue
            for each in answer["candidates"]:
                column = self._column(each["model"])
                quality[row, column] = _number(each["predicted_quality"])
                cost[row, column] = _number(each["predicted_cost_usd"])
            picks[:, row] = self._column(answer["model"])
            for step in answer["counterfactual"]:
                within = (step["from_cost_quality"] <= POSITIONS) & (
                    step["to_cost_quality"] >= POSITIONS
                )
                picks[within, row] = self._column(step["model"])
        return Placements(models=self._models, quality=quality, cost_usd=cost, picks=picks)

    def _column(self, model: str) -> int:
        try:
            return self._models.index(model)
        except ValueError:
            raise DataError(
                f"{self._url}: its candidates changed while it was looked at ({model} is new)"
            ) from None

    def _ask_each(self, conversations: Sequence[Conversation]) -> list[Mapping[str, Any] | None]:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=_TIMEOUT_S)
        with contextlib.closing(connection):
            return [self._ask(connection, each) for each in conversations]

    def _ask(
        self, connection: HTTPConnection, conversation: Conversation
    ) -> Mapping[str, Any] | None:
        body = json.dumps(
            {
                "model": self._model,
                "messages": [
                    {"role": each.role.value, "content": each.text}
                    for each in conversation.messages
                ],
            }
        ).encode()
        try:
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise DataError(f"{self._url}: cannot be asked ({error})") from error
        if response.status == 200:
            try:
                answer: dict[str, Any] = json.loads(content)
                answer["candidates"], answer["counterfactual"], answer["model"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self._url}: is no gateway that tells decisions") from error
            return answer
        if response.status in _REFUSED and b"content_filter" in content:
            return None
        raise DataError(f"{self._url}: {response.status}: {_message(content)}")


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode("utf-8", "replace")
