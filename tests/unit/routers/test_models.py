"""What tokens cost by their class."""

import pytest

from routers.models import Prices

TEXT = {"input_usd_per_mtok": 2.0, "output_usd_per_mtok": 10.0}


def test_sound_costs_its_own_price_and_text_its_own():
    prices = Prices(**TEXT, audio_input_usd_per_mtok=40.0, audio_output_usd_per_mtok=80.0)
    cost_usd = prices.cost_usd(
        input_tokens=1_000, output_tokens=100, audio_input_tokens=600, audio_output_tokens=30
    )
    assert cost_usd == pytest.approx((400 * 2 + 600 * 40 + 70 * 10 + 30 * 80) / 1e6)


def test_sound_without_a_price_costs_what_text_does():
    tokens = {"input_tokens": 1_000, "output_tokens": 100}
    sound = {"audio_input_tokens": 600, "audio_output_tokens": 30}
    assert Prices(**TEXT).cost_usd(**tokens, **sound) == Prices(**TEXT).cost_usd(**tokens)


def test_free_sound_is_free():
    prices = Prices(**TEXT, audio_input_usd_per_mtok=0.0)
    cost_usd = prices.cost_usd(input_tokens=1_000, output_tokens=0, audio_input_tokens=600)
    assert cost_usd == pytest.approx(400 * 2 / 1e6)
