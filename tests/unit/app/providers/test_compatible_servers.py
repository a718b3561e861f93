"""What servers that are nearly OpenAI's send, as recorded in tests/fixtures/compatible."""

import json

import pytest

from app.errors import (
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)
from app.providers.chat.stream import ChatStream
from app.providers.http.errors import error_from_status
from app.usage import ToldUsage
from tests.support.fixtures import assembled, events, fixture

COUNTS = ToldUsage(input_tokens=19, output_tokens=4)


@pytest.mark.parametrize(
    ("name", "usage", "usage_alone"),
    [
        ("azure", COUNTS, True),
        ("llama_cpp", COUNTS, False),
        ("no_space", None, False),
        ("ollama", None, False),
        ("vllm", COUNTS, True),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_stream_is_the_same_whole_answer(name, usage, usage_alone, step):
    data = fixture(f"compatible/{name}.sse")
    stream = ChatStream()
    reads = [data[i : i + step] for i in range(0, len(data), step)]
    chunks = [chunk for read in reads if (chunk := stream.feed(read)) is not None]
    assert stream.done
    assert assembled(chunks)["content"] == "Four to one."
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert [chunk.usage for chunk in chunks if chunk.usage][-1:] == ([usage] if usage else [])
    assert any(chunk.usage_event for chunk in chunks) is usage_alone
    assert all(event["choices"] for event in events(chunks))


@pytest.mark.parametrize("name", ["vllm_fails", "vllm_fails_old"])
def test_failure_before_the_end_marker_is_no_complete_answer(name):
    stream = ChatStream()
    chunk = stream.feed(fixture(f"compatible/{name}.sse"))
    assert assembled([chunk])["content"] == "Four"
    assert type(stream.error) is UpstreamUnavailableError
    assert not stream.done


def test_failure_in_a_field_of_its_own_leaves_the_stream_without_an_end():
    stream = ChatStream()
    stream.feed(fixture("compatible/llama_cpp_fails.sse"))
    stream.close()
    assert not stream.done


def test_filtered_prompt_is_the_clients_to_mend_and_told_as_it_came():
    body = fixture("compatible/azure_filtered.json")
    error = error_from_status(400, (), body, now_s=0.0)
    assert type(error) is UpstreamRejectedError
    assert json.loads(error.body)["error"]["code"] == "content_filter"


def test_deployment_that_is_not_there_is_the_operators_to_mend():
    body = b'{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist."}}'
    error = error_from_status(404, (), body, now_s=0.0)
    assert type(error) is UpstreamMisconfiguredError
    assert "DeploymentNotFound" in error.message
