"""What routers of categories share: identifying, tabulating, mapping, leading."""

import numpy as np
import pytest

from routers.base import Labels
from routers.errors import DataError, RoutingConfigError
from routers.request.layout import DOMAINS, KINDS, LEVELS, N_COLUMNS
from routers.strategies._budget import Budget, FactsByModel
from routers.strategies._category_model import CategoriesConfig, CategoryModel, Identified
from routers.strategies._category_names import domain_of, name_rows
from routers.strategies.bench_coe import BenchCoeRouter
from routers.strategies.composition import CompositionRouter
from routers.strategies.domains import DomainsRouter

MODELS = ("general", "mathy", "doctor")
SKILL = np.array([(0.6, 0.95, 0.2), (0.6, 0.2, 0.95), (0.8, 0.4, 0.4)])
SUBJECTS = ("math", "health", "history")
N, WIDTH = 600, 24
AXES = np.linalg.qr(np.random.default_rng(5).normal(size=(WIDTH, WIDTH)))[0]


def queries(subject, *, seed, noise=0.15):
    """Return features around the directions of subjects (the fourth one is nobody's)."""
    rng = np.random.default_rng(seed)
    return (AXES[np.asarray(subject)] + noise * rng.normal(size=(len(subject), WIDTH))).astype(
        np.float32
    )


def world(*, skill=SKILL, n=N, seed=0):
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, 3, n)
    quality = (rng.random((n, 3)) < skill[subject]).astype(np.float32)
    groups = tuple(f"made/exam/{SUBJECTS[i]}" for i in subject)
    tokens = rng.uniform(50, 150, (n, 3)).astype(np.float32) * (1 + subject[:, None])
    labels = Labels(
        models=MODELS,
        quality=quality,
        output_tokens=tokens,
        groups=groups,
        mean_cost_usd=np.array([1e-3, 1e-3, 1e-4]),
        input_tokens=np.full(n, 50.0),
    )
    return queries(subject, seed=seed + 1), labels


def fitted(cls=CompositionRouter, *, data=None, **options):
    x, labels = world() if data is None else data
    return cls(**options).fit(x, labels, rng=np.random.default_rng(0))


def experts(router):
    return {each["category"]: each["expert"] for each in router.report()}


@pytest.fixture(scope="module")
def router():
    return fitted()


def test_every_category_has_its_expert_and_everything_else_the_generalist(router):
    assert experts(router) == {
        "math": "mathy",
        "health": "doctor",
        "history": "general",
        "other": "general",
    }
    predictions = router.predict(queries([0, 1, 2], seed=9))
    assert predictions.quality.argmax(axis=1).tolist() == [1, 2, 0]


def test_queries_unlike_the_training_data_are_uncertain(router):
    shares = {}
    for name, subject in (("like", [0, 1, 2] * 60), ("unlike", [3] * 180)):
        predictions = router.predict(queries(subject, seed=11))
        uncertain = predictions.categories.first < 0
        shares[name] = uncertain.mean()
        assert (predictions.quality[uncertain].argmax(axis=1) == 0).all()
    assert shares["like"] < 0.25
    assert shares["unlike"] > 0.9


def test_more_doubt_makes_more_uncertain():
    shares = [fitted(uncertain_below=least).share_[-1] for least in (0.0, 0.9, 1.0)]
    assert shares[0] <= shares[1] < 0.5 < shares[2]


def test_without_evidence_there_is_one_model_alone():
    alike = np.tile([0.7, 0.6, 0.6], (3, 1))
    assert set(experts(fitted(data=world(skill=alike))).values()) == {"general"}


def test_an_expert_by_hand_that_is_none_is_rolled_back():
    by_hand = {"maths": "mathy", "health": "mathy", "other": "general"}
    found = experts(fitted(DomainsRouter, experts=by_hand))
    assert found == {"maths": "mathy", "health": "general", "other": "general"}


def test_labels_within_a_category_may_change_places_where_means_are_equal(router):
    x, labels = world()
    quality = labels.quality.copy()
    rng = np.random.default_rng(3)
    groups = np.array(labels.groups)
    for name in set(labels.groups):
        rows = np.flatnonzero(groups == name)
        quality[rows] = quality[rng.permutation(rows)]
    shuffled = Labels(models=MODELS, quality=quality, groups=labels.groups)
    assert experts(fitted(data=(x, shuffled))) == experts(router)


def test_a_budget_is_kept_by_every_kind_of_limit(router):
    facts = {"general": 70, "mathy": 8, "doctor": 8}
    table = FactsByModel.model_validate({m: {"parameters_b": s} for m, s in facts.items()})
    small = router.remapped(budget=Budget(parameters_b=20), facts=table.root)
    assert set(experts(small).values()) == {"mathy", "doctor"}
    assert small.totals(MODELS)["parameters_b"] <= 20
    light = router.remapped(budget=Budget(active_parameters_b=40), facts=table.root)
    assert light.totals(MODELS)["active_parameters_b"] <= 40
    assert light.totals(MODELS)["quality"] >= small.totals(MODELS)["quality"]
    cheap = router.remapped(budget=Budget(usd_per_request=5e-4))
    assert cheap.totals(MODELS)["usd_per_request"] <= 5e-4
    with pytest.raises(RoutingConfigError, match="none is known"):
        router.remapped(budget=Budget(parameters_b=20))


def test_who_is_no_expert_there_is_never_predicted_to_be_better(router):
    cheap = router.remapped(budget=Budget(usd_per_request=2e-4))
    quality = cheap.predict(queries([0, 1, 2, 3] * 20, seed=4)).quality
    leads = np.sort(quality, axis=1)
    assert (leads[:, -1] > leads[:, -2]).all()


def test_two_domains_together_ask_for_an_expert_that_is_no_worse_in_both():
    router = fitted(DomainsRouter)
    names = router.model_.names_
    pairs = [("math", "health"), ("math", "history"), ("history", "health")]
    first, second = (np.array([names.index(pair[i]) for pair in pairs]) for i in (0, 1))
    predictions = router.predict_identified(Identified(first, second, np.full(3, 0.45, np.float32)))
    assert (predictions.quality.argmax(axis=1) == MODELS.index("general")).all()
    assert predictions.categories.of(0).name == "math+health"
    alone = Identified(first, np.full(3, -1), np.zeros(3, np.float32))
    assert router.predict_identified(alone).quality.argmax(axis=1).tolist() == [1, 1, 0]


def test_two_domains_are_believed_together_where_neither_is_alone():
    x = np.zeros((3, N_COLUMNS), np.float32)
    at = len(LEVELS) + len(KINDS)
    for row, (law, finance, arts) in enumerate([(0.45, 0.4, 0.15), (0.9, 0.1, 0), (0.4, 0.3, 0.3)]):
        for name, chance in (("law", law), ("finance", finance), ("arts", arts)):
            x[row, at + DOMAINS.index(name)] = chance
    config = CategoriesConfig(source="domain", names={"law": [], "money": ["finance"]})
    model = CategoryModel(config=config, uncertain_below=0.5, mixed_from=0.8).describe()
    about = model.identify(x)
    assert about.first.tolist() == [0, 0, -1]
    assert about.second.tolist() == [1, -1, -1]


def test_clusters_serve_where_there_are_no_labels():
    x, labels = world()
    bare = Labels(models=MODELS, quality=labels.quality)
    router = fitted(data=(x, bare), categories=CategoriesConfig(source="clusters", n=3))
    picks = router.predict(queries([0, 1, 2], seed=9)).quality.argmax(axis=1)
    assert picks.tolist() == [1, 2, 0]
    with pytest.raises(DataError, match="do not tell two categories"):
        fitted(data=(x, bare), categories=CategoriesConfig(source="labels"))


def test_a_regression_of_noise_raises_the_alarm_and_one_of_signal_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 120)).astype(np.float32)
    noise = Labels(models=MODELS, quality=(rng.random((200, 3)) < 0.5).astype(np.float32))
    head = {"kind": "linear", "options": {"alphas": [1e-3]}}
    options = {"level": "query", "query_head": head}
    from routers.options import build

    over = build(BenchCoeRouter, options, noun="it").fit(x, noise, rng=np.random.default_rng(1))
    assert over.notes()["over_fitted"]
    sound = fitted(BenchCoeRouter, level="query")
    assert not sound.notes()["over_fitted"]
    assert sound.notes()["gain_held_out"] > 0.1


def test_a_blend_takes_from_both_and_leaves_strange_queries_to_the_table():
    router = fitted(BenchCoeRouter, level="blend")
    assert router.predict(queries([0, 1, 2], seed=9)).quality.argmax(axis=1).tolist() == [1, 2, 0]
    strange = queries([3] * 10, seed=8, noise=0.01)
    plain = CompositionRouter().restore(
        {k: v for k, v in router.state().items() if k.split(".")[0] not in ("query", "weight")}
        | {},
        MODELS,
    )
    assert np.allclose(router.predict(strange).quality, plain.predict(strange).quality)


def test_a_blend_leaves_what_is_of_no_subject_to_the_table_however_familiar():
    blend = fitted(BenchCoeRouter, level="blend", uncertain_below=1.0)
    asked = queries([0, 1, 2] * 60, seed=9)
    found = blend.predict(asked)
    doubted = (found.categories.first < 0) & ~blend.familiarity(asked).unlike_most
    assert doubted.sum() > 10
    # The table's row of what is of no subject.
    assert np.allclose(found.quality[doubted], blend.served_[-1])


@pytest.mark.parametrize(
    ("label", "domain"),
    [
        ("high_school_physics", "science"),
        ("college_mathematics", "mathematics"),
        ("Computer Science", "software"),
        ("professional_law", "law"),
        ("political_science", "society"),
        ("human_eval", "software"),
        ("MMLU", None),
    ],
)
def test_subjects_are_known_by_many_names(label, domain):
    assert domain_of(label) == domain


def test_rows_are_named_by_their_most_exact_common_label():
    groups = ["s/mmlu/law"] * 8 + ["s/mmlu/art"] * 2 + ["s/gsm8k/"] * 8 + [""]
    named = name_rows(groups, {}, benchmark=False)
    assert [named[0], named[8], named[10], named[18]] == ["law", "mmlu", "gsm8k", ""]
    claimed = name_rows(groups, {"maths": [], "paragraphs": ["law"]}, benchmark=False)
    assert [claimed[0], claimed[8], claimed[10]] == ["paragraphs", "other", "maths"]
