"""The official client hands batches in, over sockets, and gets their answers."""

import json

import openai
import pytest

from tests.support.batches import CHAT, beyond, handed_in, jsonl, line, lines_of, over, waited_for

PROMPTS = [f"What is {n} and {n}?" for n in range(12)]
LINES = [line(f"task-{n}", prompt) for n, prompt in enumerate(PROMPTS)]


def test_a_batch_is_answered_line_by_line(keyed, kind):
    client = keyed(kind).client()
    file = client.files.create(file=("in.jsonl", jsonl(LINES)), purpose="batch")
    assert (file.object, file.purpose, file.filename) == ("file", "batch", "in.jsonl")
    assert file.bytes == len(jsonl(LINES))
    assert client.files.content(file.id).content == jsonl(LINES)
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        metadata={"night": "one"},
    )
    assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"night": "one"})
    batch = over(client, batch.id)
    assert batch.status == "completed"
    assert batch.errors is None
    assert batch.error_file_id is None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (12, 12, 0)
    answers = lines_of(client, batch.output_file_id)
    assert [each["custom_id"] for each in answers] == [each["custom_id"] for each in LINES]
    for each in answers:
        assert each["error"] is None
        assert each["id"].startswith("batch_req_")
        assert each["response"]["status_code"] == 200
        assert each["response"]["request_id"] == each["id"]
        assert "simulated answer" in each["response"]["body"]["choices"][0]["message"]["content"]
    used = [each["response"]["body"]["usage"] for each in answers]
    assert batch.usage.input_tokens == sum(each["prompt_tokens"] for each in used)
    assert batch.usage.output_tokens == sum(each["completion_tokens"] for each in used)
    told = beyond(batch)
    assert told["cost_usd"] > 0
    assert sum(told["models"].values()) == 12
    output = client.files.retrieve(batch.output_file_id)
    assert output.purpose == "batch_output"
    assert output.filename == f"{batch.id}_output.jsonl"


def test_every_line_is_spent_under_its_key(batches):
    client = batches.client()
    batch = over(client, handed_in(client, LINES).id)

    def written():
        told = batches.spend(key=batches.key["key_id"], group_by="session")
        return told if told["totals"]["requests"] == 12 else None

    told = waited_for(written)
    assert told["totals"]["cost_usd"] == pytest.approx(beyond(batch)["cost_usd"], abs=1e-7)
    assert len(told["data"]) == 1  # a batch is a session


def test_routing_headers_of_the_batch_hold_for_all_lines(batches):
    client = batches.client()
    batch = handed_in(client, LINES, extra_headers={"x-route-models": "sim-small"})
    assert beyond(over(client, batch.id))["models"] == {"sim-small": 12}
    batch = handed_in(client, LINES[:3], metadata={"x-route-models": "sim-nano"})
    assert beyond(over(client, batch.id))["models"] == {"sim-nano": 3}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/responses", {"model": "sim-nano", "input": "What is a steelyard?"}),
        ("/v1/completions", {"model": "sim-nano", "prompt": "A steelyard is"}),
    ],
)
def test_other_endpoints_are_asked_too(batches, endpoint, body):
    client = batches.client()
    asked = [{"custom_id": "one", "method": "POST", "url": endpoint, "body": body}]
    batch = over(client, handed_in(client, asked, endpoint=endpoint).id)
    (answer,) = lines_of(client, batch.output_file_id)
    assert answer["response"]["body"]["model"] == "sim-nano"
    assert batch.usage.output_tokens > 0


def test_what_a_request_is_refused_for_stands_in_the_file_of_errors(batches):
    client = batches.client()
    asked = [line("good", "Hello"), line("bad", "Hello", model="nobody"), line("too", "Hi", n=-1)]
    batch = over(client, handed_in(client, asked).id)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 2)
    (good,) = lines_of(client, batch.output_file_id)
    bad, too = lines_of(client, batch.error_file_id)
    assert good["custom_id"] == "good"
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("bad", 404)
    assert bad["response"]["body"]["error"]["code"] == "model_not_found"
    assert too["response"]["status_code"] == 400


def test_a_file_that_is_none_of_requests_fails_with_the_lines_at_fault(batches):
    client = batches.client()
    content = b"\n".join(
        [
            json.dumps(line("a", "Hello")).encode(),
            b"{nothing",
            b"",
            json.dumps(line("a", "Hello")).encode(),
            json.dumps(line("b", "Hello", url="/v1/embeddings")).encode(),
            json.dumps({**line("c", "Hello"), "method": "GET"}).encode(),
            json.dumps({"custom_id": "d", "method": "POST", "url": CHAT}).encode(),
            json.dumps({**line("e", "Hello"), "body": {"messages": []}}).encode(),
            json.dumps(line("f", "Hello", stream=True)).encode(),
            b"[]",
        ]
    )
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    batch = over(client, made.id)
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors.object == "list"
    assert [(each.line, each.code, each.param) for each in batch.errors.data] == [
        (2, "invalid_json_line", None),
        (4, "duplicate_custom_id", "custom_id"),
        (5, "url_mismatch", "url"),
        (6, "invalid_method", "method"),
        (7, "missing_required_parameter", "body"),
        (8, "missing_required_parameter", "body.model"),
        (9, "invalid_request", "body.stream"),
        (10, "invalid_request", None),
    ]
    assert batch.request_counts.total == 0
    assert batch.output_file_id is None


def test_an_empty_and_a_long_file_say_so(keyed):
    client = keyed(batches={"enabled": True, "max_lines": 2}).client()
    file = client.files.create(file=("in.jsonl", b"\n\n"), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert [each.code for each in over(client, made.id).errors.data] == ["empty_file"]
    batch = over(client, handed_in(client, LINES).id)
    assert [each.code for each in batch.errors.data] == ["too_many_tasks"]


def test_lists_are_paged(batches):
    client = batches.client()
    ids = [handed_in(client, LINES[:1]).id for _ in range(5)]
    for each in ids:  # so that none of them meets what other tests prepare
        over(client, each)
    assert [each.id for each in client.batches.list(limit=2)] == ids[::-1]
    page = client.batches.list(limit=2, after=ids[3])
    assert ([each.id for each in page.data], page.has_more) == ([ids[2], ids[1]], True)
    files = [each.id for each in client.files.list(purpose="batch", limit=2, order="asc")]
    assert len(files) == 5
    assert files == sorted(files)


def test_a_file_is_deleted_once_nothing_reads_it(batches, stub):
    client = batches.client()
    stub.add_fault("stall_before_headers", times=1)
    batch = handed_in(client, LINES[:1])
    with pytest.raises(openai.ConflictError, match="has yet to read"):
        client.files.delete(batch.input_file_id)
    client.batches.cancel(batch.id)
    other = client.files.create(file=("in.jsonl", jsonl(LINES)), purpose="batch")
    deleted = client.files.delete(other.id)
    assert deleted.deleted
    assert deleted.id == other.id
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            ask(other.id)
    assert other.id not in [each.id for each in client.files.list()]


def test_nobody_sees_what_belongs_to_another_key(batches):
    mine, theirs = batches.client(), batches.client()
    batch = over(mine, handed_in(mine, LINES[:2]).id)
    assert theirs.batches.list().data == []
    assert theirs.files.list().data == []
    with pytest.raises(openai.NotFoundError):
        theirs.batches.retrieve(batch.id)
    with pytest.raises(openai.NotFoundError):
        theirs.batches.cancel(batch.id)
    for file_id in (batch.input_file_id, batch.output_file_id):
        with pytest.raises(openai.NotFoundError):
            theirs.files.content(file_id)
    with pytest.raises(openai.NotFoundError):
        theirs.batches.create(
            input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
        )


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        ({"endpoint": "/v1/messages"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a" * 65: "b"}}, "metadata"),
        ({"metadata": {"budget_usd": "lots"}}, "metadata.budget_usd"),
        ({"metadata": {"capacity": "sim-nano"}}, "metadata.capacity"),
        ({"metadata": {"capacity": "nobody=3"}}, "metadata.capacity"),
        ({"metadata": {"capacity": "sim-nano=\u0665"}}, "metadata.capacity"),
        ({"metadata": {"budget_usd": "\u0665"}}, "metadata.budget_usd"),
        ({"metadata": {"budget_usd": "1_000"}}, "metadata.budget_usd"),
        ({"metadata": {"capacity": "sim-nano=1,sim-nano=2"}}, "metadata.capacity"),
        ({"extra_body": {"budget_usd": 0}}, "budget_usd"),
        ({"extra_body": {"capacity": {"sim-nano": -1}}}, "capacity"),
        ({"extra_headers": {"x-route-polcy": "x"}}, "x-route-polcy"),
        ({"extra_headers": {"x-cost-quality": "2"}}, "x-cost-quality"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, None),
    ],
)
def test_terms_that_make_no_sense_are_refused(batches, terms, param):
    client = batches.client()
    with pytest.raises(openai.BadRequestError) as refused:
        handed_in(client, LINES[:1], **terms)
    assert refused.value.param == (param or "output_expires_after.seconds")


def test_uploads_that_are_no_files_of_requests_are_refused(keyed):
    client = keyed(batches={"enabled": True, "max_file_mb": 1, "max_stored_mb_per_key": 1}).client()
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("in.jsonl", b"x"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="empty"):
        client.files.create(file=("in.jsonl", b""), purpose="batch")
    with pytest.raises(openai.APIStatusError) as large:
        client.files.create(file=("in.jsonl", b"x" * 2_000_000), purpose="batch")
    assert large.value.status_code == 413
    client.files.create(file=("in.jsonl", b"x" * 900_000), purpose="batch")
    with pytest.raises(openai.APIStatusError) as full:
        client.files.create(file=("in.jsonl", b"x" * 200_000), purpose="batch")
    assert (full.value.status_code, full.value.code) == (413, "storage_full")


def test_the_paths_are_documented(batches):
    paths = batches.get("/openapi.json")["paths"]
    for path, media_type in (
        ("/v1/files", "multipart/form-data"),
        ("/v1/batches", "application/json"),
    ):
        schema = paths[path]["post"]["requestBody"]["content"][media_type]["schema"]
        assert set(schema["required"]) <= set(schema["properties"])
    assert {"get", "delete"} <= set(paths["/v1/files/{file_id}"])
    assert "post" in paths["/v1/batches/{batch_id}/cancel"]


def test_without_batches_the_paths_say_who_can_switch_them_on(gateway):
    client = openai.OpenAI(base_url=gateway.openai_url, api_key="sk-x", max_retries=0)
    with client, pytest.raises(openai.BadRequestError, match=r"batches\.enabled"):
        client.batches.list()
