"""Strategies and policies of almeta in scikit-activeml, and theirs in our benchmarks."""

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

import almeta
from almeta.checks import check_call
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import Setting, StrategySpec, run_benchmark
from almeta.learners import make_learner
from almeta.oracles import Oracle
from almeta.strategies import make_strategy
from almeta.training.rollout import greedy, play
from tests.strategies.pools import make_pools, utilities_of

theirs: Any = pytest.importorskip("skactiveml.pool", reason="install almeta[skactiveml]")
classifiers: Any = pytest.importorskip("skactiveml.classifier")
ours: Any = pytest.importorskip("almeta.interop.skactiveml")

AlmetaQuery = ours.AlmetaQuery
X, TRUE = load_wine(return_X_y=True)
X, TRUE = scale(X)[::3], TRUE[::3].astype(float)
FIRST = [0, 1, 20, 21, 45, 46]
Y = np.full(len(X), np.nan)
Y[FIRST] = TRUE[FIRST]
OPEN = np.flatnonzero(np.isnan(Y))
BYS = ["margin", "core_set", "mean_kl", "random", "transfer"]
every_by = pytest.mark.parametrize("by", BYS)


def make_clf(**options):
    return classifiers.SklearnClassifier(LogisticRegression(), **{"classes": [0, 1, 2], "random_state": 0} | options)


# ---- ours there: what scikit-activeml asks of every query strategy


@every_by
def test_parameters_are_kept_as_they_are_given(by):
    given = {"by": by, "learner": "ridge", "classes": [2, 0, 1], "budget": 3, "missing_label": -1, "random_state": 5}
    strategy = AlmetaQuery(**given)
    assert strategy.get_params() == clone(strategy).get_params() == given
    assert all(getattr(strategy, name) is value for name, value in given.items())


@every_by
def test_the_same_random_state_gives_the_same_answer(by):
    state: Any = np.random.RandomState(3)
    strategy = AlmetaQuery(by, random_state=state)
    before = state.get_state()[1].copy()
    answers = [strategy.query(X, Y, batch_size=3, return_utilities=True) for _ in range(2)]
    np.testing.assert_array_equal(*(rows for rows, _ in answers))
    np.testing.assert_array_equal(*(utilities for _, utilities in answers))
    assert (state.get_state()[1] == before).all()
    picks = {int(AlmetaQuery("random", random_state=seed).query(X, Y)[0]) for seed in range(8)}
    assert len(picks) > 4


WRONG: dict[str, list[dict[str, Any]]] = {
    "X": [{"X": "text"}, {"X": np.vstack((X, X))}, {"X": np.where(X > 1, np.nan, X)}],
    "y": [{"y": np.nan}, {"y": np.column_stack((Y, Y))}],
    "candidates": [{"candidates": np.nan}, {"candidates": object}, {"candidates": [len(X)]}, {"candidates": X[:, :2]}],
    "batch_size": [{"batch_size": 0}, {"batch_size": 1.2}],
    "return_utilities": [{"return_utilities": "yes"}],
    "clf": [{"clf": "text"}, {"clf": LogisticRegression()}, {"clf": make_clf(missing_label=-1)}],
    "fit_clf": [{"fit_clf": "yes"}, {"fit_clf": False}],
}


@pytest.mark.parametrize("wrong", [one for cases in WRONG.values() for one in cases], ids=lambda one: next(iter(one)))
def test_mistakes_raise_what_theirs_raise(wrong):
    given = {"X": X, "y": Y, "clf": make_clf()} | wrong
    with pytest.raises((ValueError, TypeError)) as expected:
        theirs.UncertaintySampling().query(**given)
    with pytest.raises(expected.type):
        AlmetaQuery("margin").query(**given)


@pytest.mark.parametrize("wrong", [{"random_state": "text"}, {"random_state": np.nan}, {"missing_label": object}])
def test_wrong_parameters_raise_what_theirs_raise(wrong):
    with pytest.raises((ValueError, TypeError)) as expected:
        theirs.RandomSampling(**wrong).query(X, Y)
    with pytest.raises(expected.type):
        AlmetaQuery("margin", **wrong).query(X, Y)


def test_mistakes_in_our_own_parameters_are_told():
    with pytest.raises(AlmetaError, match="unknown strategy or policy 'margn'; did you mean 'margin'"):
        AlmetaQuery("margn").query(X, Y)
    with pytest.raises(AlmetaError, match="unknown learner"):
        AlmetaQuery("margin", learner="ridgy").query(X, Y)
    with pytest.raises(AlmetaError, match="unknown class '2.0'"):
        AlmetaQuery("margin", classes=[0, 1]).query(X, Y)
    with pytest.raises(ValueError, match="must not contain labeled"):
        AlmetaQuery("margin").query(X, Y, candidates=[0, 2])


@every_by
@pytest.mark.parametrize("labels", [0, 1, 3, len(X) - 1])
def test_any_number_of_labels_is_enough(by, labels):
    y = np.full(len(X), np.nan)
    y[:labels] = TRUE[:labels]
    rows, utilities = AlmetaQuery(by, random_state=0).query(X, y, clf=make_clf(), return_utilities=True)
    assert rows.shape == (1,) and rows[0] >= labels
    assert (np.isnan(utilities[0]) == ~np.isnan(y)).all()
    assert rows[0] in np.flatnonzero(utilities[0] == np.nanmax(utilities[0]))


KINDS = {
    "nan": (np.nan, [1.0, 2.0, 3.0], float),
    "number": (0, [1, 2, 3], int),
    "none": (None, [1, 2, 3], object),
    "none and texts": (None, ["A", "B", "C"], object),
    "texts": ("", ["A", "B", "C"], str),
}


@every_by
@pytest.mark.parametrize("missing, classes, kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("with_clf", [False, True])
def test_labels_of_any_kind_give_the_same_rows(by, missing, classes, kind, with_clf):
    y = np.full(len(X), missing, dtype="<U1" if kind is str else kind)
    for row in FIRST:
        y[row] = classes[int(TRUE[row])]
    clf = make_clf(classes=classes, missing_label=missing) if with_clf else None
    rows = AlmetaQuery(by, missing_label=missing, random_state=0).query(X, y, clf=clf, batch_size=2)
    plain = AlmetaQuery(by, random_state=0).query(X, Y, clf=make_clf() if with_clf else None, batch_size=2)
    assert rows.tolist() == plain.tolist()


@every_by
def test_a_batch_has_different_rows_and_the_utilities_of_each_pick(by):
    strategy = AlmetaQuery(by, random_state=0)
    rows, utilities = strategy.query(X, Y, batch_size=4, return_utilities=True)
    assert len(set(rows)) == 4 and set(rows) <= set(OPEN) and rows.dtype == np.int64
    assert utilities.shape == (4, len(X)) and utilities.dtype == np.float64
    for pick in range(4):
        assert set(np.flatnonzero(~np.isnan(utilities[pick]))) == set(OPEN) - set(rows[:pick])
        assert utilities[pick, rows[pick]] == np.nanmax(utilities[pick])
    assert strategy.query(X, Y, batch_size=4).tolist() == rows.tolist()


def test_a_batch_that_is_too_large_is_cut():
    y = TRUE.copy()
    y[:2] = np.nan
    with pytest.warns(UserWarning, match="'batch_size=2' was set"):
        assert set(AlmetaQuery("margin").query(X, y, batch_size=3)) == {0, 1}
    with pytest.warns(UserWarning, match="'batch_size=0' was set"):
        rows, utilities = AlmetaQuery("margin").query(X, TRUE, batch_size=3, return_utilities=True)
    assert rows.shape == (0,) and utilities.shape == (0, len(X))


@pytest.mark.parametrize("by", ["margin", "core_set", "entropy", "transfer"])
def test_candidates_may_be_row_numbers_or_rows(by):
    strategy = AlmetaQuery(by, random_state=0)
    everywhere, utilities = strategy.query(X, Y, return_utilities=True)
    named, same = strategy.query(X, Y, candidates=OPEN, return_utilities=True)
    np.testing.assert_array_equal(utilities, same)
    given, others = strategy.query(X, Y, candidates=X[OPEN], return_utilities=True)
    # The policy reads standard scores, in which the rounding of numbers that are nearly alike shows.
    np.testing.assert_allclose(others[0], utilities[0, OPEN], atol=5e-4 if by == "transfer" else 2e-5)
    assert everywhere[0] == named[0] == OPEN[given[0]]
    few = [40, 10, 30]
    rows, of_few = strategy.query(X, Y, candidates=few, batch_size=3, return_utilities=True)
    assert set(rows) == set(few)
    assert [np.flatnonzero(~np.isnan(line)).tolist() for line in of_few[:1]] == [sorted(few)]
    rows, of_few = strategy.query(X, Y, candidates=X[few], batch_size=3, return_utilities=True)
    assert sorted(rows) == [0, 1, 2] and of_few.shape == (3, 3)


def test_candidates_that_are_not_in_the_pool_are_judged():
    far = np.full((1, X.shape[1]), 9.0)
    rows, utilities = AlmetaQuery("core_set").query(
        X, Y, candidates=np.concatenate((X[OPEN], far)), return_utilities=True
    )
    assert rows.tolist() == [len(OPEN)]
    assert utilities.shape == (1, len(OPEN) + 1)


def test_before_two_classes_have_labels_candidates_count_too():
    y = np.full(len(X), np.nan)
    rows, utilities = AlmetaQuery("margin", random_state=0).query(
        X, y, candidates=[5, 6, 7], batch_size=2, return_utilities=True
    )
    assert len(set(rows)) == 2 and set(rows) <= {5, 6, 7}
    assert np.nansum(utilities, 1).tolist() == [1, 1] and utilities[[0, 1], rows].tolist() == [1, 1]
    assert (~np.isnan(utilities)).sum(1).tolist() == [3, 2]


@pytest.mark.parametrize("fit", [False, True])
@every_by
def test_the_classifier_is_left_as_it_was(by, fit):
    clf = make_clf() if fit else make_clf().fit(X, Y)
    before = pickle.dumps(clf)
    rows, utilities = AlmetaQuery(by, random_state=0).query(
        X, Y, clf=clf, fit_clf=fit, batch_size=3, return_utilities=True
    )
    assert pickle.dumps(clf) == before
    assert len(set(rows)) == 3 and (~np.isnan(utilities)).sum(1).tolist() == [len(OPEN) - pick for pick in range(3)]


@pytest.mark.parametrize("by, seen", [("margin", len(OPEN)), ("transfer", 20)])
def test_of_a_large_pool_a_policy_sees_a_part_and_a_strategy_all(by, seen, monkeypatch):
    monkeypatch.setattr("almeta.queries.labelling.MOST_ROWS", 20 + len(FIRST))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows, utilities = AlmetaQuery(by, random_state=0).query(X, Y, return_utilities=True)
    assert (~np.isnan(utilities)).sum() == seen and utilities[0, rows[0]] == np.nanmax(utilities)
    assert any("looks at 26 of the 60 rows" in str(one.message) for one in said) == (by == "transfer")


# ---- ours there: values


@pytest.mark.parametrize(
    "by, method, shift", [("margin", "margin_sampling", 1), ("entropy", "entropy", 0), ("least_confident",) * 2 + (0,)]
)
@pytest.mark.parametrize("fit", [False, True])
def test_uncertainty_of_a_classifier_of_theirs_has_their_utilities(by, method, shift, fit):
    clf = make_clf() if fit else make_clf().fit(X, Y)
    rows, utilities = AlmetaQuery(by).query(X, Y, clf=clf, fit_clf=fit, return_utilities=True)
    expected, their_utilities = theirs.UncertaintySampling(method).query(X, Y, clf, fit, return_utilities=True)
    np.testing.assert_allclose(utilities + shift, their_utilities, atol=1e-6)
    assert rows.tolist() == expected.tolist()


def test_a_fitted_classifier_is_used_as_it_is():
    elsewhere = make_clf().fit(X, (TRUE + 1) % 3)
    rows = AlmetaQuery("margin").query(X, Y, clf=elsewhere, fit_clf=False)
    assert rows.tolist() == theirs.UncertaintySampling("margin_sampling").query(X, Y, elsewhere, False).tolist()
    assert rows.tolist() != AlmetaQuery("margin").query(X, Y, clf=elsewhere).tolist()
    with pytest.raises(NotFittedError):
        AlmetaQuery("margin").query(X, Y, clf=make_clf(), fit_clf=False)


def test_core_set_has_their_utilities_and_their_batch():
    standard = scale(X)  # as almeta prepares rows
    rows, utilities = AlmetaQuery("core_set").query(standard, Y, batch_size=5, return_utilities=True)
    expected, their_utilities = theirs.CoreSet().query(standard, Y, batch_size=5, return_utilities=True)
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(utilities, their_utilities, rtol=1e-5)


def test_a_policy_picks_what_almeta_query_picks():
    rows, utilities = AlmetaQuery("transfer", budget=9).query(X, Y, batch_size=5, return_utilities=True)
    expected, of_picks = almeta.query(X, Y, 5, budget=9, return_utilities=True)
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(utilities[np.arange(5), rows], of_picks, rtol=1e-6)
    forest = AlmetaQuery("transfer", learner="random_forest").query(X, Y, batch_size=5)
    assert forest.tolist() != rows.tolist()


def test_a_loop_of_theirs_runs_by_a_policy():
    y, clf = Y.copy(), make_clf()
    strategy = AlmetaQuery("transfer", budget=12, random_state=0)
    for _ in range(4):
        rows = strategy.query(X, y, clf=clf, batch_size=3)
        y[rows] = TRUE[rows]
    assert (~np.isnan(y)).sum() == len(FIRST) + 12
    assert clf.fit(X, y).score(X, TRUE) > 0.9


# ---- theirs here

PAIRS = {
    "margin": {"name": "skactiveml.UncertaintySampling", "method": "margin_sampling"},
    "entropy": {"name": "skactiveml.UncertaintySampling", "method": "entropy"},
    "core_set": {"name": "skactiveml.CoreSet"},
}


def picks_of(strategy, learner="logistic_regression", name="wine", envs=3):
    simulation = PoolSimulation(
        [almeta.load_dataset(name)],
        PoolOptions(budget=8, pool_size=60),
        envs,
        torch.Generator().manual_seed(1),
        learner=make_learner(learner),
    )
    steps = play(simulation, make_strategy(strategy), greedy(torch.Generator().manual_seed(2)))
    return torch.stack([step.actions for step in steps])


@pytest.mark.parametrize("own, their", PAIRS.items(), ids=PAIRS)
@pytest.mark.parametrize("learner", ["logistic_regression", "ridge"])
def test_theirs_pick_what_ours_pick(own, their, learner):
    assert torch.equal(picks_of(own, learner), picks_of(their, learner))


@pytest.mark.parametrize("own, their", PAIRS.items(), ids=PAIRS)
def test_their_utilities_are_the_scores(own, their):
    state = make_pools(seed=1).state
    found, expected = utilities_of(make_strategy(their), state), utilities_of(make_strategy(own), state)
    shift = 1 if own == "margin" else 0
    torch.testing.assert_close(found, expected + shift, atol=1e-5, rtol=1e-5)


CANNOT = {
    "EpistemicUncertaintySampling": "`clf` must be of type `ParzenWindowClassifier`",
    "ExpectedErrorReduction": "not complete",  # the base class of others
    "FourDs": "_mixture_model_classifier",
    "ProbabilisticAL": "clf has no predict_freq",
}


@pytest.mark.parametrize("name", [name for name in theirs.__all__ if ours._is_for_pools(getattr(theirs, name))])
def test_every_strategy_for_classifiers_acts_or_says_why_not(name):
    state = make_pools().state
    if name in CANNOT:
        with pytest.raises(AlmetaError, match=f"strategy skactiveml.{name} .*{CANNOT[name]}"):
            utilities_of(make_strategy(f"skactiveml.{name}"), state)
        return
    found, again = (utilities_of(make_strategy(f"skactiveml.{name}"), state) for _ in range(2))
    assert torch.equal(found, again)
    assert torch.equal(found.isfinite(), state.available)


@pytest.mark.parametrize("name", ["ExpectedModelChangeMaximization", "SubSamplingWrapper", "uncertainty_scores", "x"])
def test_what_is_not_for_classifiers_is_unknown(name):
    with pytest.raises(AlmetaError, match=f"unknown strategy of scikit-activeml for classifiers '{name}'"):
        make_strategy(f"skactiveml.{name}")


class Second(theirs.RandomSampling):
    """Picks the second best row."""

    def __init__(self, power=1, missing_label=np.nan, random_state=None):
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.power = power

    def query(self, X, y, candidates=None, batch_size=1, return_utilities=False):
        utilities = np.full((1, len(X)), np.nan)
        utilities[0, candidates] = np.arange(len(candidates)) ** self.power
        return np.array([candidates[-2]]), utilities


def test_their_pick_goes_before_their_utilities_and_own_classes_of_theirs_can_be_registered():
    class Registered(ours.SkactivemlStrategy):
        name = "second"
        theirs = Second

    state = make_pools().state
    found = utilities_of(Registered(power=2), state)
    for pool in range(2):
        rows = state.available[pool].nonzero()[:, 0]
        squares = torch.arange(len(rows)).float() ** 2
        assert found[pool].argmax() == rows[-2]
        others = torch.arange(len(rows)) != len(rows) - 2
        assert torch.equal(found[pool, rows[others]], squares[others])
        torch.testing.assert_close(found[pool, rows[-2]], squares[-1])
    with pytest.raises(AlmetaError, match="did you mean 'power'"):
        check_call(Registered, {"powr": 2}, "strategy second")


@pytest.fixture
def setting():
    options = PoolOptions(budget=6, pool_size=60)
    return Setting(options, make_learner("logistic_regression"), Oracle(), repeats=3)


def test_a_benchmark_plays_theirs_beside_ours(setting, tmp_path):
    contenders = [StrategySpec.read(one) for one in ("margin", PAIRS["margin"], "skactiveml.RandomSampling")]
    curves = run_benchmark(["iris"], contenders, setting, tmp_path / "cells.sqlite").curves
    scores = {name: part["score"].to_numpy() for name, part in curves.groupby("strategy")}
    assert set(scores) == {
        "margin",
        "skactiveml.RandomSampling",
        "skactiveml.UncertaintySampling(method=margin_sampling)",
    }
    np.testing.assert_array_equal(scores["margin"], scores["skactiveml.UncertaintySampling(method=margin_sampling)"])
    assert (scores["margin"] != scores["skactiveml.RandomSampling"]).any()


def test_a_stored_cell_depends_on_the_version_of_their_package(setting, monkeypatch):
    def keys():
        return [setting.key("iris", "rows", StrategySpec.read(one)) for one in ("margin", "skactiveml.CoreSet")]

    before = keys()
    assert keys() == before
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"{package} 99")
    assert [one == other for one, other in zip(keys(), before, strict=True)] == [True, False]
