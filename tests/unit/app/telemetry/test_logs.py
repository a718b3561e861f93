"""Logs are JSON lines that hold no secret, whoever logged it."""

import io
import json
import logging
import sys

import pytest

from app.telemetry.logs import REDACTED, JsonFormatter, configure_logging, hide_secrets
from tests.support.gateway import stub_config


@pytest.fixture
def logged():
    """Log to memory by a handler of our own, and return what was written."""
    logger = logging.getLogger("tests.logs")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.handlers[:] = [handler]

    def logged(*args, secrets=(), level=logging.INFO, **kwargs):
        handler.setFormatter(JsonFormatter(secrets))
        logger.log(level, *args, **kwargs)
        return stream.getvalue()

    yield logged
    logger.handlers.clear()
    logger.propagate = True


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-sy-AbCdEf0123456789_-abcdefg",
        "sk-ant-api03-0123456789abcdef",
    ],
)
def test_what_looks_like_a_key_is_redacted(logged, secret):
    text = logged("the key %s was refused", secret)
    assert secret not in text
    assert json.loads(text)["message"] == f"the key {REDACTED} was refused"


@pytest.mark.parametrize(
    ("message", "canary"),
    [
        ("Authorization: Bearer eyJhbGciOi.J9.abc-def", "eyJhbGci"),
        ("proxy-authorization: basic dXNlcjpwYXNzd29yZA==", "dXNlcjpw"),
        ("cannot connect to redis://worker:hunter22@redis:6379/0", "hunter22"),
        ("cannot connect to rediss://:hunter22@redis:6379/0", "hunter22"),
    ],
)
def test_credentials_are_redacted_wherever_they_stand(logged, message, canary):
    assert canary not in logged(message)


@pytest.mark.parametrize("secret", ["plain-0123", 'with"quote\\and-backslash', "a.b*c+d(e"])
def test_configured_secrets_are_redacted_from_messages_fields_and_tracebacks(logged, secret):
    def fail():
        raise ValueError(secret)

    try:
        fail()
    except ValueError:
        error = sys.exc_info()
    text = logged(
        f"before {secret} after",
        secrets=(secret, "short"),
        extra={"fields": {"a": secret, "b": [f"x{secret}"]}},
        exc_info=error,
    )
    assert secret not in text
    line = json.loads(text)
    assert line["message"] == f"before {REDACTED} after"
    assert line["a"] == REDACTED
    assert line["exception"].endswith(f"ValueError: {REDACTED}")


def test_harmless_text_stays_as_it_is(logged):
    message = "https://api.example.com/v1 answered 401 for task-42, risk-free, sk-short"
    assert json.loads(logged(message, secrets=("abc",)))["message"] == message


def test_the_root_logger_is_set_up_with_level_and_secrets(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging(level="warning", secrets=["first-secret"])
        logging.getLogger("library").info("not told")
        logging.getLogger("library").warning("first-secret second-secret")
        hide_secrets(["second-secret"])
        logging.getLogger("library").error("second-secret")
        root.handlers[0].close()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == [f"{REDACTED} second-secret", REDACTED]
    assert lines[0]["level"] == "warning"


def test_every_secret_of_a_configuration_is_known(tmp_path):
    config = stub_config(
        tmp_path,
        "http://127.0.0.1:9",
        changes={
            "upstreams.stub.api_key_env": "STUB_KEY",
            "upstreams.stub.extra_headers": {"x-api-key": "header-secret", "x-title": "shown"},
            "store": {"kind": "redis"},
        },
        env={
            "STUB_KEY": "upstream-secret",
            "STEELYARD_ADMIN_TOKEN": "admin-secret-of-the-test",
            "STEELYARD_REDIS_URL": "redis://:redis-secret@127.0.0.1:1/0",
        },
    )
    assert config.hidden == {
        "upstream-secret",
        "admin-secret-of-the-test",
        "redis-secret",
        "header-secret",
    }
