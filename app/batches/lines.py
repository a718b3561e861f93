"""The lines of a file of requests: what each asks, and what is wrong with it."""

from typing import Annotated, Any

import msgspec

from app.batches.door import Answer, BatchLine
from app.batches.records import Fault
from app.wire.decoding import DECODE_ERRORS

MAX_FAULTS = 100
"""More are not told; whoever mends so many finds the rest."""
_MAX_ID_CHARS = 512
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some editors, and PowerShell, begin files with it."""


class _Line(msgspec.Struct, kw_only=True):
    custom_id: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_ID_CHARS)]
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct, kw_only=True):
    model: str
    stream: bool | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_body = msgspec.json.Decoder(_Body).decode


class FaultyLineError(Exception):
    """A line that is no request."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class LineReader:
    """Reads the lines of one file, each once, in their order.

    Parameters
    ----------
    endpoint
        The only one that its requests may be for.
    """

    def __init__(self, *, endpoint: str) -> None:
        self._endpoint = endpoint
        self._seen: dict[str, int] = {}

    def read(self, raw: bytes, number: int) -> BatchLine:
        """Return the request of a line.

        Raises
        ------
        FaultyLineError
        """
        line = read_line(raw, number, endpoint=self._endpoint)
        first = self._seen.setdefault(line.custom_id, number)
        if first != number:
            raise _faulty(
                number,
                "duplicate_custom_id",
                f"The custom_id {line.custom_id[:100]!r} stands in line {first + 1} already.",
                param="custom_id",
            )
        return line


def is_blank(raw: bytes, number: int) -> bool:
    """Return whether a line holds nothing, but for what begins some files."""
    return not (raw.removeprefix(_BYTE_ORDER_MARK) if number == 0 else raw).strip()


def read_line(raw: bytes, number: int, *, endpoint: str) -> BatchLine:
    """Return the request of a line, taken by itself.

    Raises
    ------
    FaultyLineError
    """
    if number == 0:
        raw = raw.removeprefix(_BYTE_ORDER_MARK)
    try:
        raw.decode()  # all of it: what is not looked at here would be sent on as it is
        line = _decode_line(raw)
    except msgspec.ValidationError as error:
        raise _invalid(number, error) from error
    except DECODE_ERRORS as error:
        raise _faulty(
            number, "invalid_json_line", "This line is not parseable as valid JSON."
        ) from error
    if line.method != "POST":
        message = f"The method of a request is POST, not {line.method[:20]!r}."
        raise _faulty(number, "invalid_method", message, param="method")
    if line.url != endpoint:
        message = (
            f"The url {line.url[:100]!r} does not match the endpoint of the batch, {endpoint!r}."
        )
        raise _faulty(number, "url_mismatch", message, param="url")
    body = bytes(line.body)
    try:
        asked = _decode_body(body)
    except msgspec.ValidationError as error:
        raise _invalid(number, error, within="body") from error
    except DECODE_ERRORS as error:
        raise _faulty(
            number, "invalid_json_line", "This line is not parseable as valid JSON."
        ) from error
    if asked.stream:
        message = "Answers of a batch are not streamed; leave stream out."
        raise _faulty(number, "invalid_request", message, param="body.stream")
    return BatchLine(number=number, custom_id=line.custom_id, body=body)


def _invalid(number: int, error: msgspec.ValidationError, *, within: str = "") -> FaultyLineError:
    message, _, path = str(error).partition(" - at `$")
    where = ".".join(each for each in (within, path.strip("`.")) if each)
    missing = message.partition("missing required field ")[2].strip("`")
    if missing:
        param = ".".join(each for each in (where, missing) if each)
        text = f"Missing required parameter: '{param}'."
        return _faulty(number, "missing_required_parameter", text, param=param)
    what = where or "line"
    text = f"Invalid {what}: {message}."
    return _faulty(number, "invalid_request", text, param=where or None)


def _faulty(number: int, code: str, message: str, *, param: str | None = None) -> FaultyLineError:
    return FaultyLineError(Fault(code=code, message=message, line=number + 1, param=param))


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request.

    Attributes
    ----------
    line
        As it stands in the file of answers, or of errors.
    ok
        In which of them.
    model
        Who answered, as far as that is known.
    """

    line: msgspec.Raw
    ok: bool
    cost_usd: float = 0.0
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    left_out: bool = False

    def encoded(self) -> bytes:
        """Return it as it is stored."""
        return msgspec.json.encode(self)


decode_result = msgspec.json.Decoder(Result).decode


def output_line(
    request_id: str,
    custom_id: str,
    *,
    response: dict[str, Any] | None = None,
    error: tuple[str, str] | None = None,
) -> msgspec.Raw:
    """Return a line of a file of answers or errors.

    Parameters
    ----------
    error
        Code and message, of what was not answered at all.
    """
    return msgspec.Raw(
        msgspec.json.encode(
            {
                "id": request_id,
                "custom_id": custom_id,
                "response": response,
                "error": None if error is None else {"code": error[0], "message": error[1]},
            }
        )
    )


def result_of(line: BatchLine, request_id: str, answer: Answer) -> Result:
    """Return what came of a request that was answered, be it with an error."""
    response = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": msgspec.Raw(answer.body),
    }
    return Result(
        line=output_line(request_id, line.custom_id, response=response),
        ok=answer.is_ok,
        cost_usd=answer.cost_usd,
        model=answer.model,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cached_tokens=answer.cached_tokens,
        reasoning_tokens=answer.reasoning_tokens,
    )


def failure(line: BatchLine, request_id: str, error: tuple[str, str]) -> Result:
    """Return what is told of a request without an answer: a code and a message."""
    return Result(line=output_line(request_id, line.custom_id, error=error), ok=False)
