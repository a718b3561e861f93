"""Files and terms of odd forms, from the official client: told as OpenAI's documents say."""

import json

import httpx
import openai
import pytest

from tests.support.batches import CHAT, handed_in, jsonl, line, over, waited_for

MARK = b"\xef\xbb\xbf"
ONE, TWO = (json.dumps(line(each, "Hello", model="sim-small")).encode() for each in "ab")
MAX_BODY_BYTES = 100_000


@pytest.fixture
def client(batches):
    return batches.client()


def of(client, content):
    """Hand a file in as it is, and return its batch once that is over."""
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    return over(client, made.id)


@pytest.mark.parametrize(
    "content",
    [
        ONE + b"\n" + TWO,
        ONE + b"\r\n" + TWO + b"\r\n",
        MARK + ONE + b"\r\n" + TWO + b"\r\n\r\n",
        MARK + b"\n\n" + ONE + b"\n \t\n" + TWO + b"\n\n\n",
    ],
    ids=["no-end", "crlf", "mark-crlf-blank", "blank-lines"],
)
def test_lines_end_as_they_like(client, content):
    batch = of(client, content)
    assert (batch.status, batch.errors) == ("completed", None)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (2, 2, 0)
    assert batch.model == "sim-small"


@pytest.mark.parametrize(
    ("content", "line", "code", "param"),
    [
        (b"\n", None, "empty_file", None),
        (MARK, None, "empty_file", None),
        (MARK + b"\r\n", None, "empty_file", None),
        (ONE + b"\n" + TWO.replace(b"Hello", b"\xff\xfe"), 2, "invalid_json_line", None),
        (ONE.replace(b'"a"', b'"\xc3"'), 1, "invalid_json_line", None),
        ((ONE + b"\n").decode().encode("utf-16"), 1, "invalid_json_line", None),
        (ONE + b"\r" + TWO, 1, "invalid_json_line", None),
        (ONE + TWO, 1, "invalid_json_line", None),
        (ONE + b"\n" + ONE, 2, "duplicate_custom_id", "custom_id"),
        (ONE.replace(b'"a"', b'""'), 1, "invalid_request", "custom_id"),
        (ONE.replace(b'"a"', b"7"), 1, "invalid_request", "custom_id"),
        (b'{"method": "POST"}', 1, "missing_required_parameter", "custom_id"),
        (ONE.replace(CHAT.encode(), b"/v1/responses"), 1, "url_mismatch", "url"),
        (ONE.replace(CHAT.encode(), b"https://a.test" + CHAT.encode()), 1, "url_mismatch", "url"),
        (ONE.replace(b'"sim-small"', b"5"), 1, "invalid_request", "body.model"),
    ],
    ids=[
        *("blank", "mark", "mark-blank", "wrong-utf8-in-body", "wrong-utf8", "utf-16", "cr"),
        *("two-in-one", "duplicate", "empty-id", "number-id", "no-id", "other-endpoint"),
        *("whole-url", "model"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_by_line(client, content, line, code, param):
    batch = of(client, content)
    assert batch.status == "failed"
    told = batch.errors.data[0]
    assert (told.line, told.code, told.param) == (line, code, param)
    assert told.message
    assert batch.request_counts.completed == 0
    assert (batch.output_file_id, batch.error_file_id) == (None, None)


def test_a_line_that_is_too_long_is_told(keyed):
    client = keyed(**{"server.max_body_bytes": MAX_BODY_BYTES}).client()
    batch = of(client, ONE + b"\n" + TWO.replace(b"Hello", b"x" * MAX_BODY_BYTES))
    (told,) = batch.errors.data
    assert (told.line, told.code) == (2, "invalid_request")
    assert f"{MAX_BODY_BYTES:,} bytes" in told.message


@pytest.mark.parametrize("window", ["24H", "", "1h", "48h", None, 24], ids=repr)
def test_the_completion_window_is_a_day(client, window):
    with pytest.raises(openai.BadRequestError) as refused:
        handed_in(client, [line("a", "Hello")], completion_window=window)
    assert refused.value.param == "completion_window"


@pytest.mark.parametrize(
    "metadata",
    [
        {f"name-{n}": "value" for n in range(17)},
        {"n" * 65: "value"},
        {"name": "v" * 513},
        {"name": 1},
        ["name"],
    ],
    ids=["17-pairs", "long-name", "long-value", "number", "list"],
)
def test_metadata_has_limits(client, metadata):
    with pytest.raises(openai.BadRequestError) as refused:
        handed_in(client, [line("a", "Hello")], metadata=metadata)
    assert refused.value.param == "metadata"


def test_metadata_within_its_limits_is_told_again(client):
    metadata = {f"{n:064}": "v" * 512 for n in range(16)}
    made = handed_in(client, [line("a", "Hello")], metadata=metadata)
    assert over(client, made.id).metadata == metadata
    assert handed_in(client, [line("a", "Hello")], metadata=None).metadata is None


def test_a_file_that_is_not_there_is_told_by_its_parameter(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.batches.create(input_file_id="file-no", endpoint=CHAT, completion_window="24h")
    assert (refused.value.param, refused.value.code) == ("input_file_id", "file_not_found")


@pytest.mark.parametrize(
    ("ask", "param"),
    [
        (lambda client: client.batches.list(limit=0), "limit"),
        (lambda client: client.batches.list(limit=101), "limit"),
        (lambda client: client.files.list(limit=10_001), "limit"),
        (lambda client: client.files.list(order="up"), "order"),
    ],
    ids=["none", "many-batches", "many-files", "order"],
)
def test_pages_have_limits(client, ask, param):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client)
    assert refused.value.param == param


def test_a_batch_is_cancelled_until_it_is_over(client, stub):
    done = over(client, handed_in(client, [line("a", "Hello")]).id)
    with pytest.raises(openai.ConflictError, match="completed"):
        client.batches.cancel(done.id)
    n_asked = len(stub.log())
    stub.add_fault("stall_before_headers", times=1)
    made = handed_in(client, [line("a", "Hello", model="sim-small")])
    waited_for(lambda: len(stub.log()) > n_asked)  # or it would be over before the second time
    for _ in range(2):
        told = client.batches.cancel(made.id)
        assert told.status == "cancelling"
        assert told.cancelling_at is not None


def test_files_are_read_in_pieces_and_ready_at_once(client):
    content = jsonl([line(str(n), "Hello" * 200) for n in range(1_000)])
    file = client.files.create(
        file=("in.jsonl", content),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3_600},
    )
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert file.expires_at - file.created_at == 3_600
    with client.files.with_streaming_response.content(file.id) as answer:
        assert b"".join(answer.iter_bytes()) == content


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/batches/x/y", "unknown request URL: GET /v1/batches/x/y; see /docs"),
        ("/v1/files/x/y/z", "unknown request URL: GET /v1/files/x/y/z; see /docs"),
        ("/batches/x", "did you mean /v1/batches?"),
        ("/v1/v1/files", "did you mean /v1/files?"),
    ],
    ids=["below-batches", "below-files", "no-v1", "two-v1"],
)
def test_paths_that_are_not_there_are_named(batches, path, told):
    answer = httpx.get(batches.gateway.url + path, trust_env=False, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "unknown_url", None)
    assert error["type"] == "invalid_request_error"
    assert told in error["message"]
