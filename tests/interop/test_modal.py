"""Strategies and policies of almeta as query functions of modAL, and query functions of modAL in our benchmarks."""

import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import almeta
from almeta.checks import check_call
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError
from almeta.strategies import make_strategy
from almeta.training.rollout import greedy, play
from tests.strategies.pools import make_pools, utilities_of

models: Any = pytest.importorskip("modAL.models", reason="install almeta[modal]")
uncertainty: Any = pytest.importorskip("modAL.uncertainty")
ours: Any = pytest.importorskip("almeta.interop.modal")

X, Y = load_wine(return_X_y=True)
X, Y = scale(X)[::2], Y[::2]
FIRST = np.array([0, 1, 30, 31, 70, 71])
POOL = np.setdiff1d(np.arange(len(X)), FIRST)


def make_learner(by="margin", estimator=None, known=FIRST, **options):
    """A learner that knows some rows. It is made, not taught: see docs/interop_modal.md for why `teach` fails."""
    estimator = LogisticRegression() if estimator is None else estimator
    return models.ActiveLearner(estimator, ours.query_by(by, **options), X_training=X[known], y_training=Y[known])


# ---- ours there


@pytest.mark.parametrize(
    "by, theirs",
    [
        ("margin", uncertainty.margin_sampling),
        ("entropy", uncertainty.entropy_sampling),
        ("least_confident", uncertainty.uncertainty_sampling),
    ],
)
def test_uncertainty_picks_what_theirs_pick(by, theirs):
    learner = make_learner(by)
    rows, instances, utilities = learner.query(X[POOL], return_metrics=True)
    np.testing.assert_array_equal(instances, X[POOL][rows])
    expected, measure = theirs(learner, X[POOL])
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(abs(utilities), measure, atol=1e-6)
    # Of several, the first is the best, and all are among their first 5 x 4.
    several, _, utilities = learner.query(X[POOL], n_instances=4, return_metrics=True)
    assert several[0] == rows[0] and len(set(several)) == 4
    assert set(several) <= set(theirs(learner, X[POOL], n_instances=20)[0])
    assert (np.diff(utilities) <= 0).all()


def test_core_set_asks_for_the_row_farthest_from_the_training_rows():
    known, standard = FIRST, scale(X)
    for _ in range(4):
        pool = np.setdiff1d(np.arange(len(X)), known)
        rows, _ = make_learner("core_set", known=known).query(X[pool])
        distance = np.linalg.norm(standard[pool][:, None] - standard[known], axis=2).min(1)
        assert rows.tolist() == [distance.argmax()]
        known = np.append(known, pool[rows])


def test_a_policy_picks_what_almeta_query_picks():
    estimator = LogisticRegression()
    learner = make_learner("transfer", estimator, budget=7)
    rows, _ = learner.query(X[POOL], n_instances=3)
    labels = [*Y[FIRST].tolist(), *[None] * len(POOL)]
    together = np.concatenate((X[FIRST], X[POOL]))
    expected = almeta.query(together, labels, 3, learner=estimator, budget=7)
    assert (rows + len(FIRST)).tolist() == expected.tolist()
    assert rows.tolist() != make_learner("margin").query(X[POOL], n_instances=3)[0].tolist()


def test_a_loop_by_a_policy():
    known = FIRST
    for _ in range(4):
        left = np.setdiff1d(np.arange(len(X)), known)
        rows, _ = make_learner("transfer", known=known).query(X[left], n_instances=3)
        known = np.append(known, left[rows])
    assert len(set(known)) == len(FIRST) + 12
    assert make_learner(known=known).score(X, Y) > 0.9


FORMS = {
    "array": lambda rows: X[rows],
    "sparse": lambda rows: scipy.sparse.csr_matrix(X)[rows],
    "frame": lambda rows: pd.DataFrame(X[rows], columns=[f"x{k}" for k in range(X.shape[1])]),
    "list": lambda rows: X[rows].tolist(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_rows_of_any_form_give_the_same_picks(form):
    names = np.array(["a", "b", "c"])[Y]
    learner = models.ActiveLearner(
        make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
        ours.query_by("margin"),
        X_training=form(FIRST),
        y_training=names[FIRST],
    )
    plain = models.ActiveLearner(
        make_pipeline(StandardScaler(with_mean=False), LogisticRegression()), X_training=X[FIRST], y_training=Y[FIRST]
    )
    expected = uncertainty.margin_sampling(plain, X[POOL], n_instances=1)[0]
    rows, instances = learner.query(form(POOL))
    assert rows.tolist() == expected.tolist()
    assert (instances.shape if hasattr(instances, "shape") else np.shape(instances)) == (1, X.shape[1])


def test_the_classifier_is_used_as_it_is_fitted():
    forest = RandomForestClassifier(20, random_state=3)
    learner = make_learner("margin", forest)
    fitted = forest.estimators_
    rows, _ = learner.query(X[POOL])
    assert forest.estimators_ is fitted
    _, smallest = uncertainty.margin_sampling(learner, X[POOL])
    assert uncertainty.classifier_margin(learner, X[POOL])[rows] == smallest


def test_a_learner_without_labels_gets_typical_rows():
    learner = models.ActiveLearner(LogisticRegression(), ours.query_by("transfer"))
    rows, _ = learner.query(X, n_instances=6)
    assert len(set(rows)) == 6
    assert len(set(Y[rows])) == 3


def test_the_seed_draws_anew_at_each_call():
    def sequence(seed):
        learner = make_learner("random", seed=seed)
        return [int(learner.query(X[POOL])[0][0]) for _ in range(6)]

    assert sequence(0) == sequence(0) != sequence(1)
    assert len(set(sequence(0))) > 3


def test_a_committee_is_refused():
    committee = models.Committee([make_learner(), make_learner()], ours.query_by("margin"))
    with pytest.raises(AlmetaError, match="Committee of modAL has no classifier of its own; .* need an ActiveLearner"):
        committee.query(X[POOL])


# ---- theirs here

PAIRS = [("margin", "margin_sampling"), ("entropy", "entropy_sampling"), ("least_confident", "uncertainty_sampling")]


def picks_of(strategy):
    simulation = PoolSimulation(
        [almeta.load_dataset("wine")], PoolOptions(budget=8, pool_size=60), 3, torch.Generator().manual_seed(1)
    )
    steps = play(simulation, make_strategy(strategy), greedy(torch.Generator().manual_seed(2)))
    return torch.stack([step.actions for step in steps])


@pytest.mark.parametrize("own, their", PAIRS)
def test_theirs_pick_what_ours_pick(own, their):
    assert torch.equal(picks_of(own), picks_of(f"modAL.{their}"))


def test_the_pick_has_one_and_all_other_rows_have_zero():
    state = make_pools().state
    found = utilities_of(make_strategy("modAL.margin_sampling"), state)
    expected = utilities_of(make_strategy("margin"), state).argmax(1)
    assert found.argmax(1).tolist() == expected.tolist()
    assert found[state.available].sort().values.tolist() == [0.0] * (int(state.available.sum()) - 2) + [1.0, 1.0]


def test_a_batch_function_reads_the_training_rows_and_its_options():
    picks = picks_of("modAL.uncertainty_batch_sampling")
    assert not torch.equal(picks, picks_of("modAL.uncertainty_sampling"))
    assert not torch.equal(picks, picks_of({"name": "modAL.uncertainty_batch_sampling", "metric": "cosine"}))
    with pytest.raises(AlmetaError, match="strategy modAL.uncertainty_batch_sampling of modAL cannot choose: .*metric"):
        picks_of({"name": "modAL.uncertainty_batch_sampling", "metric": "nearness"})


def test_chance_of_theirs_is_seeded_and_leaves_numpy_alone():
    state = make_pools(labelled=(0, 0)).state  # all rows are equal
    before = np.random.get_state(legacy=False)
    spec = {"name": "modAL.margin_sampling", "random_tie_break": True}
    picks = [
        tuple(utilities_of(make_strategy(spec, torch.Generator().manual_seed(seed)), state).argmax(1).tolist())
        for seed in (0, 0, 1, 2, 3)
    ]
    assert picks[0] == picks[1] and len(set(picks)) > 2
    np.testing.assert_equal(np.random.get_state(legacy=False), before)


def nearest_to_zero(classifier, X_pool, n_instances=1, power=2):
    """A query function of somebody's own, in the older form without measures."""
    return np.argsort((abs(X_pool) ** power).sum(1))[:n_instances]


def test_a_query_function_of_ones_own_can_be_registered():
    class Nearest(ours.ModalStrategy):
        name = "nearest_to_zero"
        theirs = staticmethod(functools.partial(nearest_to_zero))

    state = make_pools().state
    length = (state.x.abs() ** 3).sum(-1).masked_fill(~state.available, torch.inf)
    assert utilities_of(Nearest(power=3), state).argmax(1).tolist() == length.argmin(1).tolist()
    with pytest.raises(AlmetaError, match="did you mean 'power'"):
        check_call(Nearest, {"powr": 2}, "strategy nearest_to_zero")


@pytest.mark.parametrize("name", ["vote_entropy_sampling", "expected_error_reduction", "classifier_margin"])
def test_what_needs_more_than_a_classifier_is_unknown(name):
    with pytest.raises(AlmetaError, match=f"unknown query function of modAL for a single classifier '{name}'"):
        make_strategy(f"modAL.{name}")
