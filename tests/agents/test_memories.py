"""The hand-written LSTM against torch's own, the reset inside its step, and vmap."""

import pytest
import torch

from almeta.agents import LSTMNetwork
from almeta.agents.memories import LSTM
from almeta.inputs import Images
from almeta.seeding import make_generator, seeded_weights

STEPS, ENVS, EARLY, LATE, HIDDEN = 6, 4, 5, 3, 7


@pytest.fixture
def lstm():
    with seeded_weights(0):
        return LSTM(EARLY, LATE, HIDDEN)


@pytest.fixture
def inputs():
    """Both parts of the input, `[T, E, ...]`."""
    generator = make_generator(0, "test")
    early = torch.randn((STEPS, ENVS, EARLY), generator=generator)
    return early, torch.randn((STEPS, ENVS, LATE), generator=generator)


def run(lstm, early, late, start=None, state=None):
    """Return the hidden states `[T, E, H]`; `start` is `[T, E]`."""
    gates, state, outputs = lstm.project(early), state or lstm.initial(early.shape[1]), []
    for time in range(len(early)):
        state = lstm.step(gates[time], late[time], state, None if start is None else start[time])
        outputs.append(state[0])
    return torch.stack(outputs)


def torch_cell(lstm):
    """Return torch's LSTM cell with the same weights: its gates come as input, forget, candidate, output."""
    cell = torch.nn.LSTMCell(EARLY + LATE, HIDDEN)
    order = torch.cat([torch.arange(HIDDEN) + HIDDEN * gate for gate in (0, 1, 3, 2)])
    inward = torch.cat((lstm.early_weight, lstm.late_weight[:LATE]))
    with torch.no_grad():
        cell.weight_ih.copy_(inward.T[order])
        cell.weight_hh.copy_(lstm.late_weight[LATE:].T[order])
        cell.bias_ih.copy_(lstm.bias[order])
        cell.bias_hh.zero_()
    return cell, order


def test_same_outputs_and_gradients_as_torch(lstm, inputs):
    early, late = inputs
    cell, order = torch_cell(lstm)
    ours = run(lstm, early, late)
    state, theirs = None, []
    for time in range(STEPS):
        state = cell(torch.cat((early[time], late[time]), -1), state)
        theirs.append(state[0])
    torch.testing.assert_close(ours, torch.stack(theirs))

    weights = torch.randn(ours.shape, generator=make_generator(1, "test"))
    (ours * weights).sum().backward()
    (torch.stack(theirs) * weights).sum().backward()
    torch.testing.assert_close(lstm.early_weight.grad.T[order], cell.weight_ih.grad[:, :EARLY])
    torch.testing.assert_close(lstm.late_weight.grad[:LATE].T[order], cell.weight_ih.grad[:, EARLY:])
    torch.testing.assert_close(lstm.late_weight.grad[LATE:].T[order], cell.weight_hh.grad)
    torch.testing.assert_close(lstm.bias.grad[order], cell.bias_ih.grad)


def test_first_weights(lstm):
    # Glorot: uniform within sqrt(6 / (rows + columns)) of one [input + hidden, 4 * hidden] matrix; forget bias 1
    bound = (6 / (EARLY + LATE + HIDDEN + 4 * HIDDEN)) ** 0.5
    largest = max(lstm.early_weight.abs().max(), lstm.late_weight.abs().max())
    assert 0.9 * bound < largest <= bound
    expected = torch.zeros(4 * HIDDEN)
    expected[HIDDEN : 2 * HIDDEN] = 1.0
    torch.testing.assert_close(lstm.bias, expected)


def test_reset_in_the_middle_makes_two_separate_sequences(lstm, inputs):
    early, late = inputs
    start = torch.zeros(STEPS, ENVS, dtype=torch.bool)
    start[0] = True
    start[3, :2] = True  # only for the first two episodes
    together = run(lstm, early, late, start)
    whole, second = run(lstm, early, late), run(lstm, early[3:], late[3:])
    torch.testing.assert_close(together[:3], whole[:3])
    torch.testing.assert_close(together[3:, :2], second[:, :2])
    torch.testing.assert_close(together[3:, 2:], whole[3:, 2:])
    assert not torch.allclose(together[3:, :2], whole[3:, :2], atol=1e-3)


def test_reset_empties_whatever_is_in_memory(lstm, inputs):
    early, late = inputs
    dirty = tuple(torch.full((ENVS, HIDDEN), 5.0) for _ in range(2))
    start = torch.zeros(STEPS, ENVS, dtype=torch.bool)
    assert not torch.allclose(run(lstm, early, late, start, dirty), run(lstm, early, late))
    start[0] = True
    torch.testing.assert_close(run(lstm, early, late, start, dirty), run(lstm, early, late))


def test_no_gradient_crosses_a_reset(lstm, inputs):
    early, late = (part.clone().requires_grad_() for part in inputs)
    start = torch.zeros(STEPS, ENVS, dtype=torch.bool)
    start[3, 0] = True
    run(lstm, early, late, start)[-1].sum().backward()
    assert (early.grad[:3, 0] == 0).all() and (late.grad[:3, 0] == 0).all()
    assert (early.grad[3:, 0] != 0).any() and (early.grad[:3, 1] != 0).any()


@pytest.mark.parametrize("restarts", [False, True])
def test_vmap_over_episodes(lstm, inputs, restarts):
    early, late = inputs
    generator = make_generator(2, "test")
    state = tuple(torch.randn((ENVS, HIDDEN), generator=generator) for _ in range(2))
    start = torch.tensor([True, False, True, False]) if restarts else torch.zeros(ENVS, dtype=torch.bool)

    def one(early, late, hidden, cell, start):
        gates = lstm.project(early[None])
        return tuple(part[0] for part in lstm.step(gates, late[None], (hidden[None], cell[None]), start[None]))

    separate = torch.func.vmap(one)(early[0], late[0], state[0], state[1], start)
    together = lstm.step(lstm.project(early[0]), late[0], state, start)
    torch.testing.assert_close(separate, together)


def test_vmap_over_weights_with_gradients(inputs):
    early, late = inputs
    with seeded_weights(3):
        members = [LSTM(EARLY, LATE, HIDDEN) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(members)

    def loss(parameters):
        return torch.func.functional_call(Whole(members[0]), prefixed(parameters), (early, late)).square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss))(parameters)
    for k, member in enumerate(members):
        run(member, early, late).square().sum().backward()
        for name, parameter in member.named_parameters():
            torch.testing.assert_close(gradients[name][k], parameter.grad, msg=name)


class Whole(torch.nn.Module):
    """A sequence as one call, which functional_call needs."""

    def __init__(self, lstm):
        super().__init__()
        self.lstm = lstm

    def forward(self, early, late):
        return run(self.lstm, early, late)


def prefixed(parameters):
    return {f"lstm.{name}": value for name, value in parameters.items()}


def test_parameters_of_the_papers_network():
    network = LSTMNetwork(Images(num_pixels=784, num_slots=3), hidden_size=200)
    assert sum(parameter.numel() for parameter in network.parameters()) == 791_204
