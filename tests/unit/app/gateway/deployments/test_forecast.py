"""Load one horizon ahead."""

import numpy as np
import pytest

from app.gateway.deployments.forecast import Forecast


def test_before_any_tick_nothing_is_expected():
    assert Forecast().ahead == 0.0


def test_a_constant_load_is_expected_to_stay():
    forecast = Forecast(tick_s=0.5, horizon_s=5.0)
    for _ in range(200):
        forecast.tick(6.0)
    assert forecast.now == pytest.approx(12.0)
    assert forecast.ahead == pytest.approx(12.0, rel=0.01)


def test_growth_is_followed_further_than_it_went():
    forecast = Forecast(tick_s=1.0, horizon_s=10.0)
    for second in range(1200):
        forecast.tick(10.0 * 1.005**second)
    came = 10.0 * np.mean(1.005 ** np.arange(1200, 1210))
    assert forecast.now == pytest.approx(came / 1.005**10)
    assert forecast.ahead == pytest.approx(came, rel=0.01)


def test_bursts_are_expected_to_fade_once_some_were_seen():
    forecast, rng = Forecast(tick_s=1.0, horizon_s=10.0), np.random.default_rng(0)
    for _ in range(60):
        for _ in range(50):
            forecast.tick(float(rng.poisson(10.0)))
        for _ in range(5):
            forecast.tick(float(rng.poisson(60.0)))
    assert forecast.now > 30.0
    assert forecast.ahead < 0.75 * forecast.now


def test_a_season_is_foreseen_before_it_turns():
    forecast = Forecast(tick_s=10.0, horizon_s=300.0, season_s=3600.0, phases=24)
    errors = {"ahead": [], "now": []}
    rates = 10.0 + 8.0 * np.sin(np.arange(12 * 360 + 30) * 2 * np.pi / 360)
    for i in range(12 * 360):
        forecast.tick(rates[i] * 10.0)
        if i >= 6 * 360:
            came = rates[i + 1 : i + 31].mean()
            errors["ahead"].append(abs(forecast.ahead - came))
            errors["now"].append(abs(forecast.now - came))
    assert np.mean(errors["ahead"]) < 0.25 * np.mean(errors["now"])


def test_nothing_for_long_and_then_something_is_neither_negative_nor_endless():
    forecast = Forecast(tick_s=1.0, horizon_s=5.0)
    for _ in range(5_000):
        forecast.tick(0.0)
    assert forecast.ahead == 0.0
    for _ in range(50):
        forecast.tick(20.0)
        assert 0.0 <= forecast.ahead <= 40.0
    assert forecast.ahead == pytest.approx(20.0, rel=0.1)


@pytest.mark.parametrize(
    "options", [{"tick_s": 0.0}, {"tick_s": 10.0, "horizon_s": 1.0}, {"phases": 1}]
)
def test_what_cannot_be_forecast_is_refused(options):
    with pytest.raises(ValueError, match="a forecast needs"):
        Forecast(**options)
