"""The application keeps to its own OpenAPI document."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.api.dialects.base import dialects
from app.api.pinned import pinned

CHAT, ROUTE = ("POST", "/v1/chat/completions"), ("POST", "/v1/route")
ASKING = [*(("POST", each.path) for each in dialects().all), ROUTE]
PINNED = [("POST", each.path) for each in pinned()]
READING = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("GET", "/v1/model/info"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/v1/responses/{response_id}"),
    ("GET", "/v1/responses/{response_id}/input_items"),
    ("DELETE", "/v1/responses/{response_id}"),
]
FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def document(gateway_thread):
    return schemathesis.openapi.from_url(f"{gateway_thread.url}/openapi.json")


def refused_beyond_schema(response):
    """Say whether a refusal is for what no schema can express."""
    if response.status_code != 400:
        return False
    by_upstream = "x-route-model" in response.headers
    error = response.json()["error"]
    unknowable = {"no_eligible_model", "flag_not_available", "previous_response_not_found"}
    known = error.get("code") in unknowable or "models" in error
    # Errors of Messages have no code; which licences there are, the catalogue says.
    words = ("contradict", "licence", "cannot be heeded")
    return by_upstream or known or any(word in error["message"] for word in words)


def test_every_operation_is_tried(document):
    found = {(each.ok().method.upper(), each.ok().path) for each in document.get_all_operations()}
    assert found == {*ASKING, *READING, *PINNED}


@pytest.mark.parametrize(("method", "path"), READING)
def test_what_is_read_is_as_documented(document, stub, method, path):
    @seed(7)
    @FEW
    @given(case=document[path][method].as_strategy())
    def conforms(case):
        case.call_and_validate()

    conforms()


@pytest.mark.parametrize(("method", "path"), ASKING)
def test_what_the_document_allows_is_answered_as_documented(document, stub, method, path):
    served = []

    @FEW
    @given(case=document[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def conforms(case):
        case.body["model"] = "auto"  # any other string is allowed and, nearly always, unknown
        response = case.call()
        served.append(response.status_code == 200)
        excluded = [positive_data_acceptance] if refused_beyond_schema(response) else []
        case.validate_response(response, excluded_checks=excluded)

    for number in (7, 8, 9):
        seed(number)(conforms)()
        if any(served):  # what is drawn depends on what else was, and of Messages little is served
            break
    least = 1 / 4 if path in (CHAT[1], ROUTE[1]) else 0  # a model has no use for many a prompt
    assert sum(served) > len(served) * least


@pytest.mark.parametrize(("method", "path"), [*ASKING, ("POST", "/v1/embeddings")])
def test_what_the_document_forbids_is_refused(document, stub, method, path):
    @seed(7)
    @FEW
    @given(case=document[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def conforms(case):
        case.call_and_validate()

    conforms()
