"""One real sentence per vendor, and sentences that look alike and mean something else.

`tests/fixtures/wordings.jsonl` has a row per error body: what it means, under which status it
comes, and where it was reported if that is known; status 200 is an error in an answer's place.
"""

import json
from pathlib import Path

import pytest

from app.errors import (
    UpstreamContextLengthError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    UpstreamUnsupportedError,
)
from app.providers.http.error_body import error_detail
from app.providers.http.errors import error_from_event, error_from_status

FILE = Path(__file__).parents[3] / "fixtures" / "wordings.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
MEANINGS = {
    "too long": UpstreamContextLengthError,
    "unsupported": UpstreamUnsupportedError,
    "throttled": UpstreamThrottledError,
    "client": UpstreamRejectedError,
    "operator": UpstreamMisconfiguredError,
    "late": UpstreamTimeoutError,
    "provider": UpstreamUnavailableError,
}


def meant(status, body):
    encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    if status == 200:
        return error_from_event(error_detail(encoded))
    return error_from_status(status, (), encoded, now_s=0.0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['means']}: {str(row['body'])[:60]}")
def test_every_vendors_words_are_understood(row):
    status = row["status"]
    error = meant(status, row["body"])
    assert type(error) is MEANINGS[row["means"]]
    rejected = isinstance(error, UpstreamRejectedError)
    if status != 200:
        assert error.status == status
    elif rejected:
        assert error.status == row.get("told_status", 400)
    else:
        assert error.status is None
    if rejected:  # whoever wrote the request is told what is wrong with it
        assert json.loads(error.body) is not None
        assert not error.provider_fault
    else:
        assert error.body is None
    if "wait_s" in row:
        wait_s = row["wait_s"]
        assert error.retry_after_s == (wait_s if wait_s is None else pytest.approx(wait_s))


@pytest.mark.parametrize("status", [500, 502, 503, 529])
@pytest.mark.parametrize("body", ["Bad gateway", {"error": "operation not supported"}, ""])
def test_a_failing_provider_is_not_excused_by_its_words(status, body):
    assert type(meant(status, body)) is UpstreamUnavailableError


@pytest.mark.parametrize("body", ["", "<html><title>400", "<!doctype html>prompt is too long"])
def test_a_page_says_nothing(body):
    error = meant(400, body)
    assert type(error) is UpstreamRejectedError
    assert error.body is None
