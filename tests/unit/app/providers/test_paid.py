import pytest

from app.http_client.transport import HttptoolsTransport
from app.providers.azure import AzureProvider
from app.providers.base import ModelCall, Timeouts
from app.providers.http.paid import usage_in, with_output_limit
from app.providers.openai import OpenAIProvider


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"choices":[],"usage":{"a":1}}', b'{"a":1}'),
        (b'{"usage": {"a": {"b": 2}}, "x', b'{"a": {"b": 2}}'),
        (b'{"choices":[{"message":{"content":"\\"usage\\":{\\"a\\":1}"', None),
        (b'{"usage":{"a":1', None),
        (b'{"usage":null,"x', None),
        (b'{"usage":' + b"[" * 5_000, None),
        (b"", None),
    ],
)
def test_token_counts_are_found_where_they_came_whole(body, told):
    assert usage_in(body, key=b'"usage":') == told


@pytest.mark.parametrize(
    ("fields", "limited"),
    [
        ({}, {"new": b"7"}),
        ({"max_tokens": b"null"}, {"max_tokens": b"null", "new": b"7"}),
        ({"max_tokens": b"9"}, {"max_tokens": b"7"}),
        ({"max_completion_tokens": b"9"}, {"max_completion_tokens": b"7"}),
        (
            {"max_completion_tokens": b"9", "max_tokens": b"9"},
            {"max_completion_tokens": b"7", "max_tokens": b"7"},
        ),
        (
            {"max_completion_tokens": b"5.0", "max_tokens": b"9"},
            {"max_completion_tokens": b"5.0", "max_tokens": b"7"},
        ),
    ],
)
def test_a_limit_stands_where_the_client_put_its_own(fields, limited):
    assert with_output_limit(fields, 7, field="new") == limited


@pytest.mark.parametrize(
    ("cls", "base_url", "field"),
    [
        (OpenAIProvider, "https://api.openai.com/v1", b"max_completion_tokens"),
        (AzureProvider, "https://x.openai.azure.com?api-version=1", b"max_completion_tokens"),
        (OpenAIProvider, "http://127.0.0.1:8000/v1", b"max_tokens"),
    ],
)
def test_a_limit_of_ours_is_spelled_as_the_upstream_knows_it(cls, base_url, field):
    provider = cls(base_url=base_url, api_key=None, transport=HttptoolsTransport())
    call = ModelCall(
        request_id="r",
        upstream_model="m",
        fields={"messages": b"[]"},
        stream=False,
        timeouts=Timeouts(),
        max_output_tokens=7,
    )
    body = b"".join(provider._request(call, {}).stream)
    assert b'"%b":7' % field in body
