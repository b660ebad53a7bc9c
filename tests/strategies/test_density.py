import pytest
import torch

from almeta.strategies.density import InformationDensity
from almeta.strategies.uncertainty import entropy
from tests.strategies.pools import make_pools, utilities_of


def score(state, beta):
    return utilities_of(InformationDensity(beta=beta), state)


@pytest.mark.parametrize("beta", [0, 0.5, 1, 3])
def test_entropy_times_density_to_the_power_of_beta(beta):
    state = make_pools(labelled=(0, 0)).state
    similarity = 1 / (1 + torch.cdist(state.x[1, :11], state.x[1, :11]))
    wanted = entropy(state.probabilities[1, :11]) * similarity.mean(1) ** beta
    torch.testing.assert_close(score(state, beta)[1, :11], wanted)


def test_values_against_modal():
    density = pytest.importorskip("modAL.density").information_density
    state = make_pools(sizes=(40,), columns=(5,), classes=(3,), labelled=(0,)).state
    theirs = torch.from_numpy(density(state.x[0].numpy().copy(), "euclidean")).float()
    torch.testing.assert_close(score(state, 1)[0], entropy(state.probabilities[0]) * theirs)


def test_an_outlier_is_left_alone_once_density_counts():
    pools = make_pools(sizes=(30,), columns=(2,), classes=(2,), labelled=(6,))
    state = pools.state
    outlier = int(state.available[0].nonzero()[0])
    state.x[0, outlier] = 100.0
    state.probabilities[0, outlier] = 0.5
    assert score(state, 0).argmax() == outlier
    assert score(state, 1).argmax() != outlier
