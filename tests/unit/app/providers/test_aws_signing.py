"""Signatures by AWS' own library; skipped where the extra `bedrock` is not there."""

import asyncio

import httpx
import pytest

from app.errors import ConfigError, UpstreamMisconfiguredError
from app.http_client.transport import HttptoolsTransport
from app.providers.base import Identity, ModelCall, Timeouts
from app.providers.bedrock import BedrockProvider
from app.providers.converse.signing import AwsSignatures

HOST = "bedrock-runtime.eu-central-1.amazonaws.com"


def test_without_the_library_a_start_says_what_to_install():
    try:
        import botocore  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ConfigError, match=r"steelyard\[bedrock\]"):
            BedrockProvider(
                base_url=f"https://{HOST}", api_key=None, transport=HttptoolsTransport()
            )


@pytest.fixture
def aws(monkeypatch, tmp_path):
    pytest.importorskip("botocore", reason="the extra bedrock is not there")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-canary")
    return monkeypatch


def prepared(**identity: object) -> tuple[BedrockProvider, httpx.Request]:
    provider = BedrockProvider(
        base_url=f"https://{HOST}",
        api_key=None,
        transport=HttptoolsTransport(),
        identity=Identity(**identity),
    )
    call = ModelCall(
        request_id="r",
        upstream_model="eu.anthropic.claude:0",
        fields={"messages": b'[{"role":"user","content":"hi"}]'},
        stream=True,
        timeouts=Timeouts(),
    )
    return provider, provider._request(call, {})


async def test_a_request_is_signed_for_the_region_of_its_host(aws):
    provider, request = prepared()
    assert await provider._exchange._authoriser.authorise(request) == ["AKIDEXAMPLE"]
    signed = request.headers["authorization"]
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/bedrock/aws4_request" in signed
    assert "content-type;host;x-amz-date" in signed
    assert "secret-canary" not in str(request.headers)


async def test_the_signature_is_that_of_the_address_as_it_is_sent(aws):
    """Signed once more by hand, after AWS' description of version 4."""
    import hashlib
    import hmac

    provider, request = prepared(aws_region="us-west-2")
    await provider._exchange._authoriser.authorise(request)
    date = request.headers["x-amz-date"]
    body = b"".join(request.stream)
    assert request.url.raw_path == b"/model/eu.anthropic.claude%3A0/converse-stream"
    canonical = "\n".join(
        [
            "POST",
            "/model/eu.anthropic.claude%253A0/converse-stream",
            "",
            "content-type:application/json",
            f"host:{HOST}",
            f"x-amz-date:{date}",
            "",
            "content-type;host;x-amz-date",
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{date[:8]}/us-west-2/bedrock/aws4_request"
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = b"AWS4secret-canary"
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    assert request.headers["authorization"].endswith(f"Signature={expected}")


async def test_a_profile_and_its_session_token(aws, tmp_path):
    aws.delenv("AWS_ACCESS_KEY_ID")
    (tmp_path / "credentials").write_text(
        "[other]\naws_access_key_id=A1\naws_secret_access_key=S1\naws_session_token=T1\n",
        encoding="utf-8",
    )
    provider, request = prepared(aws_profile="other")
    assert await provider._exchange._authoriser.authorise(request) == ["A1", "T1"]
    assert request.headers["x-amz-security-token"] == "T1"


async def test_credentials_that_have_expired_are_read_anew(aws, tmp_path):
    provider, request = prepared()
    authoriser = provider._exchange._authoriser
    await authoriser.authorise(request)
    assert not authoriser.renews(403, ((b"x-amzn-errortype", b"AccessDeniedException"),))
    assert authoriser.renews(403, ((b"x-amzn-ErrorType", b"ExpiredTokenException:http://x/"),))
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIDNEXT")
    assert await authoriser.authorise(request) == ["AKIDNEXT"]


async def test_no_credentials_and_unknown_profiles_are_the_operators_to_mend(aws):
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    for identity in (Identity(), Identity(aws_profile="nobody")):
        authoriser = AwsSignatures(HOST, identity)
        request = httpx.Request("POST", f"https://{HOST}/", stream=httpx.ByteStream(b""))
        with pytest.raises(UpstreamMisconfiguredError, match="no credentials of AWS"):
            async with asyncio.timeout(20):
                await authoriser.authorise(request)


def test_a_host_that_tells_no_region_needs_one(aws):
    with pytest.raises(ConfigError, match="aws_region"):
        AwsSignatures("bedrock.internal.example.com", Identity())
    for host in (
        "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
        "vpce-1-2.bedrock-runtime.us-east-1.vpce.amazonaws.com",
    ):
        AwsSignatures(host, Identity())
