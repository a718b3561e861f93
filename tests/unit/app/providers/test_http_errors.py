import httpx
import pytest

from app.errors import (
    UpstreamBusyError,
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    UpstreamUnsupportedError,
)
from app.providers.http.error_body import error_detail
from app.providers.http.errors import (
    MAX_WAIT_S,
    error_from_event,
    error_from_exception,
    error_from_status,
    retry_after_s,
)

NOW = 1_795_300_000.0


def from_status(status, body=b"", headers=(), **options):
    return error_from_status(status, headers, body, now_s=NOW, **options)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (302, UpstreamMisconfiguredError),
        (400, UpstreamRejectedError),
        (401, UpstreamMisconfiguredError),
        (402, UpstreamMisconfiguredError),
        (403, UpstreamMisconfiguredError),
        (404, UpstreamMisconfiguredError),
        (408, UpstreamTimeoutError),
        (409, UpstreamRejectedError),
        (413, UpstreamRejectedError),
        (418, UpstreamRejectedError),
        (422, UpstreamRejectedError),
        (429, UpstreamThrottledError),
        (500, UpstreamUnavailableError),
        (502, UpstreamUnavailableError),
        (503, UpstreamUnavailableError),
        (504, UpstreamTimeoutError),
        (529, UpstreamUnavailableError),
        (600, UpstreamUnavailableError),
    ],
)
def test_every_status_has_its_error(status, cls):
    error = from_status(status)
    assert type(error) is cls
    assert error.status == status
    assert str(status) in error.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"m","type":"t","code":"context_length_exceeded"}}',
        b'{"error":{"message":"m","type":"exceed_context_size_error","code":400}}',
        b'{"error":"This model\'s maximum context length is 4096 tokens."}',
        b'{"error":{"message":"Requested tokens (9000) exceed context window of 512"}}',
        b'{"error":{"message":"prompt is too long: 210000 tokens > 200000 maximum"}}',
    ],
)
def test_prompts_that_are_too_long_are_recognised(body):
    error = from_status(400, body)
    assert type(error) is UpstreamContextLengthError
    assert error.retryable
    assert error.body == body


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"`temperature` is deprecated for this model.","type":"x"}}',
        b'{"error":{"message":"\\"x\\" is not supported for this model. Use y"}}',
        b'{"error":{"message":"m","code":"unsupported_parameter","param":"max_tokens"}}',
        b'{"error":{"message":"m","code":"unsupported_value","param":"temperature"}}',
    ],
)
def test_what_only_this_model_lacks_may_be_had_from_another(body):
    error = from_status(400, body)
    assert type(error) is UpstreamUnsupportedError
    assert error.retryable
    assert not error.provider_fault
    assert (error.status, error.body) == (400, body)


def test_older_vllm_servers_are_errors_themselves():
    body = (
        b'{"object":"error","message":"This model\'s maximum context length is 4096 tokens.",'
        b'"type":"BadRequestError","param":null,"code":400}'
    )
    assert type(from_status(400, body)) is UpstreamContextLengthError
    assert error_detail(body).type == "BadRequestError"


@pytest.mark.parametrize("code", ["invalid_api_key", "model_not_found"])
def test_codes_that_are_the_operators_business_win_over_the_status(code):
    body = b'{"error":{"message":"m","code":"%b"}}' % code.encode()
    assert type(from_status(400, body)) is UpstreamMisconfiguredError


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"error":{"message":"bad temperature","type":"x","param":"temperature"}}', True),
        (b'{"error":"plain"}', True),
        (b'{"error":null}', False),
        (b'{"error":', False),
        (b"<html>", False),
        (b"\xff\xfe", False),
        (b'{"error":' + b"[" * 5000, False),
        (b"", False),
    ],
)
def test_only_errors_are_passed_on(body, kept):
    assert from_status(400, body).body == (body if kept else None)


@pytest.mark.parametrize("status", [401, 429, 500, 302])
def test_messages_never_quote_the_upstream(status):
    body = (
        b'{"error":{"message":"Incorrect API key sk-secret of org-1",'
        b'"type":"has spaces sk-secret","code":"sk secret"}}'
    )
    error = from_status(status, body)
    assert "secret" not in error.message
    assert error.body is None


def test_message_names_the_error_code():
    assert (
        "(insufficient_quota)"
        in from_status(429, b'{"error":{"code":"insufficient_quota"}}').message
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"Retry-After", b"7")], 7.0),
        ([(b"retry-after", b" 1.5 ")], 1.5),
        ([(b"retry-after", b"0")], 0.0),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"\xff")], None),
        ([(b"retry-after", b"9" * 400)], None),
        ([(b"retry-after", b"1e300")], MAX_WAIT_S),
        ([(b"retry-after", b"1e308")], MAX_WAIT_S),
        ([(b"retry-after-ms", b"1e308")], MAX_WAIT_S),
        ([(b"retry-after", b"Sat, 21 Nov 9999 22:27:00 GMT")], MAX_WAIT_S),
        ([(b"retry-after", b"Sat, 21 Nov 99999 22:27:00 GMT")], None),
        ([(b"Retry-After-Ms", b"250"), (b"retry-after", b"7")], 0.25),
        ([(b"retry-after-ms", b"x"), (b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"Sat, 21 Nov 2026 22:27:00 GMT")], 20.0),
        ([(b"retry-after", b"Sat, 21 Nov 2020 22:27:00 GMT")], 0.0),
        ([(b"retry-after", b"Sat, 99 Nov 2026 22:27:00 GMT")], None),
    ],
)
def test_retry_after_in_every_form(headers, seconds):
    assert retry_after_s(headers, now_s=NOW) == seconds


def test_throttled_error_carries_the_wait():
    assert from_status(429, headers=[(b"retry-after", b"3")]).retry_after_s == 3.0


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        (b'{"error":{"code":"rate_limit_exceeded"}}', UpstreamThrottledError),
        (b'{"error":{"type":"tokens"}}', UpstreamThrottledError),
        (b'{"error":{"code":429}}', UpstreamThrottledError),
        (b'{"error":{"code":"context_length_exceeded"}}', UpstreamContextLengthError),
        (b'{"error":{"type":"server_error"}}', UpstreamUnavailableError),
    ],
)
def test_errors_inside_a_200(body, cls):
    detail = error_detail(body)
    assert detail is not None
    assert type(error_from_event(detail)) is cls


@pytest.mark.parametrize(
    ("error", "cls"),
    [
        (httpx.ConnectTimeout, UpstreamTimeoutError),
        (httpx.ReadTimeout, UpstreamTimeoutError),
        (httpx.WriteTimeout, UpstreamTimeoutError),
        (httpx.PoolTimeout, UpstreamBusyError),
        (httpx.ConnectError, UpstreamUnavailableError),
        (httpx.ReadError, UpstreamUnavailableError),
        (httpx.WriteError, UpstreamUnavailableError),
        (httpx.RemoteProtocolError, UpstreamUnavailableError),
        (httpx.LocalProtocolError, UpstreamInvalidResponseError),
    ],
)
def test_every_transport_failure_has_its_error(error, cls):
    mapped = error_from_exception(error("secret host"))
    assert type(mapped) is cls
    assert isinstance(mapped, UpstreamError)
    assert "secret" not in mapped.message


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (httpx.ConnectError, False),
        (httpx.ConnectTimeout, False),
        (httpx.PoolTimeout, False),
        (httpx.ReadTimeout, True),
        (httpx.WriteTimeout, True),
        (httpx.ReadError, True),
        (httpx.RemoteProtocolError, True),
    ],
)
def test_only_where_no_connection_came_about_nothing_was_sent(error, sent):
    assert error_from_exception(error("x")).sent is sent


def test_too_few_connections_of_our_own_are_no_fault_of_the_provider():
    assert not error_from_exception(httpx.PoolTimeout("x")).provider_fault
