import pytest

from app.api.knobs import NO_KNOBS, Knobs, knobs_from_headers, knobs_from_object
from app.errors import InvalidRequestError
from app.gateway.request import CacheMode
from app.head import RequestHead
from routers.objectives import CostQuality, MaxQualityLoss, MinQuality, UsdPerQuality


def knobs_of(headers):
    return knobs_from_headers(RequestHead(headers))


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        (b"x-cost-quality", b"0.3", Knobs(objective=CostQuality(0.3))),
        (b"x-cost-quality", b" 1 ", Knobs(objective=CostQuality(1.0))),
        (b"x-cost-quality", b"economy", Knobs(objective=CostQuality(0.5))),
        (b"x-cost-quality", b"balanced", Knobs(objective=CostQuality(0.8))),
        (b"x-cost-quality", b"Quality", Knobs(objective=CostQuality(0.95))),
        (b"x-route-max-quality-loss", b"0.02", Knobs(objective=MaxQualityLoss(0.02))),
        (b"x-route-min-quality", b"0.8", Knobs(objective=MinQuality(0.8))),
        (b"x-route-lambda", b"0.004", Knobs(objective=UsdPerQuality(0.004))),
        (b"x-route-mu", b"0.2", Knobs(objective=UsdPerQuality(0.04))),
        (b"x-route-mu", b"0", Knobs(objective=CostQuality(1.0))),
        (b"x-route-mu", b"1", Knobs(objective=UsdPerQuality(0.0))),
        (b"x-route-max-cost", b"2e-3", Knobs(max_cost_usd=0.002)),
        (b"x-route-models", b"a, b,,a", Knobs(model_ids=frozenset({"a", "b"}))),
        (b"x-route-policy", b"cheap", Knobs(policy="cheap")),
        (b"x-route-fallback", b"off", Knobs(fallback=False)),
        (b"x-route-fallback", b"on", Knobs(fallback=True)),
        (b"x-route-explain", b"full", Knobs(explain=True)),
        (b"x-route-affinity", b"off", Knobs(affinity=False)),
        (b"x-route-cache", b"on", Knobs(cache=CacheMode.ON)),
        (b"x-route-cache", b"no-store", Knobs(cache=CacheMode.NO_STORE)),
    ],
)
def test_every_header_is_understood(header, value, expected):
    assert knobs_of([(b"host", b"x"), (header, value)]) == expected


@pytest.mark.parametrize("spelled", ["cost_quality", "x-cost-quality"])
def test_the_body_takes_the_same_keys_in_both_spellings(spelled):
    assert knobs_from_object({spelled: 0.25}).objective == CostQuality(0.25)
    assert knobs_from_object({spelled: "balanced"}).objective == CostQuality(0.8)


def test_body_values_may_be_null_lists_and_booleans():
    knobs = knobs_from_object({"models": ["a"], "fallback": False, "policy": None})
    assert knobs == Knobs(model_ids=frozenset({"a"}), fallback=False)
    knobs = knobs_from_object({"cache": True, "affinity": False})
    assert knobs == Knobs(cache=CacheMode.ON, affinity=False)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"x-cost-quality", b""),
        (b"x-cost-quality", b"nan"),
        (b"x-cost-quality", b"NaN"),
        (b"x-cost-quality", b"inf"),
        (b"x-cost-quality", b"-0.1"),
        (b"x-cost-quality", b"1.0001"),
        (b"x-cost-quality", b"1_0e-1"),
        (b"x-cost-quality", b"cheap"),
        (b"x-cost-quality", b"9" * 5000),
        (b"x-route-max-quality-loss", b"2"),
        (b"x-route-min-quality", b"-1"),
        (b"x-route-lambda", b"-0.5"),
        (b"x-route-lambda", b"1e400"),
        (b"x-route-mu", b"1.1"),
        (b"x-route-mu", b"half"),
        (b"x-route-max-cost", b"$1"),
        (b"x-route-models", b" , "),
        (b"x-route-policy", b""),
        (b"x-route-fallback", b"maybe"),
        (b"x-route-explain", b"yes"),
        (b"x-route-affinity", b"sticky"),
        (b"x-route-cache", b"no-cache"),
    ],
)
def test_a_bad_header_is_an_error_that_names_it(header, value):
    with pytest.raises(InvalidRequestError) as caught:
        knobs_of([(header, value)])
    assert caught.value.param == header.decode()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "routing",
    [
        {"cost_quality": True},
        {"cost_quality": [0.5]},
        {"cost_quality": {}},
        {"cost_quality": 10**400},
        {"max_cost": "cheap"},
        {"models": "  "},
        {"models": [1]},
        {"models": {}},
        {"policy": 3},
        {"fallback": 1},
        {"explain": True},
        {"affinity": "sticky"},
        {"cache": 1},
        {"cache": ["on"]},
    ],
)
def test_a_bad_body_value_is_an_error_that_names_it(routing):
    with pytest.raises(InvalidRequestError) as caught:
        knobs_from_object(routing)
    assert caught.value.param == f"routing.{next(iter(routing))}"


def test_two_objectives_in_one_place_contradict_each_other():
    with pytest.raises(InvalidRequestError, match="contradict") as caught:
        knobs_of([(b"x-cost-quality", b"0.5"), (b"x-route-lambda", b"1")])
    assert caught.value.param == "x-route-lambda"
    with pytest.raises(InvalidRequestError, match="contradict"):
        knobs_from_object({"min_quality": 0.5, "max_quality_loss": 0.1})


def test_a_repeated_header_is_an_error():
    with pytest.raises(InvalidRequestError, match="twice"):
        knobs_of([(b"x-cost-quality", b"0.5"), (b"x-cost-quality", b"0.5")])


def test_an_unknown_routing_header_or_key_lists_the_known_ones():
    with pytest.raises(InvalidRequestError, match="x-route-max-cost"):
        knobs_of([(b"x-route-max-price", b"1")])
    with pytest.raises(InvalidRequestError, match="max_cost"):
        knobs_from_object({"max_price": 1})


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        (b"x-costquality", "x-cost-quality"),
        (b"x_cost_quality", "x-cost-quality"),
        (b"x-cost_quality", "x-cost-quality"),
        (b"xcostquality", "x-cost-quality"),
        (b"cost-quality", "x-cost-quality"),
        (b"x-cost-qualty", "x-cost-quality"),
        (b"x-cost-qaulity", "x-cost-quality"),
        (b"x-quality-cost", "x-cost-quality"),
        (b"x-steelyard-cost-quality", "x-cost-quality"),
        (b"x_route_max_cost", "x-route-max-cost"),
        (b"x-router-max-cost", "x-route-max-cost"),
        (b"x-routing-models", "x-route-models"),
        (b"x-max-cost", "x-route-max-cost"),
        (b"x-route-max-costs", "x-route-max-cost"),
        (b"route-policy", "x-route-policy"),
    ],
)
def test_a_misspelt_header_is_told_what_it_was_meant_to_be(header, meant):
    with pytest.raises(InvalidRequestError, match=f"did you mean {meant}\\?") as caught:
        knobs_of([(header, b"0.5")])
    assert caught.value.param == header.decode()


@pytest.mark.parametrize(
    "header",
    [
        *(b"x-cost-center", b"x-cost", b"x-request-id", b"x-stainless-retry-count", b"x-quality"),
        *(b"x-router-id", b"x-models", b"x-cache", b"x-policy", b"x-" + b"route" * 20, b"routing"),
    ],
)
def test_headers_of_others_are_left_alone(header):
    assert knobs_of([(header, b"1")]) is NO_KNOBS


def test_an_allow_list_is_no_longer_than_any_catalogue():
    for models in (",".join(map(str, range(1_001))), [str(i) for i in range(1_001)]):
        with pytest.raises(InvalidRequestError, match="more than 1000"):
            knobs_from_object({"models": models})


def test_what_is_nested_deeply_is_told_as_what_it_is():
    deep = []
    for _ in range(2_000):
        deep = [deep]
    with pytest.raises(InvalidRequestError, match="not a list"):
        knobs_from_object({"cost_quality": deep})


def test_the_same_key_in_two_spellings_is_an_error():
    with pytest.raises(InvalidRequestError, match="the same"):
        knobs_from_object({"max_cost": 1, "x-route-max-cost": 2})


def test_headers_win_over_the_body_key_by_key():
    headers = Knobs(objective=CostQuality(0.1), fallback=False)
    body = Knobs(objective=MinQuality(0.9), max_cost_usd=1.0)
    assert headers.over(body) == Knobs(objective=CostQuality(0.1), fallback=False, max_cost_usd=1.0)
    assert NO_KNOBS.over(body) == body
