import pytest

from app.errors import UpstreamRejectedError
from app.providers.http.credentials import Credentials

CREDENTIALS = Credentials(
    "sk-secret/1", [("X-Proxy-Token", "Basic dXNlcjpwYXNz"), ("x-version", "2024-10-21")]
)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"do not send sk-secret/1"}}',
        b'{"error":{"message":"do not send sk-secret\\/1"}}',
        b'{"error":{"message":"\\u0073k-secret/1"}}',
        b'{"error":{"a":[{"sk-secret\\u002f1":2}]}}',
        b'{"error":{"message":"user dXNlcjpwYXNz"}}',
        b'sk-secret/1 {"error":',
    ],
)
def test_a_body_that_repeats_a_credential_is_withheld(body):
    error = UpstreamRejectedError("no", status=400, body=body)
    CREDENTIALS.clean(error)
    assert error.body is None
    assert error.message == "no"


@pytest.mark.parametrize(
    "body",
    [b'{"error":{"message":"sk-secret/2 of version 2024-10-21"}}', b"\xff", b'["\\ud800"]', b"["],
)
def test_any_other_body_is_kept(body):
    error = UpstreamRejectedError("no", status=400, body=body)
    CREDENTIALS.clean(error)
    assert error.body == body


def test_a_message_that_repeats_a_credential_says_nothing_else():
    error = UpstreamRejectedError("the upstream answered 400 (sk-secret/1)")
    CREDENTIALS.clean(error)
    assert "sk-secret" not in repr(error) + error.message


@pytest.mark.parametrize("value", [b"sk-secret/1", b"id-dXNlcjpwYXNz", b"a\x01b", b"a\x7f", b"\0"])
def test_a_header_with_a_credential_or_control_characters_is_not_passed_on(value):
    assert not CREDENTIALS.may_pass(value)


def test_other_headers_are_passed_on_and_no_credentials_forbid_nothing():
    assert CREDENTIALS.may_pass(b"req_123 \t\xfc")
    assert Credentials(None).may_pass(b"")
    assert Credentials("").may_pass(b"x")
