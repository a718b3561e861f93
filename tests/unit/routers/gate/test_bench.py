"""What the bench measures of two models."""

import numpy as np
import pytest

from routers.data.dataset import table_of_records
from routers.gate.bench import Contender, Split


@pytest.mark.parametrize("order", ["gains first", "gains last"])
def test_a_router_that_tells_nothing_recovers_half_of_the_gap_whatever_the_order(order):
    gains = [i < 10 for i in range(40)]
    records = [
        {"query_id": f"q{i}", "prompt": f"question {i}", "model": model, "quality": quality}
        for i, gain in enumerate(gains if order == "gains first" else gains[::-1])
        for model, quality in (("large", 1.0), ("small", 0.0 if gain else 1.0))
    ]
    table = table_of_records(records)
    split = Split(table, {}, np.arange(40) % 2 == 0, seed=0, pair=("large", "small"))
    contender = Contender(strategy="best-single", blocks=("lexical",))
    assert split.measure(contender)["apgr"] == pytest.approx(0.5)
