import pytest

from app.errors import ConfigError
from app.http_client.transport import HttptoolsTransport
from app.providers.azure import AzureProvider
from app.providers.base import ModelCall, Timeouts


def make(base_url: str, **options) -> AzureProvider:
    return AzureProvider(
        base_url=base_url, api_key="azure-key", transport=HttptoolsTransport(), **options
    )


def request(provider: AzureProvider, model: str):
    call = ModelCall(
        request_id="r",
        upstream_model=model,
        fields={"messages": b"[]"},
        stream=False,
        timeouts=Timeouts(),
    )
    return provider._request(call, {})


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_deployment_goes_into_the_path_and_the_version_stays_in_the_query(slash):
    provider = make(f"https://res.openai.azure.com{slash}?api-version=2024-10-21")
    assert str(request(provider, "gpt-4o").url) == (
        "https://res.openai.azure.com/openai/deployments/gpt-4o/chat/completions"
        "?api-version=2024-10-21"
    )


def test_a_deployments_name_stays_one_segment_of_the_path():
    provider = make("https://res.openai.azure.com?api-version=1")
    assert request(provider, "../a b").url.raw_path == (
        b"/openai/deployments/..%2Fa%20b/chat/completions?api-version=1"
    )


def test_the_key_goes_into_its_own_header():
    headers = request(make("https://x.test?api-version=1"), "m").headers
    assert headers["api-key"] == "azure-key"
    assert "authorization" not in headers


def test_headers_of_the_operator_win():
    provider = make("https://x.test?api-version=1", extra_headers=(("API-Key", "other"),))
    assert request(provider, "m").headers.get_list("api-key") == ["other"]


def test_an_address_without_a_version_is_a_config_error():
    with pytest.raises(ConfigError, match="api-version"):
        make("https://res.openai.azure.com")


def test_responses_name_their_deployment_in_the_body():
    provider = make("https://res.openai.azure.com?api-version=1", also_serves=["responses"])
    call = ModelCall(
        request_id="r",
        upstream_model="gpt-4o",
        fields={"input": b'"Hi"'},
        stream=False,
        timeouts=Timeouts(),
        dialect="responses",
    )
    asked = provider._request(call, {})
    assert str(asked.url) == "https://res.openai.azure.com/openai/responses?api-version=1"
    assert b"".join(asked.stream) == b'{"model":"gpt-4o","input":"Hi"}'
