"""The simulated models are as fast as the configurations that use them say."""

import re

import pytest

from app.stub.tiers import TIERS
from tests.support.gateway import REPOSITORY

FILES = ("gateway.yaml", "gateway.docker.yaml", "gateway.workflows.yaml")
_MODEL = re.compile(r"^  (sim-\w+): .*ttft_s: ([\d.]+), tokens_per_s: ([\d.]+)}", re.MULTILINE)


@pytest.mark.parametrize("file", FILES)
def test_configurations_tell_how_fast_simulated_models_are(file: str) -> None:
    told = _MODEL.findall((REPOSITORY / "configs" / file).read_text("utf-8"))
    assert len(told) >= 4
    for name, ttft_s, tokens_per_s in told:
        tier = TIERS[name]
        assert (float(ttft_s), float(tokens_per_s)) == (
            tier.time_to_first_token_s,
            tier.tokens_per_s,
        )
