"""The contract of inputs, sets of one's own, and masks."""

import numpy as np
import pytest
import torch

from almeta.agents import GroupReinforce, PoolScorer
from almeta.data import load_dataset
from almeta.envs import PoolSelectionEnv
from almeta.errors import AlmetaError
from almeta.inputs import Candidates, Columns, LalRL, LookAheadCandidates, PoolInputs
from almeta.inputs.inputs import read_mask, read_starts
from tests.strategies.pools import asked_of, make_pools

CPU = torch.device("cpu")


class Two(PoolInputs):
    """Two numbers about each row, none about the pool."""

    candidate_names = ("first feature", "top probability")
    pool_names = ()

    def read(self, state):
        candidates = torch.stack((state.x[..., 0], state.probabilities.amax(-1)), -1)
        return candidates, candidates.new_zeros(len(candidates), 0)


# --- sets of one's own ---


def test_rows_that_may_not_be_picked_are_hidden():
    state = make_pools(labelled=(4, 3)).state
    view = Two()(state)
    assert Two().names == ("first feature", "top probability")
    assert view.candidates.shape == (2, 14, 2) and view.pool.shape == (2, 0)
    assert torch.equal(view.action_mask, state.available) and view.start is None
    assert (view.candidates[~state.available] == 0).all()
    assert torch.equal(view.candidates[..., 0][state.available], state.x[..., 0][state.available])
    assert torch.equal(view.candidates[..., 1][state.available], state.probabilities.amax(-1)[state.available])


@pytest.mark.parametrize(
    "inputs", [Candidates(), LookAheadCandidates(), LalRL(5), Columns()], ids=lambda one: type(one).__name__
)
def test_a_row_counts_once_however_many_annotators_may_be_asked_about_it(inputs):
    """Each question is told what is told of its row where nobody else may be asked, and so is the pool."""
    alone, several = make_pools(sizes=(18, 11)), asked_of(make_pools(sizes=(18, 11)), 3)
    expected, found = inputs(alone.state), inputs(several.state)
    assert torch.equal(found.action_mask, expected.action_mask.repeat_interleave(3, 1))
    if isinstance(inputs, Columns):
        torch.testing.assert_close(found.columns, expected.columns)
        return
    torch.testing.assert_close(found.candidates, expected.candidates.repeat_interleave(3, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.pool, expected.pool, atol=1e-5, rtol=1e-5)


def test_a_set_without_numbers_says_so():
    with pytest.raises(NotImplementedError):
        PoolInputs()(make_pools().state)


def test_a_scorer_reads_two_numbers():
    def make_network(inputs, num_values):
        network = PoolScorer(inputs, num_values, hidden_size=8, prior="none")
        torch.nn.init.normal_(network.score.weight, generator=torch.Generator().manual_seed(0))
        return network

    agent = GroupReinforce(make_network, Two())
    assert agent.network.embed[0].in_features == 2
    state = make_pools().state
    outputs, memory = agent.step(state, agent.initial(2))
    assert outputs.utilities.shape == (2, 14) and memory == ()
    # equal rows have equal scores, others not
    state.x[0, :, 0], state.probabilities[0] = 1.0, 1 / 3
    scores = agent.step(state, ())[0].utilities[0]
    torch.testing.assert_close(scores[state.available[0]], scores[state.available[0]][:1].expand(10))
    assert outputs.utilities[0, state.available[0]].std() > 0.01


@pytest.mark.parametrize("prior", ["margin", "entropy"])
def test_a_prior_that_the_inputs_lack_is_told(prior):
    with pytest.raises(
        AlmetaError, match=rf"network.prior is '{prior}', but the inputs have no '{prior}'; set it to none"
    ):
        PoolScorer(Two(), prior=prior)


def test_an_environment_shows_them():
    env = PoolSelectionEnv(load_dataset("iris"), pool_size=20, budget=2, inputs=Two())
    observation, info = env.reset(seed=0)
    assert observation["candidates"].shape == (20, 2) and observation["pool"].shape == (0,)
    view, single = Two().observed(observation, None, None, CPU)
    assert single
    expected = Two()(env.batch.simulation.state())
    assert torch.equal(view.candidates, expected.candidates)
    assert torch.equal(view.action_mask, expected.action_mask)
    assert view.action_mask.sum() == info["action_mask"].sum() == 17


# --- masks ---


def test_a_mask_becomes_bool():
    for kind in (np.int8, np.float32, np.int64, bool):
        mask = read_mask(np.array([[1, 0], [0, 1]], kind), (2, 2), CPU)
        assert mask.dtype == torch.bool and mask.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("shape", [(2,), (2, 3), (3, 2), (1, 2, 2), ()])
def test_a_mask_of_another_shape_is_told(shape):
    with pytest.raises(AlmetaError, match=r"the action mask has the shape \[.*\]; here it is \[2, 2\]"):
        read_mask(np.ones(shape), (2, 2), CPU)


@pytest.mark.parametrize("mask", [[[0, 0], [0, 0]], [[1, 1], [0, 0]]])
def test_a_mask_that_allows_nothing_is_told(mask):
    with pytest.raises(AlmetaError, match="the action mask allows nothing; at least one action must be 1 in each"):
        read_mask(mask, (2, 2), CPU)


# --- starts ---


@pytest.mark.parametrize(
    "start, expected",
    [
        (None, None),
        (True, [True] * 3),
        (False, [False] * 3),
        (np.array([True, False, True]), [True, False, True]),
        ([False, False, True], [False, False, True]),
    ],
)
def test_starts_of_all_or_of_each(start, expected):
    found = read_starts(start, 3, CPU)
    torch.testing.assert_close(found, None if expected is None else torch.tensor(expected))
