"""Quality from what a request demands and what models can do."""

import numpy as np
import pytest

from routers.base import ROUTERS, Labels
from routers.errors import DataError
from routers.request.layout import DOMAINS, KINDS, LEVELS, N_COLUMNS, Description
from routers.strategies.abilities import FACETS, LEVEL_POSITIONS, AbilitiesRouter, facet_shares

GENERAL = (-1.5, 0.0, 1.5, 3.0)
MODELS = tuple("abcd")


def requests(levels, *, kind="question", domain="everyday", tokens=200.0) -> np.ndarray:
    """Return columns of requests whose level, kind and domain are known."""
    n = len(levels)
    return Description(
        levels=np.eye(len(LEVELS), dtype=np.float32)[list(levels)],
        kinds=np.tile(np.eye(len(KINDS), dtype=np.float32)[KINDS.index(kind)], (n, 1)),
        domains=np.tile(np.eye(len(DOMAINS), dtype=np.float32)[DOMAINS.index(domain)], (n, 1)),
        log_tokens=np.full(n, np.log1p(tokens), np.float32),
    ).columns()


ALL_LEVELS = requests(range(len(LEVELS)))


def known(general=GENERAL, *, std=0.4, verbosity=None, facets=None) -> AbilitiesRouter:
    n = len(general)
    ability = np.tile(np.array(general, float)[:, None], (1, len(FACETS)))
    return AbilitiesRouter.known(
        [f"model-{number}" for number in range(n)],
        ability=ability if facets is None else ability + facets,
        ability_std=np.full((n, len(FACETS)), std),
        verbosity=np.zeros(n) if verbosity is None else np.array(verbosity, float),
    )


def drawn(n: int, *, seed: int = 0, models=GENERAL, tokens=True) -> tuple[np.ndarray, Labels]:
    """Draw outcomes of models whose abilities are known."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, len(LEVELS), n)
    kinds = rng.choice(KINDS, n)
    x = np.vstack([requests([lev], kind=str(k)) for lev, k in zip(levels, kinds, strict=True)])
    chance = 1 / (1 + np.exp(np.array(LEVEL_POSITIONS)[levels][:, None] - np.array(models)))
    quality = (rng.random(chance.shape) < chance).astype(np.float32)
    lengths = np.exp(rng.normal(np.log(200) + np.arange(len(models)), 0.3, quality.shape))
    return x, Labels(
        models=MODELS[: len(models)],
        quality=quality,
        output_tokens=lengths.astype(np.float32) if tokens else None,
    )


def fitted(x, labels, **options) -> AbilitiesRouter:
    return AbilitiesRouter(**options).fit(x, labels, rng=np.random.default_rng(0))


def test_it_is_registered():
    assert ROUTERS.kind_of(AbilitiesRouter()) == "abilities"


def test_quality_rises_with_ability_and_falls_with_level():
    quality = known().predict(ALL_LEVELS).quality
    assert (np.diff(quality, axis=1) > 0).all()
    assert (np.diff(quality, axis=0) < 0).all()
    assert quality.min() >= 0
    assert quality.max() <= 1


def test_predictions_are_those_of_the_formulas_to_the_last_bit():
    rng = np.random.default_rng(3)
    n_models = 7
    router = AbilitiesRouter.known(
        [f"model-{number}" for number in range(n_models)],
        ability=rng.normal(0, 2, (n_models, len(FACETS))),
        ability_std=rng.uniform(0.1, 1, (n_models, len(FACETS))),
        verbosity=rng.normal(0, 1, n_models),
    )
    for n_queries in (1, 40):
        x = rng.uniform(0, 1, (n_queries, N_COLUMNS + 8)).astype(np.float32)
        request = Description.read(x)
        shares = facet_shares(request)
        ability = shares @ router.ability_.T
        variance = (shares * shares) @ (router.ability_std_**2).T
        damping = 1 / np.sqrt(1 + np.float32(np.pi / 8) * variance)
        positions = np.asarray(LEVEL_POSITIONS, np.float32)[None, :, None]
        z = (ability[:, None, :] - positions) * damping[:, None, :]
        chance = 1 / (1 + np.exp(-z))
        levels = request.levels[:, :, None]
        quality = (levels * chance).sum(axis=1)
        slope = (levels * chance * (1 - chance)).sum(axis=1)
        between = (levels * (chance - quality[:, None, :]) ** 2).sum(axis=1)
        log_tokens = np.clip(request.log_tokens[:, None] + router.verbosity_, 0, np.log(1e5))
        log_tokens = log_tokens.astype(np.float32)
        upper = np.expm1(log_tokens + np.float32(1.65) * router.length_std_)
        found = router.predict(x)
        np.testing.assert_array_equal(found.quality, np.clip(quality, 0, 1))
        np.testing.assert_array_equal(
            found.quality_std, np.sqrt(between + slope * slope * variance)
        )
        np.testing.assert_array_equal(found.output_tokens, np.expm1(log_tokens))
        np.testing.assert_array_equal(found.output_tokens_upper, upper)


def test_what_is_trivial_everybody_answers():
    assert known().predict(requests([0])).quality.min() > 0.95


def test_the_gap_widens_with_the_level():
    # Up to where the best itself fails.
    quality = known((0.0, 4.0)).predict(ALL_LEVELS).quality
    gap = quality[:, 1] - quality[:, 0]
    assert (np.diff(gap[:4]) > 0).all()
    assert gap[0] < 0.02
    assert gap[3] > 0.5


def test_a_doubtful_level_lies_between():
    x = requests([1, 3])
    between = x.mean(axis=0, keepdims=True)
    quality = known().predict(np.vstack([x, between])).quality
    np.testing.assert_allclose(quality[2], quality[:2].mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "domain", "facet"),
    [
        ("code", "software", "code"),
        ("mathematics", "mathematics", "mathematics"),
        ("agent", "everyday", "agent"),
        ("question", "medicine", "knowledge"),
        ("translation", "language", "language"),
        ("reasoning", "finance", "reasoning"),
    ],
)
def test_the_ability_that_counts_is_that_of_the_kind_of_request(kind, domain, facet):
    facets = np.zeros((2, len(FACETS)))
    facets[1, FACETS.index(facet)] = 2.0
    router = known((0.0, 0.0), facets=facets)
    mine = router.predict(requests([2], kind=kind, domain=domain)).quality[0]
    assert mine[1] > mine[0] + 0.12
    shares = facet_shares(Description.read(requests([2], kind=kind, domain=domain)))
    assert FACETS[shares[0].argmax()] == facet


def test_shares_of_facets_sum_to_one_for_whatever_stands_there():
    x = np.random.default_rng(0).normal(0, 1, (30, N_COLUMNS)).astype(np.float32)
    np.testing.assert_allclose(facet_shares(Description.read(x)).sum(axis=1), 1, rtol=1e-4)


def test_less_known_abilities_are_wider_and_nearer_to_a_half():
    # Very able, on what is moderate: certainty falls where the ability is not known.
    sure, unsure = (known((3.0,), std=std).predict(requests([2])) for std in (0.1, 1.5))
    assert unsure.quality_std[0, 0] > 2 * sure.quality_std[0, 0]
    assert 0.5 < unsure.quality[0, 0] < sure.quality[0, 0]


def test_an_uncertain_level_widens():
    x = np.vstack([requests([2]), requests([0, 4]).mean(axis=0, keepdims=True)])
    std = known((1.0,)).predict(x).quality_std[:, 0]
    assert std[1] > 1.5 * std[0]


def test_lengths_follow_the_answer_and_the_model():
    router = known((0.0, 0.0), verbosity=[0.0, np.log(3.0)])
    short = router.predict(requests([2], tokens=50))
    long = router.predict(requests([2], tokens=1000))
    assert short.output_tokens[0, 0] == pytest.approx(50, rel=0.01)
    assert long.output_tokens[0, 0] == pytest.approx(1000, rel=0.01)
    assert long.output_tokens[0, 1] == pytest.approx(3000, rel=0.01)
    assert (long.output_tokens_upper > long.output_tokens).all()


def test_lengths_stay_finite():
    tokens = known((0.0,), verbosity=[50.0]).predict(requests([4], tokens=90_000))
    assert np.isfinite(tokens.output_tokens_upper).all()
    assert tokens.output_tokens[0, 0] == pytest.approx(1e5, rel=0.01)


def test_some_dozen_outcomes_tell_who_is_better():
    x, labels = drawn(60)
    router = fitted(x, labels)
    assert (np.diff(router.predict(ALL_LEVELS).quality.mean(axis=0)) > 0).all()


def test_many_outcomes_give_the_chances_that_drew_them():
    x, labels = drawn(3000)
    predicted = fitted(x, labels).predict(ALL_LEVELS).quality
    expected = 1 / (1 + np.exp(np.array(LEVEL_POSITIONS)[:, None] - np.array(GENERAL)))
    np.testing.assert_allclose(predicted, expected, atol=0.08)


def test_one_outcome_moves_little():
    x = requests([2])
    good, bad = (
        fitted(x, Labels(models=("a",), quality=np.array([[q]], np.float32))).predict(x).quality
        for q in (1.0, 0.0)
    )
    assert 0.1 < bad[0, 0] < good[0, 0] < 0.9


def test_more_outcomes_narrow():
    few, many = (fitted(*drawn(n)).ability_std_.mean() for n in (20, 2000))
    assert many < 0.5 * few


def test_models_that_saw_less_are_wider():
    x, labels = drawn(400)
    labels.quality[40:, 1] = np.nan
    std = fitted(x, labels).ability_std_.mean(axis=1)
    assert std[1] > 1.5 * std[0]


def test_a_verbose_model_is_learned():
    x, labels = drawn(400)
    tokens = fitted(x, labels).predict(requests([2])).output_tokens[0]
    ratio = tokens[1:] / tokens[:-1]
    np.testing.assert_allclose(ratio, np.e, rtol=0.15)


def test_without_lengths_those_of_good_answers_stand():
    x, labels = drawn(50, tokens=False)
    assert fitted(x, labels).verbosity_.tolist() == [0.0] * len(MODELS)


def test_a_model_without_outcomes_is_refused():
    x, labels = drawn(20)
    labels.quality[:, 2] = np.nan
    with pytest.raises(DataError, match="no quality is known for c"):
        fitted(x, labels)


def test_fitting_twice_gives_the_same():
    first, second = (fitted(*drawn(80)).state() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


def test_restoring_is_exact():
    router = fitted(*drawn(100))
    again = AbilitiesRouter()
    again.restore(router.state(), router.models_)
    before, after = router.predict(ALL_LEVELS), again.predict(ALL_LEVELS)
    for name in ("quality", "quality_std", "output_tokens", "output_tokens_upper"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("ability", np.zeros((4, 5), np.float32)),
        ("ability_std", np.zeros((3, len(FACETS)), np.float32)),
        ("ability_std", np.full((4, len(FACETS)), -1, np.float32)),
        ("verbosity", np.zeros(3, np.float32)),
        ("length_std", np.zeros(5, np.float32)),
        ("shift", np.zeros(2, np.float32)),
        ("shift", np.zeros((1, 1), np.float32)),
    ],
)
def test_damaged_state_is_refused(name, array):
    router = known()
    with pytest.raises(ValueError, match=r"abilit|shift|dimension"):
        AbilitiesRouter().restore({**router.state(), name: array}, router.models_)


def test_each_array_is_needed():
    state = known().state()
    for name in state:
        with pytest.raises(KeyError):
            AbilitiesRouter().restore(
                {key: array for key, array in state.items() if key != name}, MODELS
            )
