"""What the shipped catalogue says of models besides their prices."""

import pytest

from app.config import Catalogue
from tests.support.gateway import CONFIGS, read_yaml

CATALOGUE = Catalogue.model_validate(read_yaml(CONFIGS / "models.yaml")).models


def test_what_is_said_of_a_model_has_a_source():
    without = [
        name
        for name, entry in CATALOGUE.items()
        if (entry.released or entry.licence) and not entry.facts_source
    ]
    assert without == []
    assert sum(entry.released is not None for entry in CATALOGUE.values()) >= 20


def test_nobody_but_the_operator_says_how_safe_a_model_is_kept():
    assert all(entry.security is None for entry in CATALOGUE.values())


@pytest.mark.parametrize(("field", "value"), [("licence", "Apache 2.0"), ("released", "soon")])
def test_facts_that_are_none_are_refused(field, value):
    prices = {
        "input_usd_per_mtok": 1,
        "output_usd_per_mtok": 1,
        "source": "x",
        "date": "2026-01-01",
    }
    entry = {"prices": prices, "context_window_tokens": 1000, field: value}
    with pytest.raises(ValueError, match=field):
        Catalogue.model_validate({"models": {"m": entry}})
