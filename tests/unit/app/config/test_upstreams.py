import pytest
from pydantic import ValidationError

from app.config.upstreams import UpstreamConfig

GEMINI = "https://generativelanguage.googleapis.com"
VERTEX = "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4"
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("kind", "base_url"),
    [
        ("gemini", f"{GEMINI}/v1beta"),
        ("gemini", "http://relay.internal:8080/google"),
        ("vertex", f"{VERTEX}/publishers/google"),
        ("vertex", VERTEX),
        ("vertex", "https://aiplatform.googleapis.com/v1/publishers/google"),
        ("bedrock", BEDROCK),
        ("bedrock", "https://relay.internal/aws"),
    ],
)
def test_addresses_as_they_are_written(kind, base_url):
    assert UpstreamConfig(kind=kind, base_url=base_url).kind == kind


@pytest.mark.parametrize(
    ("kind", "base_url", "words"),
    [
        ("gemini", GEMINI, f"write {GEMINI}/v1beta"),
        ("gemini", f"{GEMINI}/v1beta/openai", "kind: openai"),
        ("gemini", f"{GEMINI}/v1beta/models/gemini-3:generateContent", f"write {GEMINI}/v1beta"),
        ("vertex", "https://aiplatform.googleapis.com/v1", "name project and location"),
        ("vertex", f"{VERTEX}/endpoints/openapi", "kind: openai"),
        ("vertex", f"{VERTEX}/publishers/google/models/gemini-3", "publishers/google"),
        ("bedrock", f"{BEDROCK}/model/nova/converse", f"write {BEDROCK}"),
        ("bedrock", f"{BEDROCK}/openai/v1", "kind: openai"),
        ("bedrock", "https://bedrock.us-east-1.amazonaws.com", f"asked at {BEDROCK}"),
    ],
)
def test_addresses_that_cannot_work_say_what_would(kind, base_url, words):
    with pytest.raises(ValidationError) as raised:
        UpstreamConfig(kind=kind, base_url=base_url)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"api_key_env": "KEY", "token_command": ["a"]}, "stands beside api_key_env"),
        ({"token_command": ["a"], "token_file": "b"}, "stands beside token_command"),
        ({"aws_region": "us-east-1"}, "is for kind: bedrock"),
        ({"aws_profile": "me"}, "is for kind: bedrock"),
    ],
)
def test_one_credential_of_the_kind(fields, words):
    with pytest.raises(ValidationError, match=words):
        UpstreamConfig(kind="gemini", base_url=f"{GEMINI}/v1beta", **fields)


def test_what_is_no_region_is_none():
    with pytest.raises(ValidationError, match="aws_region"):
        UpstreamConfig(kind="bedrock", base_url=BEDROCK, aws_region="us east")
