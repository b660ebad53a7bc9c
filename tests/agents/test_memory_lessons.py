"""Every memory with the agents that look at a batch again: target networks, double Q and dueling, and epochs of PPO."""

import copy
import itertools
from typing import Any

import pytest
import torch

from almeta.seeding import make_generator
from almeta.training.rollout import play
from tests.agents.streams import NETWORKS, make_agent, make_streams, play_exploring, small_network

TARGETED: dict[str, Any] = {"through_target": False, "last_step": "terminal", "target_rate": 0.25, "double_q": True}
EPOCHS = 3

every_memory = pytest.mark.parametrize("memory", NETWORKS)


def double_q(memory, **network):
    """Return Q-learning with double Q, a dueling network and a target network."""
    return make_agent("QLearning", small_network(memory, dueling=True, **network), **TARGETED)


def ppo(memory, **network):
    return make_agent("PPO", small_network(memory, **network), update_epochs=EPOCHS, gae_lambda=0.9)


def optimizer_of(agent):
    return torch.optim.SGD([weights for weights in agent.parameters() if weights.requires_grad], 0.05)


def descend(agent, lesson, optimizer):
    loss, _ = agent.loss(lesson)
    assert loss.isfinite()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def played_again(agent, network, simulation, rollout):
    """Return the utilities `[T, E, A]` of a network that plays the same streams with the same actions, step by step."""
    other, actions = copy.deepcopy(agent), iter(rollout.actions)
    other.network = network
    steps = play(simulation, other, lambda utilities, mask: next(actions), simulation.tasks)
    return torch.stack([step.outputs.utilities for step in steps])


@every_memory
@pytest.mark.parametrize("network", [{}, {"code_size": 6, "channels": 4, "fine_tune": True}])
def test_targets_are_what_the_target_network_would_have_said(memory, network):
    agent, simulation, luck = double_q(memory, **network), make_streams(), make_generator(0, "policy")
    optimizer = optimizer_of(agent)
    for batch in range(3):
        rollout = play_exploring(simulation, agent, luck)
        for lesson in agent.lessons(rollout, luck):
            (target,) = agent._target
            expected = played_again(agent, target, simulation, rollout)
            torch.testing.assert_close(lesson.target_utilities, expected, rtol=1e-4, atol=1e-5)
            assert torch.allclose(lesson.target_utilities, lesson.utilities) is (batch == 0)  # it starts as the network
            descend(agent, lesson, optimizer)


@every_memory
def test_each_epoch_of_ppo_is_of_the_weights_after_the_one_before(memory):
    agent, simulation, luck = ppo(memory), make_streams(), make_generator(0, "policy")
    optimizer = optimizer_of(agent)
    rollout, seen = play_exploring(simulation, agent, luck), []
    for lesson in agent.lessons(rollout, luck):
        expected = played_again(agent, agent.network, simulation, rollout)
        torch.testing.assert_close(lesson.utilities, expected, rtol=1e-4, atol=1e-5)
        seen.append(lesson.utilities.detach())
        descend(agent, lesson, optimizer)
    assert len(seen) == EPOCHS
    assert all(not torch.allclose(one, other) for one, other in itertools.pairwise(seen))


@every_memory
@pytest.mark.parametrize("make", [double_q, ppo])
def test_a_few_batches_move_every_weight_and_are_the_same_with_the_same_seed(memory, make):
    def learnt():
        agent, simulation, luck = make(memory), make_streams(), make_generator(0, "policy")
        before, optimizer = copy.deepcopy(agent.state_dict()), optimizer_of(agent)
        for _ in range(3):
            for lesson in agent.lessons(play_exploring(simulation, agent, luck), luck):
                descend(agent, lesson, optimizer)
        return before, agent

    (before, one), (_, other) = learnt(), learnt()
    for name, weights in one.named_parameters():
        assert weights.isfinite().all()
        assert torch.equal(weights, before[name]) is not weights.requires_grad, name
        assert torch.equal(weights, dict(other.named_parameters())[name]), name


@every_memory
def test_what_is_learnt_goes_on_from_a_checkpoint_with_its_target_network(memory):
    agent, simulation, luck = double_q(memory), make_streams(), make_generator(0, "policy")
    optimizer = optimizer_of(agent)
    for _ in range(2):
        for lesson in agent.lessons(play_exploring(simulation, agent, luck), luck):
            descend(agent, lesson, optimizer)
    resumed = double_q(memory)
    resumed.load_state_dict(copy.deepcopy(agent.state_dict()))
    resumed.load_learning_state(copy.deepcopy(agent.learning_state()))
    rollout = play_exploring(simulation, agent, luck)
    lessons = [next(each.lessons(rollout, make_generator(1, "lessons"))) for each in (agent, resumed)]
    assert torch.equal(lessons[0].target_utilities, lessons[1].target_utilities)
    assert not torch.allclose(lessons[0].target_utilities, lessons[0].utilities)
