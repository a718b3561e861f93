"""What all endpoints of the stub share: the log, refusals and failures on demand."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.stub.dialects.base import ErrorBody, Refused
from app.stub.endpoints.forms import form
from app.stub.faults import Fault, FaultKind, FaultScript
from app.stub.http import Exchange, Headers
from app.stub.log import Ended, LogEntry, RequestLog

JSON = (b"content-type", b"application/json")

_ERROR_TYPES = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}


class Endpoint:
    """Answers `POST` requests of one path, and logs how each ended.

    Parameters
    ----------
    error_body
        How the path's dialect writes errors.
    models
        The names that it knows.
    """

    def __init__(
        self,
        *,
        faults: FaultScript,
        log: RequestLog,
        error_body: ErrorBody,
        models: Mapping[str, object],
    ) -> None:
        self._faults = faults
        self._log = log
        self._error_body = error_body
        self._models = models

    async def __call__(
        self, exchange: Exchange, addressed: Mapping[str, Any] | None = None
    ) -> None:
        """Answer one request and log how it ended.

        Parameters
        ----------
        addressed
            What the address says that stands in the body elsewhere: the model, whether to stream.
        """
        body = _decoded(exchange)
        if addressed is not None and isinstance(body, dict):
            body = {**body, **addressed}
        model = body.get("model") if isinstance(body, dict) else None
        entry = self._log.open(
            model=model if isinstance(model, str) else None,
            stream=isinstance(body, dict) and body.get("stream") is True,
            body=body,
            headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in exchange.headers],
            connection=exchange.connection,
        )
        ended = Ended.CLIENT_GONE
        try:
            ended = await self._checked(exchange, entry)
        except Refused as refused:
            ended = await self._refuse(exchange, entry, refused)
        finally:
            entry.bytes_sent = exchange.bytes_sent
            self._log.close(entry, ended)

    async def answer(self, exchange: Exchange, entry: LogEntry, fault: Fault | None) -> Ended:
        """Answer a request for a model that there is.

        Raises
        ------
        Refused
            Where it is answered with an error.
        """
        raise NotImplementedError

    def check(self, body: Mapping[str, Any]) -> None:
        """Look at what has to be right before any failure is played.

        Raises
        ------
        Refused
            Where something is not.
        """

    async def _checked(self, exchange: Exchange, entry: LogEntry) -> Ended:
        body = entry.body
        if not isinstance(body, dict):
            raise Refused("We could not parse the JSON body of your request.")
        if not isinstance(body.get("model"), str):
            raise Refused("you must provide a model parameter")
        self.check(body)
        if entry.model not in self._models:
            message = f"The model `{entry.model}` does not exist or you do not have access to it."
            raise Refused(message, status=404)
        fault = self._faults.take(entry.model or "")
        entry.fault = fault.fault if fault else None
        if fault is not None and await self._fails_at_once(fault, exchange, entry):
            return Ended.FAULT
        return await self.answer(exchange, entry, fault)

    async def _refuse(self, exchange: Exchange, entry: LogEntry, refused: Refused) -> Ended:
        entry.status = refused.status
        kind = _ERROR_TYPES.get(refused.status, "invalid_request_error")
        body = self._error_body(str(refused), kind=kind, code=refused.code)
        await exchange.answer(refused.status, [JSON], body)
        return Ended.COMPLETE

    async def _fails_at_once(self, fault: Fault, exchange: Exchange, entry: LogEntry) -> bool:
        match fault.fault:
            case FaultKind.STATUS:
                entry.status = fault.status
                headers: Headers = [JSON]
                if fault.retry_after_s is not None:
                    headers.append((b"retry-after", b"%d" % fault.retry_after_s))
                kind = _ERROR_TYPES.get(
                    fault.status,
                    "server_error" if fault.status >= 500 else "invalid_request_error",
                )
                body = self._error_body("Simulated failure.", kind=kind, code=fault.code)
                await exchange.answer(fault.status, headers, body)
            case FaultKind.RESET_BEFORE_HEADERS:
                exchange.reset()
            case FaultKind.STALL_BEFORE_HEADERS:
                await exchange.stall()
            case _:
                return False
        return True


def _decoded(exchange: Exchange) -> Any:
    """Return the body of a request, JSON or a form; None of anything else."""
    content_type = dict(exchange.headers).get(b"content-type", b"").decode("latin-1")
    if content_type.startswith("multipart/form-data"):
        return form(content_type, exchange.body)
    try:
        return msgspec.json.decode(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
