import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from almeta.errors import AlmetaError
from almeta.learners import Scikit, nearest_neighbours, svc


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
