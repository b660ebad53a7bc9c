import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from almeta.errors import AlmetaError
from almeta.learners import Scikit, make_learner, nearest_neighbours, svc


def problem(classes, rows=40, spread=0.7):
    rng = np.random.default_rng(0)
    y = np.arange(rows) % classes
    angle = 2 * np.pi * y / classes
    x = np.stack((np.cos(angle), np.sin(angle)), 1) + spread * rng.normal(size=(rows, 2))
    return x.astype(np.float32), y, rng.normal(size=(2000, 2)).astype(np.float32)


def fit(learner, x, y, classes):
    return learner.fit(torch.tensor(x)[None], torch.tensor(y)[None], torch.ones(1, len(y)), classes)


@pytest.mark.parametrize("gamma", ["auto", "scale", 0.7])
def test_svc_of_two_classes_keeps_predictions_and_order(gamma):
    x, y, new = problem(2)
    got = fit(svc(gamma=gamma), x, y, 2).probabilities(torch.tensor(new)[None])[0].numpy()
    expected = SVC(gamma=gamma).fit(x, y)
    assert (got.argmax(1) == expected.predict(new)).all()
    decisions = expected.decision_function(new)
    np.testing.assert_allclose(got[:, 1], 1 / (1 + np.exp(-decisions)), atol=1e-6)
    assert (np.diff(got[np.argsort(decisions), 1]) >= 0).all()


def test_svc_of_several_classes_keeps_predictions():
    """Of classes with equally many votes, SVC says the first, whatever their decision values are."""
    x, y, new = problem(5)
    got = fit(svc(), x, y, 5).probabilities(torch.tensor(new)[None])[0].numpy()
    expected = SVC(gamma="auto").fit(x, y)
    assert (expected.decision_function(new).argmax(1) != expected.predict(new)).any()  # there are such rows
    assert (got.argmax(1) == expected.predict(new)).all()
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-6)


def test_fewer_rows_than_neighbours():
    x, y, new = problem(2)
    got = fit(nearest_neighbours(n_neighbors=5), x[:3], y[:3], 2).probabilities(torch.tensor(new)[None])
    torch.testing.assert_close(got[0], torch.tensor([2 / 3, 1 / 3]).expand(len(new), 2))
    many = fit(nearest_neighbours(n_neighbors=5), x, y, 2).probabilities(torch.tensor(new)[None])[0].numpy()
    np.testing.assert_allclose(many, KNeighborsClassifier(5).fit(x, y).predict_proba(new), atol=1e-6)


def test_fractional_weights_go_to_classifiers_that_take_them():
    x, y, new = problem(2)
    weight = np.random.default_rng(1).random(len(y)).astype(np.float32)
    given = torch.tensor(x)[None], torch.tensor(y)[None], torch.tensor(weight)[None]
    got = svc().fit(*given, 2).probabilities(torch.tensor(new)[None])[0].numpy()
    decisions = SVC(gamma="auto").fit(x, y, weight).decision_function(new)
    np.testing.assert_allclose(got[:, 1], 1 / (1 + np.exp(-decisions)), atol=1e-6)
    with pytest.raises(AlmetaError, match="KNeighborsClassifier.*sample_weight"):
        nearest_neighbours().fit(*given, 2)


@pytest.mark.parametrize(
    "estimator, options, message",
    [
        ("sklearn.svm.SVM", {}, "'sklearn.svm.SVM', which is not there"),
        ("sklearn.swm.SVC", {}, "'sklearn.swm.SVC', which is not there"),
        ("sklearn", {}, "'sklearn'; it must be a classifier"),
        ("os.system", {}, "'os.system'; it must be a classifier"),
        ("sklearn.linear_model.Ridge", {}, "'sklearn.linear_model.Ridge'; it must be a classifier"),
        ("sklearn.base.clone", {}, "'sklearn.base.clone'; it must be a classifier"),
        ("sklearn.svm.SVC", {"gama": 1}, "sklearn.svm.SVC does not take its options.*gama"),
        ("sklearn.svm.SVC", {"kernel": "round"}, "sklearn.svm.SVC.*kernel.*round"),
    ],
)
def test_mistakes_are_told_at_once(estimator, options, message):
    with pytest.raises(AlmetaError, match=message):
        Scikit(estimator, options)


def test_a_classifier_that_cannot_be_fit():
    x, y, _ = problem(2, rows=2)
    learner = Scikit("sklearn.calibration.CalibratedClassifierCV", {})
    with pytest.raises(AlmetaError, match="CalibratedClassifierCV cannot be fit to 2 rows"):
        fit(learner, x, y, 2)


# --- of one's own ---


def in_a_loop(estimator, x, y, weight, new, classes):
    """What the classifier says of new rows, fit episode by episode to the rows that count; `[E, M, C]`."""
    wanted = np.zeros((len(x), new.shape[1], classes))
    for e in range(len(x)):
        rows = np.flatnonzero(weight[e])
        fitted = clone(estimator).fit(x[e][rows], y[e][rows])
        if hasattr(fitted, "predict_proba"):
            said = fitted.predict_proba(new[e])
        else:
            decisions = fitted.decision_function(new[e])
            assert decisions.ndim == 1  # two classes
            said = np.stack((1 / (1 + np.exp(decisions)), 1 / (1 + np.exp(-decisions))), 1)
        wanted[e][:, fitted.classes_] = said
    return wanted


@pytest.mark.parametrize(
    "estimator",
    [
        GaussianNB(),
        KNeighborsClassifier(3, weights="distance"),
        RidgeClassifier(alpha=0.3),
        make_pipeline(StandardScaler(), SVC(C=3)),
        make_pipeline(StandardScaler(), LogisticRegression(C=0.2)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_classifier_or_pipeline_says_what_it_says_in_a_plain_loop(estimator):
    rng = np.random.default_rng(0)
    y = np.tile([1, 3], (4, 10))  # two of four classes
    x = (rng.normal(size=(4, 20, 3)) * [1, 20, 300] + y[..., None]).astype(np.float32)
    new = (rng.normal(size=(4, 50, 3)) * [1, 20, 300]).astype(np.float32)
    weight = np.ones((4, 20), dtype=np.float32)
    weight[1, 5:], weight[2, ::3] = 0, 0
    learner = make_learner(estimator)
    given = torch.tensor(x), torch.tensor(y), torch.tensor(weight)
    got = learner.fit(*given, 4).probabilities(torch.tensor(new)).numpy()
    np.testing.assert_allclose(got, in_a_loop(estimator, x, y, weight, new, 4), atol=1e-6)
    assert (got[..., [0, 2]] == 0).all() and got[..., 1].std() > 0.1
    assert not hasattr(estimator, "classes_")  # it is cloned, and stays unfitted


def test_a_classifier_without_probabilities_and_decisions_is_taken_at_its_word():
    x, y, new = problem(3)
    estimator = VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression()), ("c", KNeighborsClassifier())])
    got = fit(make_learner(estimator), x, 2 * y, 5).probabilities(torch.tensor(new)[None])[0]
    said = clone(estimator).fit(x, 2 * y).predict(new)
    assert torch.equal(got, torch.nn.functional.one_hot(torch.from_numpy(said), 5).float())
