from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_predict

from almeta.seeding import make_generator
from almeta.strategies import lal
from almeta.strategies.lal import (
    MOST_LABELLED,
    NUM_CANDIDATES,
    NUM_TASKS,
    NUM_TREES,
    PAIRS,
    Lal,
    grow,
    regressor,
    simulate,
    state_features,
)
from tests.strategies.pools import make_pools, utilities_of

COLUMNS = ("probability", "spread", "others", "out of bag", "importance", "mean spread", "depth", "labels")


@pytest.fixture(scope="module")
def pairs():
    with np.load(PAIRS) as file:
        return file["features"], file["drops"]


def labelled(classes, rows=15, seed=0):
    """Labelled rows and their labels, and rows without."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows + 40, 3)).astype(np.float32)
    y = (x[:, 0] + 0.3 * rng.normal(size=len(x)) > 0).astype(np.int64) + (classes - 2) * (x[:, 1] > 0.5)
    return x[:rows], y[:rows], x[rows:]


@pytest.mark.parametrize("classes", [2, 4])
def test_the_features_against_the_papers_loop(classes):
    x, y, rows = labelled(classes)
    forest = grow(x, y, 3)
    found = dict(zip(COLUMNS, state_features(forest, y, rows, classes).T, strict=True))
    trees = np.array([tree.predict_proba(rows) for tree in forest.estimators_])
    reference = forest.predict_proba(rows).argmax(1) if classes > 2 else np.zeros(len(rows), dtype=int)
    own = np.array([trees[:, row, column] for row, column in enumerate(reference)])
    assert found["probability"] == pytest.approx(own.mean(1))
    assert found["spread"] == pytest.approx(own.std(1))
    assert found["others"] == pytest.approx([(y != forest.classes_[column]).mean() for column in reference])
    left_out = forest.oob_decision_function_
    assert found["out of bag"] == pytest.approx((forest.classes_[left_out.argmax(1)] == y).mean())
    assert found["importance"] == pytest.approx(np.std(forest.feature_importances_ / 3))
    assert found["mean spread"] == pytest.approx(own.std(1).mean())
    assert found["depth"] == pytest.approx(np.mean([tree.get_depth() for tree in forest.estimators_]))
    assert found["labels"] == pytest.approx(15)
    assert len(forest.estimators_) == NUM_TREES == 50
    for varied in ("probability", "spread", *(("others",) if classes > 2 else ())):
        assert found[varied].std() > 0.01


def test_the_features_by_hand_where_trees_cannot_split():
    """Rows that are all alike: each tree says the shares of its own bootstrap sample."""
    x, y = np.zeros((4, 1), dtype=np.float32), np.array([0, 1, 1, 1])
    forest = grow(x, y, 0)
    found = state_features(forest, y, x[:2], 2)
    shares = [(y[drawn] == 0).mean() for drawn in forest.estimators_samples_]
    expected = [np.mean(shares), np.std(shares), 0.75, forest.oob_score_, 0, np.std(shares), 0, 4]
    assert found == pytest.approx(np.array([expected, expected]))


@pytest.mark.parametrize("known, probability, others", [([0, 0], 1, 0), ([1], 0, 1)])
def test_one_class_was_seen(known, probability, others):
    x = np.arange(len(known), dtype=np.float32)[:, None]
    found = state_features(grow(x, np.array(known), 0), np.array(known), x, 2)[0]
    assert found[:3].tolist() == [probability, 0, others]
    assert found[-1] == len(known)
    assert np.isfinite(found).all()


def test_rows_are_predicted_in_blocks(monkeypatch):
    for classes in (2, 4):
        x, y, rows = labelled(classes)
        forest = grow(x, y, 3)
        whole = state_features(forest, y, rows, classes)
        monkeypatch.setattr(lal, "_BLOCK", 7)
        assert state_features(forest, y, rows, classes) == pytest.approx(whole)
        monkeypatch.undo()


# --- what it learns from ---


def test_the_shipped_pairs_are_those_of_the_tasks(pairs):
    """One task of few labels, and (in the script's test) the first one; all have been made by the same call."""
    task = 95
    features, drops = simulate(task)
    place = slice(NUM_CANDIDATES * task, NUM_CANDIDATES * (task + 1))
    assert pairs[0][place] == pytest.approx(features, abs=1e-5)
    assert pairs[1][place] == pytest.approx(drops, abs=1e-5)
    assert len(pairs[0]) == len(pairs[1]) == NUM_CANDIDATES * NUM_TASKS


def test_tasks_differ_by_seed_and_have_all_numbers_of_labels(pairs, monkeypatch):
    features, drops = pairs
    assert sorted({*features[:, -1]}) == [*range(2, MOST_LABELLED + 1)]
    assert np.abs(drops).max() <= 1
    assert drops[features[:, -1] <= 5].mean() > drops[features[:, -1] >= 40].mean() + 0.01
    monkeypatch.setattr(lal, "NUM_CANDIDATES", 1)
    assert not np.array_equal(simulate(0, seed=1)[0], simulate(0, seed=2)[0])


def test_the_regressor_has_learned_something(pairs):
    """Fit to half of the tasks, it ranks the candidates of the other half better than chance."""
    tasks = np.repeat(np.arange(NUM_TASKS), NUM_CANDIDATES)
    predicted = cross_val_predict(clone(regressor()), *pairs, groups=tasks, cv=GroupKFold(2))
    found, told = (each.reshape(-1, NUM_CANDIDATES) for each in (predicted, pairs[1]))
    found, told = (each - each.mean(1, keepdims=True) for each in (found, told))
    differ = (found.any(1)) & (told.any(1))
    lengths = np.linalg.norm(found[differ], axis=1) * np.linalg.norm(told[differ], axis=1)
    correlation = (found * told)[differ].sum(1) / lengths
    assert correlation.mean() > 3 * correlation.std() / np.sqrt(differ.sum())


# --- the strategy ---


def expected_scores(state, pool, seed):
    """The scores of one pool's available rows, one step after the other."""
    picks = state.picks[pool]
    known = [row for row in picks.tolist() if row >= 0 and state.labels[pool, row] >= 0]
    x, y = state.x[pool].numpy(), state.labels[pool, known].numpy()
    columns = [c for c in range(x.shape[1]) if len({*x[state.exists[pool].numpy(), c]}) > 1]
    rows = x[state.available[pool].numpy()][:, columns]
    forest = grow(x[known][:, columns], y, seed)
    return regressor().predict(state_features(forest, y, rows, int(state.num_classes[pool])))


def test_scores_are_the_regressors_for_a_forest_of_each_pool():
    state = make_pools(labelled=(6, 5), more=(3, 2, 1)).state
    strategy = Lal()
    strategy.generator = make_generator(4, "test")
    scores = strategy.score(state)
    seeds = torch.randint(2**31 - 1, (2,), generator=make_generator(4, "test")).tolist()
    for pool, seed in enumerate(seeds):
        expected = expected_scores(state, pool, seed)
        assert scores[pool, state.available[pool]].numpy() == pytest.approx(expected, abs=1e-6)
        assert expected.std() > 0


def test_a_pool_without_labels_is_left_to_chance():
    state = make_pools(labelled=(0, 5)).state
    scores = Lal().score(state)
    assert (scores[0] == 0).all()
    assert scores[1, state.available[1]].std() > 0
    assert (Lal().score(replace(state, labels=torch.full_like(state.labels, -1))) == 0).all()


def test_it_asks_between_two_clouds_rather_than_within_them():
    """Two classes left and right, and as many rows in between as in each cloud."""
    pools = make_pools(sizes=(60,), columns=(2,), classes=(2,), labelled=(16,))
    place = torch.arange(60) % 3 - 1
    pools.state.x[0, :, 0] = torch.where(pools.y[0] == 0, -3.0, 3.0) + torch.linspace(-0.5, 0.5, 60)
    between = pools.state.available[0] & (place == 0)
    pools.state.x[0, between, 0] = torch.linspace(-1.5, 1.5, int(between.sum()))
    scores = utilities_of(Lal(), pools.state)[0]
    apart = pools.state.available[0] & ~between
    assert scores[between].mean() > scores[apart].mean()
