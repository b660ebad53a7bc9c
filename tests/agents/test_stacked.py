"""Agents that learn at once do what each of them does alone."""

import copy
import functools
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import nn

from almeta.agents.agent import outputs_for
from almeta.agents.networks import LSTMNetwork
from almeta.agents.stacked import StackedLinear, paired_weights, stack_agents, stack_networks, unstack
from almeta.envs import StreamRewards
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.tasks import class_margins
from almeta.training.trainer import clip_gradients
from tests.agents.streams import NETWORKS, PIXELS, SLOTS, make_agent, make_streams, play_exploring, small_network

TARGETED = {"through_target": False, "target_rate": 0.5, "last_step": "terminal"}
PRICES = (-1.0, -5.0, -20.0)


def agents_of(network, number=3, **options):
    return [make_agent("QLearning", small_network(network), seed, **options) for seed in range(number)]


def played_at_once(agents, each=2):
    """Return the agent that stands for all, and what it played."""
    together: Any = stack_agents(agents)
    streams: Any = make_streams(num_envs=each * len(agents))
    streams.block_rewards = [StreamRewards(incorrect=price) for price in PRICES[: len(agents)]]
    rollout: Any = play_exploring(streams, together)
    return together, rollout


def block(state, number, each=2):
    """Return the part of a state that one agent saw."""
    rows = slice(number * each, (number + 1) * each)
    parts = {one.name: getattr(state, one.name) for one in fields(state)}
    return replace(state, **{name: part[rows] for name, part in parts.items() if part is not None})


@pytest.mark.parametrize(
    "network, options",
    [*((name, {}) for name in NETWORKS), ("EpisodicNetwork", {"guesses": True, "order": True, "residual": True})],
)
def test_each_acts_and_learns_as_it_does_alone(network, options):
    agents = [make_agent("QLearning", small_network(network, **options), seed, **TARGETED) for seed in range(3)]
    together, rollout = played_at_once(agents)
    losses = [together.loss(part)[0] for part in rollout.blocks(3)]
    torch.stack(losses).sum().backward()
    for number, (agent, part) in enumerate(zip(agents, rollout.blocks(3), strict=True)):
        images = rollout.images[:, 2 * number : 2 * number + 2]
        alone = replace(part, views=[block(view, number) for view in rollout.views], images=images)
        utilities, values = outputs_for(alone, agent.network, agent.initial(2))
        torch.testing.assert_close(part.utilities, utilities)
        loss, _ = agent.loss(replace(alone, utilities=utilities, values=values))
        torch.testing.assert_close(losses[number], loss)
        loss.backward()
        for own, stacked in paired_weights(together.network, agent.network):
            gradient: Any = stacked.grad
            torch.testing.assert_close(gradient[number], own.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distort", [0.0, 0.5])
def test_each_has_the_codes_of_its_own_encoder(distort):
    agents = agents_of("EpisodicNetwork")
    agents[1].network.encoder = agents[0].network.encoder
    together, rollout = played_at_once([*agents, copy.deepcopy(agents[0])][:3])
    streams: Any = make_streams(num_envs=6, distort=distort)
    streams.reset()
    streams.show_to(together)
    for number, agent in enumerate(agents):
        items = torch.stack(streams._items)[:, 2 * number : 2 * number + 2]
        torch.testing.assert_close(items, agent.encode(streams.images[:, 2 * number : 2 * number + 2]))
    assert len(together.network.encoder) == 2  # the shared one is held once
    assert rollout.utilities.shape == (8, 6, SLOTS + 1)


def test_each_has_the_streams_that_are_hard_for_its_own_encoder():
    agents = agents_of("EpisodicNetwork")
    streams: Any = make_streams(num_envs=6, margin_candidates=4)
    plain: Any = make_streams(num_envs=24)
    streams.expect(stack_agents(agents))
    streams.reset()
    plain.reset()
    for number, agent in enumerate(agents):
        block = slice(8 * number, 8 * number + 8)
        margins = class_margins(agent.encode(plain.images[:, block]), plain.tasks.targets[:, block], SLOTS)
        kept = 8 * number + torch.tensor([0, 4]) + margins.view(2, 4).argmin(1)
        assert torch.equal(streams.tasks.items[:, 2 * number : 2 * number + 2], plain.tasks.items[:, kept])


def test_each_block_has_its_rewards():
    _, rollout = played_at_once(agents_of("LSTMNetwork", gamma=0.5), each=20)
    for price, part in zip(PRICES, rollout.blocks(3), strict=True):
        wrong = (part.actions != part.targets) & (part.actions != SLOTS)
        assert wrong.any()
        assert part.rewards[wrong].unique().tolist() == [price]


def test_unstacking_gives_the_weights_back():
    agents = agents_of("MANNNetwork")
    together, _ = played_at_once(agents)
    before = [copy.deepcopy(agent.network.state_dict()) for agent in agents]
    with torch.no_grad():
        for weight in together.network.parameters():
            weight.add_(torch.arange(3.0).view(3, *[1] * (weight.dim() - 1)))
    unstack(together)
    for number, (agent, old) in enumerate(zip(agents, before, strict=True)):
        for name, weight in agent.network.state_dict().items():
            torch.testing.assert_close(weight, old[name] + number)


def test_gradients_are_clipped_for_each_run():
    layers = [nn.Linear(2, 2) for _ in range(2)]
    stacked = StackedLinear(layers)
    x = torch.tensor([[3.0, 4.0], [0.03, 0.04]])
    stacked(x).sum().backward()
    for layer, one in zip(layers, x, strict=True):
        layer(one).sum().backward()
        clip_gradients(layer, 1.0)
    clip_gradients(stacked, 1.0, runs=2)
    for name, weight in stacked.named_parameters():
        alone: Any = [layer.get_parameter(name).grad for layer in layers]
        torch.testing.assert_close(weight.grad, torch.stack(alone))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (small_network("EpisodicNetwork", fine_tune=True), "fine_tune=true trains an encoder for each run"),
        (functools.partial(NETWORKS["LSTMNetwork"], hidden_size=4), None),
    ],
)
def test_what_cannot_be_stacked_is_told(network, said):
    made = network(inputs=Images(PIXELS, SLOTS))
    if said is None:
        made.head = nn.Sequential(made.head, nn.LayerNorm(SLOTS + 1))
        said = "cannot train LayerNorm for several runs"
    with pytest.raises(AlmetaError, match=said):
        stack_networks([made, made])


def test_a_network_with_weights_of_its_own_is_told():
    class Scaled(LSTMNetwork):
        def __post_init__(self):
            super().__post_init__()
            self.scale = nn.Parameter(torch.ones(()))

    with pytest.raises(AlmetaError, match="cannot train Scaled for several runs"):
        stack_networks([Scaled(inputs=Images(PIXELS, SLOTS), hidden_size=4)] * 2)
