import numpy as np

from loadtest.sim.colours import hues_of
from loadtest.sim.drawn import line, plot

_AT = np.arange(3.0)


def _shown(*names):
    return plot("title", "note", [line(name, _AT, _AT) for name in names])


def test_a_series_has_one_colour_in_all_plots_and_simulations():
    first = hues_of([_shown("best", "ours"), _shown("cheapest", "theirs", "best")])
    second = hues_of([_shown("middle", "cheapest"), _shown("best")])
    assert {first["best"], second["best"]} == {0}
    assert first["cheapest"] == second["cheapest"]
    assert len(set(first.values())) == 4


def test_series_of_one_plot_differ_where_several_plots_have_more_of_them_than_colours():
    many = [_shown(*(f"{letter}{i}" for i in range(6))) for letter in "ab"]
    hues = hues_of([*many, _shown("a5", "b0", "round-robin")])
    for each in many:
        assert len({hues[series.kin] for series in each.series}) == 6
    assert len({hues["a5"], hues["b0"], hues["round-robin"]}) == 3


def test_more_series_than_colours_are_drawn_all_the_same():
    hues = hues_of([_shown(*map(str, range(20)))])
    assert set(hues.values()) == set(range(8))
