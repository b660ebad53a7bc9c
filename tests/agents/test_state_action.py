"""The network of LAL-RL, held to a plain transcription."""

import numpy as np
import torch

from almeta.agents import StateActionNetwork
from almeta.inputs import LalRL, PoolView
from tests.agents.pools import scramble


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def view(pools=3, rows=5):
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randn(pools, rows, 3, generator=generator)
    pool = torch.randn(pools, 30, generator=generator)
    return PoolView(candidates, pool, torch.ones(pools, rows, dtype=torch.bool))


def test_utilities_and_value_are_those_of_a_plain_loop():
    network = scramble(StateActionNetwork(LalRL(), num_values=1, hidden_size=4, joint_size=3))
    seen = view()
    utilities, value, memory = network.step(seen, network.initial(3))
    weights = {name: weight.detach().double().numpy() for name, weight in network.named_parameters()}

    def layer(name, x):
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    assert memory == () and utilities.shape == (3, 5) and value.shape == (3,)
    for e in range(3):
        state = sigmoid(layer("state", seen.pool[e].double().numpy()))
        assert state.shape == (4,)
        np.testing.assert_allclose(value[e].item(), layer("value", state)[0], atol=1e-5)
        for row in range(5):
            joint = sigmoid(layer("joint", np.concatenate((state, seen.candidates[e, row].double().numpy()))))
            np.testing.assert_allclose(utilities[e, row].item(), layer("utility", joint)[0], atol=1e-5)


def test_it_begins_near_the_first_utility_and_has_no_value_unasked():
    network = StateActionNetwork(LalRL(), first_utility=-10.0)
    utilities, value, _ = network.step(view(), ())
    assert value is None and not any("value" in name for name, _ in network.named_parameters())
    assert abs(utilities.mean() + 10) < 3 and utilities.std() > 0
