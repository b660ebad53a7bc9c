import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from almeta.learners import Ridge


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("rows, features", [(60, 5), (12, 40)])
@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_agrees_with_scikit_learn(classes, rows, features, alpha):
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(3, rows, features)) + 1, rng.normal(size=(3, 50, features)) + 1
    y = np.stack([rng.permutation(np.arange(rows) % classes) for _ in range(3)])
    given = torch.tensor(x).float(), torch.tensor(y), torch.ones(3, rows)
    model = Ridge(alpha=alpha).fit(*given, classes)
    decisions = model.decisions(torch.tensor(new).float()).numpy()
    predictions = model.probabilities(torch.tensor(new).float()).argmax(-1).numpy()
    for e in range(3):
        fitted = RidgeClassifier(alpha=alpha).fit(x[e], y[e])
        expected = fitted.decision_function(new[e])
        if classes == 2:
            expected = np.stack((-expected, expected), 1)
        np.testing.assert_allclose(decisions[e], expected, atol=1e-4)
        assert (predictions[e] == fitted.predict(new[e])).all()


def test_probabilities_are_odds_of_the_decision_values():
    x, y = torch.tensor([[[-1.0], [1.0]]]), torch.tensor([[0, 1]])
    model = Ridge(alpha=1e-9).fit(x, y, torch.ones(1, 2), 2)  # decision values 1 and -1 at the rows
    expected = torch.tensor([4.0, 0.0]).softmax(0)
    torch.testing.assert_close(model.probabilities(x)[0, 0], expected)
