"""Asking and telling: what is chosen, and the answer in each corner."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import almeta
from almeta.errors import AlmetaError
from almeta.queries import Labelling, labelling
from almeta.strategies import make_strategy, strategy_names
from tests.strategies.pools import Prototypes

N = 200


@pytest.fixture
def points():
    """Two classes of 100 points each, left and right, and the labels of two of each."""
    random = np.random.default_rng(0)
    X = random.normal(size=(N, 3))
    X[:, 0] += np.where(np.arange(N) < N // 2, -2, 2)
    y = np.full(N, None, dtype=object)
    y[:2], y[-2:] = "left", "right"
    return X, y


@pytest.mark.parametrize("by", [*strategy_names("classes"), "transfer", {"name": "information_density", "beta": 2}])
def test_everybody_chooses_open_rows_each_once(points, by):
    X, y = points
    needs_more = isinstance(by, str) and by in strategy_names() and make_strategy(by).needs
    learner = Prototypes() if needs_more else None  # one that can do all that a strategy may need
    rows, utilities = almeta.query(X, y, n=7, by=by, learner=learner, return_utilities=True)
    assert (rows.dtype, rows.shape, utilities.shape) == (np.int64, (7,), (7,))
    assert len(set(rows.tolist())) == 7
    assert all(y[row] is None for row in rows)
    assert np.isfinite(utilities).all()
    assert np.array_equal(almeta.query(X, y, n=7, by=by, learner=learner), rows)  # the seed decides


def test_the_most_uncertain_row_is_first(points):
    X, y = points
    own = Labelling(X, y, by="margin")
    open_rows = np.array([label is None for label in y])
    gap = np.abs(own.probabilities()[:, 0] - 0.5)
    (row,) = own.ask(1).rows
    assert gap[row] == gap[open_rows].min()


def test_rows_that_are_asked_together_differ():
    """Two clouds on the border, one of them a little nearer: alone it would have all picks."""
    random = np.random.default_rng(1)
    clouds = np.array([[0.0, 1.0]] * 10 + [[0.02, -1.0]] * 10) + 0.005 * random.normal(size=(20, 2))
    X = np.concatenate([clouds, [[-2, 0], [2, 0]]])
    y = [None] * 20 + ["left", "right"]
    together = almeta.query(X, y, n=4, by="margin")
    assert {row // 10 for row in together.tolist()} == {0, 1}
    model = LogisticRegression().fit(X[-2:], y[-2:])
    assert {row // 10 for row in almeta.query(X, y, n=4, by="margin", learner=model).tolist()} == {0, 1}


def test_telling_is_as_labels_given_at_once(points):
    X, y = points
    own = Labelling(X, y, by="margin")
    rows = own.ask(3).rows
    own.tell(rows, ["left", "right", None])
    y[rows[0]], y[rows[1]] = "left", "right"
    assert np.array_equal(own.labels >= 0, [label is not None for label in y])
    assert own.probabilities() == pytest.approx(Labelling(X, y).probabilities(), abs=2e-3)
    assert rows[2] not in own.ask(193, explain=False).rows.tolist()  # nobody can label it


def test_asking_changes_nothing(points):
    own = Labelling(*points, by="transfer")
    before = own.probabilities()
    own.ask(5)
    assert np.array_equal(own.probabilities(), before)
    assert (own.labels >= 0).sum() == 4


# ---- corners


def test_no_label_at_all_gives_the_middle_of_each_cluster():
    centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    random = np.random.default_rng(0)
    X = np.repeat(centres, 25, 0) + random.normal(size=(100, 2)) * 0.5
    for by in ("transfer", "margin", "entropy"):
        rows = almeta.query(X, None, n=4, by=by)
        assert sorted(row // 25 for row in rows.tolist()) == [0, 1, 2, 3]
        assert np.linalg.norm(X[rows] - centres[rows // 25], axis=1).max() < 0.5
    # A strategy that needs no learner's opinion goes its own way.
    assert sorted(row // 25 for row in almeta.query(X, None, n=4, by="core_set").tolist()) == [0, 1, 2, 3]
    begins = {"name": "schedule", "first": "core_set", "then": "margin", "after": 10}
    scheduled = almeta.query(X, None, n=4, by=begins)
    assert np.array_equal(scheduled, almeta.query(X, None, n=4, by="core_set"))
    assert len(set(almeta.query(X, None, n=100).tolist())) == 100


def test_one_class_only_gives_clusters_without_a_label():
    centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    X = np.repeat(centres, 25, 0) + np.random.default_rng(0).normal(size=(100, 2)) * 0.5
    y = ["a"] + [None] * 99
    assert {row // 25 for row in almeta.query(X, y, n=3).tolist()} == {1, 2, 3}


def test_equal_rows_without_a_label():
    assert sorted(almeta.query(np.ones((6, 2)), None, n=6)) == [0, 1, 2, 3, 4, 5]


def test_all_rows_labelled_and_fewer_left_than_asked(points):
    X, y = points
    full: list[str | None] = ["a", "b"] * (N // 2)
    with pytest.warns(UserWarning, match="no row is left that has no label"):
        assert almeta.query(X, full, n=5).tolist() == []
    full[7] = full[9] = None
    with pytest.warns(UserWarning, match="5 rows are asked for, but only 2 rows have no label"):
        assert sorted(almeta.query(X, full, n=5)) == [7, 9]
    with pytest.raises(AlmetaError, match="n is 0; it must be"):
        almeta.query(X, y, n=0)


def test_many_rows_are_looked_at_in_part(points, monkeypatch):
    X, y = points
    monkeypatch.setattr(labelling, "MOST_ROWS", 50)
    for learner in (None, KNeighborsClassifier()):
        with pytest.warns(UserWarning, match="looks at 50 of the 200 rows"):
            rows = almeta.query(X, y, n=46, learner=learner)
        assert len(set(rows.tolist())) == 46
        assert all(y[row] is None for row in rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        almeta.query(X, y, n=5, by="margin")


# ---- classifiers of one's own


def test_a_fitted_classifier_is_used_as_it_is(points):
    X, _ = points
    model = LogisticRegression().fit(X, np.where(X[:, 1] > 0, "up", "down"))  # not the classes of y
    gap = np.abs(model.predict_proba(X)[:, 0] - 0.5)
    own = Labelling(X, None, by="margin", learner=model)
    assert own.classes == ("down", "up")
    assert own.ask(1).rows.tolist() == [gap.argmin()]
    assert own.probabilities() == pytest.approx(model.predict_proba(X), abs=1e-6)
    own.tell([0], ["up"])
    assert own.probabilities() == pytest.approx(model.predict_proba(X), abs=1e-6)


@pytest.mark.parametrize(
    "model", [KNeighborsClassifier(), RandomForestClassifier(10), LinearSVC(), LogisticRegression()]
)
def test_a_classifier_is_fit_to_the_rows_as_they_are(points, model):
    X, y = points
    own = Labelling(X, y, by="margin", learner=model)
    assert own.probabilities().sum(1) == pytest.approx(np.ones(N), abs=1e-5)
    if isinstance(model, LogisticRegression):
        known = [0, 1, N - 2, N - 1]
        expected = LogisticRegression().fit(X[known], y[known].astype(str)).predict_proba(X)
        assert own.probabilities() == pytest.approx(expected, abs=1e-6)
    assert len(own.ask(5).rows) == 5
    assert not hasattr(model, "classes_")


def test_a_pipeline_reads_texts():
    texts = ["good film", "fine film", "bad film", "awful film"] * 10
    y = ["+", None, "-", None] + [None] * 36
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression())
    own = Labelling(texts, y, by="transfer", learner=pipeline)
    assert own.probabilities()[[0, 2]].argmax(1).tolist() == [0, 1]
    assert len(own.ask(4).rows) == 4


def test_a_committee_refits_a_classifier_of_ones_own(points):
    X, y = points
    assert len(almeta.query(X, y, n=3, by="vote_entropy", learner=KNeighborsClassifier())) == 3


def test_a_frame_with_text_and_a_plain_classifier(points):
    frame = pd.DataFrame({"size": [1.0, 2, 3, 4], "colour": ["red", "blue", "red", "blue"]})
    with pytest.raises(
        AlmetaError, match="cannot be fit to 2 rows of X as they are: .*; give it more labels, or a pipeline"
    ):
        Labelling(frame, ["a", "b", None, None], learner=LogisticRegression())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "margni"}, "unknown strategy or policy 'margni'; did you mean 'margin'"),
        ({"by": 3}, "by is 3; give the name of a strategy or policy"),
        ({"by": {"name": "margin", "beta": 2}}, "beta"),
        ({"learner": "svm"}, "unknown learner 'svm'; did you mean 'svc'"),
        ({"learner": torch.nn.Linear(1, 1)}, "learner"),
        ({"classes": ["left"]}, "unknown class 'right'"),
        ({"n": 2.0}, r"n is 2\.0; it must be a whole number of at least 1"),
        ({"n": "3"}, "n is '3'"),
        ({"n": True}, "n is True"),
        ({"budget": 0}, "budget is 0"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"X": None}, "X is None; give rows"),
        ({"learner": GridSearchCV(LogisticRegression(), {"C": [1, 2]})}, "give it more labels, or a pipeline"),
    ],
)
def test_names_that_are_not_there(points, options, message):
    X, y = points
    with pytest.raises(AlmetaError, match=message):
        almeta.query(**{"X": X, "y": y} | options)


def test_labels_told_must_be_classes(points):
    own = Labelling(*points)
    with pytest.raises(AlmetaError, match="unknown class 'rihgt'; did you mean 'right'"):
        own.tell([50], ["rihgt"])
    with pytest.raises(AlmetaError, match="row 0 was picked before"):
        own.tell([0], ["left"])
    for row, message in [(-1, "rows are -1 to -1"), (8.7, "rows are float64"), (N, "must be from 0 to 199")]:
        with pytest.raises(AlmetaError, match=message):
            own.tell([row], ["left"])
    with pytest.raises(AlmetaError, match="no class is known yet"):
        Labelling(points[0]).tell([0], ["left"])


def test_a_single_row_may_be_told(points):
    own = Labelling(*points)
    own.tell(50, ["left"])
    assert own.labels[50] == 0


def test_among_some_rows(points):
    own = Labelling(*points, by="margin")
    assert set(own.ask(3, among=[50, 60, 70]).rows.tolist()) == {50, 60, 70}
    mask = np.isin(np.arange(N), [50, 60, 70])
    assert set(own.ask(3, among=mask).rows.tolist()) == {50, 60, 70}
    with pytest.warns(UserWarning, match="no row is left"):
        assert own.ask(3, among=[]).rows.tolist() == []
    with pytest.raises(AlmetaError, match="rows are -1 to -1"):
        own.ask(1, among=[-1])


def test_a_fitted_classifier_must_know_no_other_classes(points):
    model = LogisticRegression().fit(points[0], np.arange(N) % 3)
    with pytest.raises(AlmetaError, match="knows the class 2, which is not in classes"):
        Labelling(points[0], None, learner=model, classes=[0, 1])


def test_hidden_labels_do_not_matter(points):
    """The same rows in another order: the same are chosen, wherever they stand."""
    X, y = points
    order = np.random.default_rng(5).permutation(N)
    (row,) = almeta.query(X, y, n=1, by="margin")
    (moved,) = almeta.query(X[order], y[order], n=1, by="margin")
    assert order[moved] == row
