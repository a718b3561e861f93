"""Which colour a series has: the same one in every plot of a simulation, and of all simulations."""

from collections.abc import Mapping, Sequence

from scripts.dashboards.drawing import N_HUES, Plot

_KNOWN = {
    "best": 0,
    "middle": 1,
    "cheapest": 2,
    "best effort": 3,
    "least-outstanding": 0,
    "round-robin": 7,
    "predicted-impact": 2,
    "bandit": 3,
    "prefix-affinity": 4,
}
"""Hues of what several simulations show: tiers, and ways to balance."""


def hues_of(plots: Sequence[Plot]) -> Mapping[str, int]:
    """Return the hue of each kin in some plots, one however many of them show it.

    Two series of one plot share a hue only where there are more of them than hues.
    """
    kins = {each.kin for plot in plots for each in plot.series}
    hues = {kin: hue for kin, hue in _KNOWN.items() if kin in kins}
    for kin in sorted(kins - hues.keys()):
        beside = {
            hues[each.kin]
            for plot in plots
            if any(other.kin == kin for other in plot.series)
            for each in plot.series
            if each.kin in hues
        }
        used = list(hues.values())
        hues[kin] = min(range(N_HUES), key=lambda hue: (hue in beside, used.count(hue), hue))
    return hues
