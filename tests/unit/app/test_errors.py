import json

import pytest

from app import errors
from app.api.dialects.base import error_answer
from app.error_answers import ANSWERS, answer_for
from app.errors import FailedAttempt, GatewayError
from routers.errors import NoEligibleModelError


def leaves(cls):
    children = cls.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [cls]


@pytest.mark.parametrize("cls", leaves(GatewayError), ids=lambda cls: cls.__name__)
def test_every_leaf_of_the_error_tree_has_a_row_in_the_table_of_answers(cls):
    assert cls in ANSWERS


@pytest.mark.parametrize("cls", ANSWERS, ids=lambda cls: cls.__name__)
def test_every_row_is_an_error_status_with_a_type(cls):
    answer = ANSWERS[cls]
    assert 400 <= answer.status < 600
    assert answer.type.endswith("_error") or answer.type == "insufficient_quota"  # as OpenAI's


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequestError("bad", param="n"),
        NoEligibleModelError({"a": "too small"}),
        errors.AllAttemptsFailedError(
            "none", attempts=(FailedAttempt(model="a", status=503, ms=3, error="x"),)
        ),
        errors.UpstreamRejectedError("no", status=422),
        RuntimeError("a secret detail"),
    ],
)
def test_every_error_body_has_all_four_keys(error):
    status, headers, body = error_answer(error)
    assert status == answer_for(error).status
    assert (b"content-type", b"application/json") in headers
    told = json.loads(body)["error"]
    assert {"message", "type", "param", "code"} <= told.keys()
    assert b"secret" not in body


def test_attempts_are_listed_in_the_error():
    attempts = (FailedAttempt(model="a", status=503, ms=3, error="upstream_unavailable"),)
    _, _, body = error_answer(errors.AllAttemptsFailedError("none", attempts=attempts))
    assert json.loads(body)["error"]["attempts"] == [
        {"model": "a", "status": 503, "ms": 3, "error": "upstream_unavailable"}
    ]


def test_excluded_models_are_listed_with_their_reasons():
    _, _, body = error_answer(NoEligibleModelError({"a": "too small", "b": "too dear"}))
    assert json.loads(body)["error"]["models"] == {"a": "too small", "b": "too dear"}


def test_the_upstreams_own_words_are_passed_on_when_it_rejects_a_request():
    theirs = b'{"error": {"message": "bad schema", "type": "t", "param": null, "code": null}}'
    status, _, body = error_answer(errors.UpstreamRejectedError("no", status=422, body=theirs))
    assert (status, body) == (422, theirs)


def test_a_throttled_answer_says_when_to_come_back():
    error = errors.AllAttemptsThrottledError("none", attempts=(), retry_after_s=1.25)
    status, headers, _ = error_answer(error)
    assert status == 429
    assert (b"retry-after", b"2") in headers
    assert (b"retry-after-ms", b"1250") in headers
