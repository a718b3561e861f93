import json

import numpy as np
import pytest

from routers.base import DEFAULT_OUTPUT_TOKENS
from routers.data.dataset import OutcomeTable
from routers.data.prices import find_prices, read_prices
from routers.errors import DataError
from routers.models import Prices
from routers.types import Conversation

N = 200
RNG = np.random.default_rng(0)
INPUT = RNG.integers(20, 2000, N).astype(float)
OUTPUT = RNG.integers(10, 800, (N, 1)).astype(np.float32)
NOTHING = np.full((N, 1), np.nan)


def table(cost, output=OUTPUT):
    return OutcomeTable(
        query_ids=("",) * N,
        conversations=(Conversation.of(""),) * N,
        models=("m",),
        input_tokens=INPUT,
        quality=np.ones((N, 1), np.float32),
        output_tokens=np.asarray(output, np.float32),
        cost_usd=cost,
        groups=("",) * N,
        files=(),
    )


def cost(p_in, p_out, output=OUTPUT):
    return (p_in * INPUT[:, None] + p_out * output) / 1e6


def test_prices_are_recovered_from_costs():
    source = find_prices(table(cost(2.5, 10.0)))
    assert source.prices["m"].input_usd_per_mtok == pytest.approx(2.5, rel=1e-5)
    assert source.prices["m"].output_usd_per_mtok == pytest.approx(10.0, rel=1e-5)
    assert source.fit_error["m"] == pytest.approx(0, abs=1e-6)
    assert source.origin["m"] == "costs"


def test_the_error_of_the_fit_is_reported():
    rng = np.random.default_rng(1)
    noisy = cost(2.5, 10.0) * rng.lognormal(0, 0.3, (N, 1))
    assert 0.1 < find_prices(table(noisy)).fit_error["m"] < 0.5


def test_a_price_never_comes_out_negative():
    # Longer answers cost less here: the best price that is not negative is zero.
    falling = 1e-3 + INPUT[:, None] * 1e-6 - OUTPUT * 1e-6
    prices = find_prices(table(falling)).prices["m"]
    assert prices.output_usd_per_mtok == 0
    assert prices.input_usd_per_mtok > 0


def test_without_token_counts_an_assumed_length_carries_the_constant_part():
    constant = cost(2.5, 10.0, output=DEFAULT_OUTPUT_TOKENS)
    prices = find_prices(table(constant, output=NOTHING)).prices["m"]
    assert prices.input_usd_per_mtok == pytest.approx(2.5, rel=1e-6)
    assert prices.output_usd_per_mtok == pytest.approx(10.0, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '{"m": [0.5, 1.5]}'),
        ("p.json", '{"some set": {"m": [0.5, 1.5], "other": 3}, "again": {"m": [0.5, 1.5]}}'),
        ("p.yaml", "m: {input_usd_per_mtok: 0.5, output_usd_per_mtok: 1.5}"),
        ("p.yaml", "m: [0.5, 1.5]"),
    ],
)
def test_price_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    source = find_prices(table(NOTHING), tmp_path / name)
    assert source.prices["m"] == Prices(input_usd_per_mtok=0.5, output_usd_per_mtok=1.5)
    assert source.origin["m"] == "file"


def test_recorded_costs_come_before_the_file(tmp_path):
    (tmp_path / "p.json").write_text('{"m": [1, 1]}')
    assert find_prices(table(cost(2.5, 10.0)), tmp_path / "p.json").origin["m"] == "costs"


def test_without_costs_and_file_the_error_says_what_to_do():
    with pytest.raises(DataError, match=r"no price file was given for m; add c:MODEL .* --prices"):
        find_prices(table(NOTHING))


def test_a_file_without_the_model_is_refused(tmp_path):
    (tmp_path / "p.json").write_text('{"other": [1, 1]}')
    with pytest.raises(DataError, match="does not list m"):
        find_prices(table(NOTHING), tmp_path / "p.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"m": [1]}, r"'m': must be \[input, output\]"),
        ({"m": [1, -1]}, "output_usd_per_mtok"),
        ({"m": {"input_usd_per_mtok": 1}}, "output_usd_per_mtok"),
        ({"m": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1, "per": "k"}}, "per"),
        ({"m": 3}, "'m'"),
        ({"m": ["a", "b"]}, "input_usd_per_mtok"),
        ({"one": {"m": [1, 1]}, "two": {"m": [2, 2]}}, "groups disagree on the price of 'm'"),
        ([1, 2], "must map"),
    ],
)
def test_defects_of_price_files_are_named(tmp_path, content, message):
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_prices(tmp_path / "p.json", ["m"])


@pytest.mark.parametrize(("name", "text"), [("p.json", "{"), ("p.yaml", "a: [")])
def test_unreadable_price_files_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="not valid"):
        read_prices(tmp_path / name, ["m"])
    with pytest.raises(DataError, match="cannot be read"):
        read_prices(tmp_path / "absent.json", ["m"])
