import numpy as np
import pytest

from routers.strategies._domains import DomainModel

RNG = np.random.default_rng(0)
N = 300
DOMAIN = RNG.integers(0, 3, N)
CENTRES = np.eye(8, dtype=np.float32)[:3] * 3
X = (CENTRES[DOMAIN] + RNG.normal(size=(N, 8))).astype(np.float32)
GROUPS = tuple(f"set/{['law', 'code', 'art'][d]}/{i}" for i, d in enumerate(DOMAIN))
QUALITY = (RNG.random((N, 2)) < np.array([[0.9, 0.2], [0.2, 0.9], [0.5, 0.5]])[DOMAIN]).astype(
    np.float32
)


def fitted():
    return DomainModel().fit(X, GROUPS, QUALITY, rng=np.random.default_rng(1))


def test_labels_that_end_in_a_number_of_their_own_are_cut_to_what_is_common():
    model, features = fitted()
    assert features.shape == (N, 3 + 2)
    assert model.quality_.shape == (3, 2)


def test_new_queries_get_the_chances_of_their_domain_and_its_quality():
    model, _ = fitted()
    features = model.features(CENTRES)
    names = sorted({group.rpartition("/")[0] for group in GROUPS})
    expected = [names.index(f"set/{each}") for each in ("law", "code", "art")]
    assert features[:, :3].argmax(axis=1).tolist() == expected
    better = features[:, 3] - features[:, 4]
    assert better[0] > 0.3 > -0.3 > better[1]


def test_training_rows_are_seen_as_uncertain_as_new_ones():
    model, own = fitted()
    again = model.features(X)
    truth = np.searchsorted(["art", "code", "law"], np.array(["law", "code", "art"])[DOMAIN])
    rows = np.arange(N)
    assert own[rows, truth].mean() < again[rows, truth].mean()


def test_queries_without_a_label_take_part_without_being_a_domain():
    groups = ("", *GROUPS[1:])
    model, features = DomainModel().fit(X, groups, QUALITY, rng=np.random.default_rng(1))
    assert features.shape == (N, 5)
    assert np.isfinite(features).all()
    assert model.weights_.shape[1] == 3


@pytest.mark.parametrize("groups", [(), ("",) * 50, ("a",) * 50, tuple(map(str, range(50)))])
def test_labels_that_tell_nothing_apart_are_not_usable(groups):
    assert not DomainModel.usable(groups)


def test_storing_changes_nothing():
    model, _ = fitted()
    again = DomainModel().restore(model.state())
    np.testing.assert_array_equal(model.features(X), again.features(X))
    with pytest.raises(ValueError, match="differ"):
        DomainModel().restore({**model.state(), "quality": model.quality_[:-1]})


def many_domains(n_domains, rows_each, *, differ, seed=0):
    """Return features that tell the domain, labels, and outcomes of four models.

    `differ` is the spread of difficulty between domains; models differ by noise alone.
    """
    rng = np.random.default_rng(seed)
    domain = np.repeat(np.arange(n_domains), rows_each)
    x = np.eye(n_domains)[domain] + rng.normal(0, 0.05, (len(domain), n_domains))
    chance = np.clip(0.5 + differ * rng.normal(size=n_domains), 0.05, 0.95)[domain]
    quality = (rng.random((len(domain), 4)) < chance[:, None]).astype(np.float32)
    return x.astype(np.float32), tuple(f"set/{d}" for d in domain), quality


def test_what_is_expected_of_a_row_knows_nothing_of_its_own_outcomes():
    x, groups, quality = many_domains(30, 10, differ=0.0)
    model, own = DomainModel().fit(x, groups, quality, rng=np.random.default_rng(1))
    above = [each - model.mean_ for each in (model.expected(own), quality)]
    apart = [each - each.mean(axis=1, keepdims=True) for each in above]
    assert np.corrcoef(apart[0].ravel(), apart[1].ravel())[0, 1] < 0.05


def test_difficulty_is_learned_where_which_model_suits_is_noise():
    x, groups, quality = many_domains(30, 15, differ=0.25)
    model, _ = DomainModel().fit(x, groups, quality, rng=np.random.default_rng(1))
    common = model.quality_.mean(axis=1)
    apart = model.quality_ - common[:, None]
    assert common.std() > 0.15
    assert apart.std() < 0.02


def test_domains_where_models_differ_are_believed_the_more_the_more_rows_they_have():
    model, _ = fitted()
    assert np.abs(model.quality_[:, 0] - model.quality_[:, 1]).max() > 0.5


def test_outcomes_of_one_model_per_query_still_tell_models_apart():
    quality = QUALITY.copy()
    quality[np.arange(N), RNG.integers(0, 2, N)] = np.nan
    model, _ = DomainModel().fit(X, GROUPS, quality, rng=np.random.default_rng(1))
    assert np.abs(model.quality_[:, 0] - model.quality_[:, 1]).max() > 0.4
