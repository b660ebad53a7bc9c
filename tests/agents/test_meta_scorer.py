"""The network that writes another one's weights: its formulas in NumPy, what scores may depend on, and its own loss."""

import dataclasses

import numpy as np
import pytest
import torch

from almeta.agents import GroupReinforce, MetaScorer
from almeta.errors import AlmetaError
from almeta.geometry import Geometry
from almeta.inputs import Candidates, Columns, ColumnsView
from tests.agents.kinds import make_actor
from tests.agents.pools import make_pool_agent, make_pools, scramble
from tests.agents.streams import play_exploring
from tests.strategies import pools

COLUMNS = Columns()


def make(**options):
    return scramble(MetaScorer(COLUMNS, **({"hidden_size": 6} | options)))


def read(**options):
    return COLUMNS(pools.make_pools(**options).state)


def layers(module):
    """What a network of linear layers with a ReLU between them does, in NumPy."""
    first, _, second = module

    def linear(layer, x):
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    return lambda x: linear(second, np.maximum(linear(first, x), 0))


def codes_of(network, rows, columns):
    """W_e^T z for rows `[n, D]`, over the root of the number of columns."""
    written = np.stack([layers(network.encoder)(column) for column in columns])  # W_e [D, H]
    return np.stack([sum(z * w for z, w in zip(row, written, strict=True)) for row in rows]) / np.sqrt(len(columns))


def test_scores_and_value_are_those_of_the_formulas():
    network, view = make(), read()
    scores, value, memory = network.step(view, network.initial(2))
    for e, (size, width) in enumerate(((14, 3), (11, 2))):
        rows, columns = view.rows[e, :size, :width].numpy(), view.columns[e, :width].numpy()
        phi = layers((network.mix, None, network.score))
        expected = phi(codes_of(network, rows, columns))[:, 0]
        np.testing.assert_allclose(scores[e, :size].detach(), expected, rtol=1e-4, atol=1e-5)
        about = columns.mean(0) @ network.value.weight.detach().numpy()[0] + network.value.bias.item()
        assert value[e].item() == pytest.approx(about, rel=1e-4)
    assert memory == () and scores.std() > 0.1


def test_the_auxiliary_loss_is_the_error_of_rebuilt_candidates():
    network, view = make(aux_coef=0.5), read()
    errors = []
    for e, (size, width) in enumerate(((14, 3), (11, 2))):
        rows, columns = view.rows[e, :size, :width].numpy(), view.columns[e, :width].numpy()
        written = np.stack([layers(network.decoder)(column) for column in columns])  # [D, H]
        rebuilt = codes_of(network, rows, columns) @ written.T
        errors += np.square(rebuilt - rows)[view.action_mask[e, :size].numpy()].ravel().tolist()
    assert network.auxiliary_loss(view).item() == pytest.approx(0.5 * np.mean(errors), rel=1e-4)
    assert len(errors) == 10 * 3 + 8 * 2


def test_the_order_of_columns_does_not_matter_and_that_of_rows_is_followed():
    network, state = make(), pools.make_pools()
    scores, value, _ = network.step(COLUMNS(state.state), ())
    x = state.state.x.flip(2)
    turned = COLUMNS(dataclasses.replace(state.state, x=x, geometry=Geometry(x, state.state.exists)))
    torch.testing.assert_close(network.step(turned, ())[:2], (scores, value))
    torch.testing.assert_close(network.auxiliary_loss(turned), network.auxiliary_loss(COLUMNS(state.state)))
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    others, same, _ = network.step(COLUMNS(state.rearranged(order).state), ())
    torch.testing.assert_close(others, scores[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(same, value)


@pytest.mark.parametrize("more", [(5, 0, 0), (0, 3, 0), (0, 0, 4), (6, 2, 3)])
def test_padding_changes_nothing(more):
    network, plain, padded = make(), read(), read(more=more)
    scores, value, _ = network.step(padded, ())
    torch.testing.assert_close((scores[:, :14], value), network.step(plain, ())[:2])
    torch.testing.assert_close(network.auxiliary_loss(padded), network.auxiliary_loss(plain))


def test_a_pool_without_a_column_that_varies_is_no_trouble():
    state = pools.make_pools().state
    state.x.zero_()
    network, view = make(), COLUMNS(state)
    assert network.step(view, ())[0].isfinite().all() and network.auxiliary_loss(view) == 0


def test_every_agent_adds_the_auxiliary_loss_of_a_network_that_has_one():
    for name in ("GroupReinforce", "PPO"):
        agent = make_actor(name, "MetaScorer")
        rollout = play_exploring(make_pools(group=2), agent)
        loss, scalars = agent.total_loss(rollout)
        errors = [agent.network.auxiliary_loss(view).item() for view in rollout.views or ()]
        assert len(errors) == 4 and scalars["auxiliary_loss"].item() == pytest.approx(np.mean(errors), rel=1e-5)
        assert loss.item() == pytest.approx(agent.loss(rollout)[0].item() + np.mean(errors), rel=1e-4)


def test_without_one_nothing_is_added():
    agent = make_pool_agent("GroupReinforce")
    rollout = play_exploring(make_pools(group=2), agent)
    loss, scalars = agent.total_loss(rollout)
    assert rollout.views is None and "auxiliary_loss" not in scalars
    assert torch.equal(loss, agent.loss(rollout)[0])


def test_one_encoder_and_one_decoder_learn_to_rebuild_rows_of_any_width():
    torch.manual_seed(0)
    network = MetaScorer(COLUMNS, hidden_size=16, aux_coef=1.0)
    views = [read(sizes=(30, 30), columns=(3, 5), seed=seed) for seed in range(4)]
    optimizer, losses = torch.optim.Adam(network.parameters(), 1e-2), []
    for _ in range(60):
        loss = torch.stack([network.auxiliary_loss(view) for view in views]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0], losses


def test_it_reads_columns_alone():
    with pytest.raises(AlmetaError, match=r"MetaScorer reads columns, not Candidates; set inputs=columns"):
        GroupReinforce(MetaScorer, Candidates())


def test_sizes_and_bounds():
    network = make(hidden_size=5)
    assert network.encoder[0].in_features == 120 and network.encoder[2].out_features == network.mix.in_features == 5
    with pytest.raises(AlmetaError, match=r"network\.aux_coef is -1; it must be a number of at least 0"):
        make(aux_coef=-1)


def test_a_view_knows_which_columns_vary():
    columns = torch.zeros(1, 2, 120)
    columns[0, 1, 7] = 1.0
    view = ColumnsView(torch.zeros(1, 3, 2), columns, torch.ones(1, 3, dtype=torch.bool))
    assert view.varies.tolist() == [[False, True]]
