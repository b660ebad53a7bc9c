import numpy as np
import torch
from sklearn.neighbors import NearestCentroid

from almeta.learners import Prototype


def test_predictions_are_those_of_the_nearest_centroid():
    rng = np.random.default_rng(0)
    y = np.stack([rng.permutation(np.arange(30) % 5) for _ in range(4)])
    x, new = rng.normal(size=(4, 30, 6)) + 0.5 * y[..., None], rng.normal(size=(4, 100, 6)) + 1
    model = Prototype().fit(torch.tensor(x).float(), torch.tensor(y), torch.ones(4, 30), 5)
    got = model.probabilities(torch.tensor(new).float()).argmax(-1).numpy()
    for e in range(4):
        fitted = NearestCentroid().fit(x[e], y[e])
        np.testing.assert_allclose(model.means[e].numpy(), fitted.centroids_, atol=1e-5)
        assert (got[e] == fitted.predict(new[e])).all()


def test_probabilities_by_hand():
    """Means 0 and 2 of one feature; a column that an episode lacks does not count as a feature."""
    x, y = torch.tensor([[[-1.0, 0], [1, 0], [2, 0]]]), torch.tensor([[0, 0, 1]])
    new = torch.tensor([[[0.5, 0.0]]])
    for temperature in (1.0, 4.0):
        got = Prototype(temperature=temperature).fit(x, y, torch.ones(1, 3), 2).probabilities(new)
        expected = (torch.tensor([[[-0.25, -2.25]]]) / temperature).softmax(-1)
        torch.testing.assert_close(got, expected)
