"""What an upstream says of a failure, in whichever shape it says it.

Understood are OpenAI's error object, and what others send in its place: an array of them (Gemini),
flat ones (older vLLM, SiliconFlow, AWS), strings (Ollama, TGI), FastAPI's `detail`, lists of
`errors`, what a relay nests (OpenRouter's `metadata.raw`), MiniMax's `base_resp`, plain text.
"""

import json
import re
from collections.abc import Iterator, Mapping

import msgspec

from app.providers.http.wordings import STATUSES, TOO_LONG_CODES, is_too_long
from app.wire.decoding import DECODE_ERRORS

_MAX_DEPTH = 6
_MAX_PARTS = 500
"""Looked at in one error; what is deep and wide holds no more to tell."""
_MAX_TEXT = 2000
"""Characters of all that is said that are searched, half of them from its end: a hostile text may
cost milliseconds, not more."""
_MAX_MESSAGE = 8000
_MAX_TOLD = 1000
"""Characters of a plain text that a client is told."""

_CONTAINERS = ("error", "errors", "detail", "fault", "base_resp", "response", "exception")
_MESSAGES = (
    *("message", "msg", "error_msg", "error_message", "errorMessage", "errmsg", "Message"),
    *("detail", "title", "faultstring", "status_msg", "error_description", "reason"),
)
_TYPES = ("type", "error_type", "errorType", "__type", "status")
_CODES = ("code", "error_code", "errorCode", "status_code", "statusCode", "status", "Code")
_NESTED = ("metadata", "innererror", "details", "raw", "cause")
_NO_CODE = frozenset({"", "0", "none", "null", "ok", "success", "200", "about:blank"})
_WAITS = {"retry_after": 1.0, "retry_after_seconds": 1.0, "retryAfter": 1.0, "retry_after_ms": 1e-3}
_SAFE_CODE = re.compile(r"[a-z0-9_.-]{1,64}", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)\s*(ms|milli|s|m|h)", re.IGNORECASE)
_HINT = re.compile(
    r"(?:try again|retry|wait)\b[^\d\n]{0,40}((?:\d[\d.]{0,20}\s*(?:ms|[smh])[a-z]{0,10}\s*){1,3})",
    re.IGNORECASE,
)
_UNITS_S = {"ms": 1e-3, "milli": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MARKUP = re.compile(r"\s*(?:<!doctype|<html|<\?xml|<head|<body)", re.IGNORECASE)


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is known of an error; each is empty where nothing was told of it.

    Attributes
    ----------
    said
        All that was said, nested reasons included, to be searched and never to be shown.
    wait_s
        How long to stay away, where the text says so.
    """

    message: str = ""
    type: str = ""
    code: str = ""
    param: str = ""
    said: str = ""
    wait_s: float | None = None

    @property
    def safe_code(self) -> str | None:
        """The code, or else the type, where it looks like an identifier."""
        for each in (self.code, self.type):
            if _SAFE_CODE.fullmatch(each):
                return each
        return None

    @property
    def names(self) -> frozenset[str]:
        """Code and type, in lower case."""
        return frozenset({self.code.lower(), self.type.lower()} - {""})

    @property
    def too_long(self) -> bool:
        """Whether it says that the prompt does not fit into the model's context window."""
        return bool(self.names & TOO_LONG_CODES) or is_too_long(self.said)

    @property
    def status(self) -> int | None:
        """The HTTP status that its code is, or amounts to."""
        for each in (self.code, self.type):
            if len(each) == 3 and each.isdecimal() and 400 <= int(each) < 600:
                return int(each)
        for each in (self.code, self.type):
            status = STATUSES.get(each.lower().rpartition("#")[2])
            if status is not None:
                return status
        return None


def error_detail(body: bytes) -> ErrorDetail | None:
    """Read what a failure says of itself; None where that is nothing."""
    value = _decoded(body)
    if value is None:
        value = _plain(body)
    found = _Found()
    found.gather(value, 0)
    detail = found.detail()
    return None if detail == ErrorDetail() else detail


def reported_error(body: bytes) -> ErrorDetail | None:
    """Read the error that stands in an answer's place; None where there is none.

    Parameters
    ----------
    body
        Of a whole answer without a choice, or the data of an event without one.
    """
    value = _decoded(body)
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None
    if not (value.get("error") or _is_flat_error(value)):
        return None
    return error_detail(body) or ErrorDetail()


def told_body(detail: ErrorDetail) -> bytes:
    """Return an error in OpenAI's shape."""
    return _encode(
        {
            "error": {
                "message": detail.message or detail.code or detail.type,
                "type": detail.type or "invalid_request_error",
                "param": detail.param or None,
                "code": detail.code or None,
            }
        }
    )


def is_openais(body: bytes) -> bool:
    """Whether clients of OpenAI's dialect find the message of an error body by themselves."""
    value = _decoded(body)
    error = value.get("error") if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return isinstance(message, str) and bool(message.strip())


def _is_flat_error(value: Mapping[str, object]) -> bool:
    """Whether an object without choices is an error of a shape without `error`."""
    if value.get("object") == "error" or value.get("type") == "error":
        return True
    base = value.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return True
    if any(value.get(key) for key in ("errors", "detail", "fault", "error_msg", "error_message")):
        return True
    said = any(isinstance(value.get(key), str) and value[key] for key in _MESSAGES)
    codes = (str(value[key]).lower() for key in (*_CODES, *_TYPES) if key in value)
    return said and any(code not in _NO_CODE for code in codes)


class _Found:
    """What was found of an error so far."""

    def __init__(self) -> None:
        self._messages: list[str] = []
        self._said: list[str] = []
        self._type = self._code = self._param = ""
        self._wait_s: float | None = None
        self._n_parts = 0

    def gather(self, value: object, depth: int) -> None:
        """Take what a part of an error says."""
        self._n_parts += 1
        if depth > _MAX_DEPTH or self._n_parts > _MAX_PARTS:
            return
        if isinstance(value, str):
            self._take_text(value, depth)
        elif isinstance(value, list):
            for each in value[:20]:
                self.gather(each, depth + 1)
        elif isinstance(value, dict):
            self._take_object(value, depth)

    def detail(self) -> ErrorDetail:
        """Return all of it."""
        said = "\n".join(self._said)
        if len(said) > _MAX_TEXT:
            said = said[: _MAX_TEXT // 2] + said[-_MAX_TEXT // 2 :]
        return ErrorDetail(
            message="; ".join(dict.fromkeys(self._messages))[:_MAX_MESSAGE],
            type=self._type,
            code=self._code,
            param=self._param,
            said=said,
            wait_s=self._wait_s if self._wait_s is not None else _hint_s(said),
        )

    def _take_text(self, text: str, depth: int) -> None:
        text = text.strip().encode("utf-8", "replace").decode()
        if text.startswith(("{", "[")) and (nested := _decoded(text.encode())):
            self.gather(nested, depth + 1)
        elif text and text.lower() not in _NO_CODE:
            self._messages.append(text)
            self._said.append(text)

    def _take_object(self, error: Mapping[str, object], depth: int) -> None:
        fields = error.get("errors")
        if isinstance(fields, dict):  # field → what is wrong with it
            self.gather(list(fields.values()), depth + 1)
        for key in _CONTAINERS:
            if isinstance(error.get(key), dict | list | str):
                self.gather(error[key], depth + 1)
        place = error.get("loc")  # FastAPI
        prefix = ""
        if isinstance(place, list):
            prefix = ".".join(str(each) for each in place if each != "body") + ": "
            self._param = self._param or prefix.removesuffix(": ")
        for key in _MESSAGES:
            text = error.get(key)
            if key in _CONTAINERS:
                continue
            if isinstance(text, str) and text.strip():
                self._take_text(prefix + text, depth)
                prefix = ""
            elif isinstance(text, dict | list):
                self.gather(text, depth + 1)
        self._type = self._type or next(_words(error, _TYPES), "")
        self._code = self._code or next(_words(error, _CODES), "")
        param = error.get("param")
        self._param = self._param or (param if isinstance(param, str) else "")
        self._take_waits(error)
        for key in _NESTED:
            self.gather(error.get(key), depth + 1)

    def _take_waits(self, error: Mapping[str, object]) -> None:
        for key, unit_s in _WAITS.items():
            value = error.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                self._wait_s = value * unit_s
        delay = error.get("retryDelay")  # google.rpc.RetryInfo
        if isinstance(delay, str):
            self._wait_s = _duration_s(delay)


def _words(error: Mapping[str, object], keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        value = error.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            word = str(value) if isinstance(value, str) or abs(value) < 10**15 else ""
            if word.lower() not in _NO_CODE and word != "error":
                yield word


def _hint_s(text: str) -> float | None:
    found = _HINT.search(text)
    return None if found is None else _duration_s(found[1])


def _duration_s(text: str) -> float | None:
    parts = [float(n) * _UNITS_S[unit.lower()] for n, unit in _DURATION.findall(text)]
    return sum(parts) if parts else None


def _plain(body: bytes) -> str | None:
    """Return a body that is plain text; pages of proxies and firewalls say nothing."""
    text = body[: 4 * _MAX_TOLD].decode("utf-8", "replace").strip()
    if not text or _MARKUP.match(text) or "\ufffd" in text or text.startswith(("{", "[")):
        return None
    return text[:_MAX_TOLD]


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except DECODE_ERRORS:
        pass
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"), strict=False)
        return json.loads(json.dumps(value).encode("utf-8"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.EncodeError, UnicodeEncodeError, ValueError, RecursionError):
        return json.dumps(value).encode()
