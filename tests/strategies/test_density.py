from dataclasses import replace

import pytest
import torch

from almeta.geometry import Geometry
from almeta.strategies.density import InformationDensity
from almeta.strategies.uncertainty import entropy, least_confident
from tests.strategies.pools import make_pools, utilities_of, with_probabilities


def score(state, beta, base="entropy"):
    return utilities_of(InformationDensity(beta=beta, base=base), state)


def test_by_hand():
    """Three rows at 0, 1 and 3 of a line; each is at distance 0 from itself."""
    x = torch.tensor([[[0.0], [1.0], [3.0]]])
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    state = replace(with_probabilities([[0.5, 0.5], [0.8, 0.2], [1.0, 0.0]]), x=x, geometry=Geometry(x, everywhere))
    density = [(1 + 1 / 2 + 1 / 4) / 3, (1 / 2 + 1 + 1 / 3) / 3, (1 / 4 + 1 / 3 + 1) / 3]
    expected = [1.0 * density[0] ** 2, 0.4 * density[1] ** 2, 0.0]  # 1 - (p1 - p2) is 1, .4 and 0
    assert score(state, 2, "margin")[0].tolist() == pytest.approx(expected)


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


def test_any_base_with_its_options():
    pools = make_pools()
    state, density = pools.state, pools.state.geometry.information_density
    nested = {"name": "information_density", "beta": 3, "base": "least_confident"}
    expected = (least_confident(state.probabilities) * density**5).masked_fill(~state.available, -torch.inf)
    torch.testing.assert_close(score(state, 2, nested), expected)


def test_the_default_is_entropy_to_the_last_bit():
    state = make_pools().state
    expected = (entropy(state.probabilities) * state.geometry.information_density).where(state.available, -torch.inf)
    assert torch.equal(utilities_of(InformationDensity(), state), expected)
