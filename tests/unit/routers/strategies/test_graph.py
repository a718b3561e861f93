import numpy as np
import pytest

from routers.base import Labels, Newcomer
from routers.errors import DataError
from routers.strategies._graph_net import (
    Edges,
    loss_gradients,
    model_nodes,
    profiles,
    query_nodes,
)
from routers.strategies.graph import GraphRouter
from tests.support.gradients import assert_gradients_are_right
from tests.support.worlds import USD_PER_MTOK, draw, make_world

N, M, D, DIM, COLUMNS = 12, 3, 4, 2, 2
RNG = np.random.default_rng(0)


def weights():
    rng = np.random.default_rng(1)
    wide = DIM + 1
    shapes = {
        "project": (D, DIM),
        "usual": (wide,),
        "message": (wide, wide),
        "worth": (2,),
        "describe": (COLUMNS, wide),
        "cost_usual": (wide,),
        "cost_message": (wide, wide),
        "cost_describe": (COLUMNS, wide),
    }
    return {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}


def edges():
    rng = np.random.default_rng(2)
    known = rng.random((2, N, M)) < 0.8
    return Edges(
        effect=rng.random((N, M)) * known[0],
        length=rng.normal(size=(N, M)) * known[1],
        effect_known=known[0],
        length_known=known[1],
    )


Z = RNG.normal(size=(N, D))
VISIBLE = RNG.random((N, M)) < 0.5
DESCRIPTIONS = RNG.normal(size=(M, COLUMNS))


def loss(at, *, given=None, visible=VISIBLE):
    return loss_gradients(
        at, Z, edges() if given is None else given, visible, DESCRIPTIONS, cost_weight=0.3
    )


def test_gradients_equal_finite_differences():
    # What an average model makes of a query counts as given in messages: at zero it is, anyway.
    now = weights()
    now["usual"][:] = now["cost_usual"][:] = 0
    assert_gradients_are_right(loss, now, without={"usual", "cost_usual"})
    now = weights()
    now["message"][:] = now["cost_message"][:] = 0
    assert_gradients_are_right(loss, now, without={"message", "cost_message", "project"})


def test_no_edge_that_is_to_be_predicted_enters_a_message():
    now, given = weights(), edges()
    hidden = Edges(
        effect=np.where(VISIBLE, given.effect, 1 - given.effect),
        length=np.where(VISIBLE, given.length, 99.0),
        effect_known=given.effect_known,
        length_known=given.length_known,
    )
    u = query_nodes(now, Z)
    for before, after in zip(
        profiles(now, u, given, VISIBLE), profiles(now, u, hidden, VISIBLE), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_permuting_the_models_permutes_their_nodes():
    now, given, order = weights(), edges(), [2, 0, 1]
    turned = Edges(
        effect=given.effect[:, order],
        length=given.length[:, order],
        effect_known=given.effect_known[:, order],
        length_known=given.length_known[:, order],
    )
    u = query_nodes(now, Z)
    plain = model_nodes(now, profiles(now, u, given, VISIBLE), DESCRIPTIONS)
    other = model_nodes(now, profiles(now, u, turned, VISIBLE[:, order]), DESCRIPTIONS[order])
    for before, after in zip(plain, other, strict=True):
        np.testing.assert_allclose(after, before[order], atol=1e-12)


def labels(sample, columns=range(5), **more):
    columns = list(columns)
    return Labels(
        models=tuple(f"m{i}" for i in columns),
        quality=sample.quality[:, columns],
        output_tokens=sample.output_tokens[:, columns],
        **more,
    )


@pytest.fixture(scope="module")
def world():
    made = make_world(0)
    return draw(made, 2000, seed=100), draw(made, 2000, seed=200)


@pytest.fixture(scope="module")
def router(world):
    return GraphRouter().fit(world[0].x, labels(world[0]), rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def without_the_fourth(world):
    return GraphRouter(own_rule_below=10_000).fit(
        world[0].x, labels(world[0], [0, 1, 2, 4]), rng=np.random.default_rng(0)
    )


def test_predictions_come_near_to_the_true_chances(router, world):
    _, test = world
    found = router.predict(test.x).quality
    assert np.sqrt(((found - test.chance) ** 2).mean()) < 0.165


def test_scenarios_are_weights_when_deciding_and_cost_in_their_order(router, world):
    _, test = world
    found = router.predict(test.x)
    cost = found.output_tokens * np.asarray(USD_PER_MTOK) / 1e6
    rows = np.arange(len(cost))
    spent = []
    for effect, price in ((1, 0), (0.5, 0.5), (0.2, 0.8)):
        utility = effect * found.quality - price * cost / cost.max()
        spent.append(test.cost_usd[rows, utility.argmax(axis=1)].mean())
    assert spent[0] > spent[1] > spent[2]


def test_predicted_costs_are_in_the_order_of_real_ones(router, world):
    _, test = world
    prices = np.asarray(USD_PER_MTOK)
    found = (router.predict(test.x).output_tokens * prices).ravel()
    real = (test.output_tokens * prices).ravel()
    ranks = [np.argsort(np.argsort(each)) for each in (found, real)]
    assert np.corrcoef(*ranks)[0, 1] >= 0.8


def test_outcomes_without_any_pattern_are_not_learned_by_heart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 40)).astype(np.float32)
    quality = (rng.random((400, 3)) < 0.5).astype(np.float32)
    made = GraphRouter(shrink_unfamiliar=False)
    made.fit(x, Labels(models=("a", "b", "c"), quality=quality), rng=rng)
    assert made.predict(x).quality.std(axis=0).max() < 0.1


def test_edges_of_a_new_model_tell_it_apart_without_fitting_again(without_the_fourth, world):
    train, test = world
    before = without_the_fourth.state()
    errors = []
    for n in (32, 100, 400):
        newcomer = Newcomer(
            x=train.x[:n],
            quality=train.quality[:n, 3].astype(float),
            output_tokens=train.output_tokens[:n, 3].astype(float),
        )
        placed = without_the_fourth.place(newcomer)
        found = without_the_fourth.predict_placed(placed, test.x)
        errors.append(((found.quality[:, 0] - test.chance[:, 3]) ** 2).mean())
    spread = test.chance[:, 3].var()
    assert errors[2] < errors[0]
    assert errors[2] < 0.9 * spread
    assert all(np.array_equal(before[k], v) for k, v in without_the_fourth.state().items())


@pytest.mark.parametrize(("n", "own"), [(0, True), (9, True), (10, False), (100, False)])
def test_of_a_model_with_many_outcomes_the_others_predictions_tell_more(router, world, n, own):
    train, _ = world
    newcomer = Newcomer(
        x=train.x[:n],
        quality=train.quality[:n, 3].astype(float),
        output_tokens=train.output_tokens[:n, 3].astype(float),
    )
    assert (router.place(newcomer) is not None) is own


def test_a_description_alone_tells_who_a_model_is_like(world):
    train, test = world
    # Models described alike are alike: a strong and a weak family.
    kind = np.array([[0, 1], [0.1, 1], [1, 0.1], [1, 0]], np.float32)
    given = labels(train, [0, 1, 3, 4], descriptions=kind)
    made = GraphRouter(few_rate=0.6).fit(train.x, given, rng=np.random.default_rng(0))
    means = []
    for told in ([0, 1], [1, 0]):
        nobody = Newcomer(
            x=train.x[:0],
            quality=np.empty(0),
            output_tokens=np.empty(0),
            description=np.array(told, np.float32),
        )
        means.append(made.predict_placed(made.place(nobody), test.x).quality.mean())
    assert means[1] > means[0] + 0.05


def test_a_description_is_refused_where_none_was_learned(router):
    told = Newcomer(
        x=np.empty((0, 32), np.float32),
        quality=np.empty(0),
        output_tokens=np.empty(0),
        description=np.ones(3, np.float32),
    )
    with pytest.raises(DataError, match="--descriptions"):
        router.place(told)
