"""Hand-written memories against torch's own or a plain transcription, the reset inside their step, and vmap."""

from typing import Any

import pytest
import torch

from almeta.agents import LSTMNetwork
from almeta.agents.external_memories import ExternalMemory, LeastUsedAccess, TuringAccess
from almeta.agents.memories import GRU, LSTM
from almeta.agents.transformer import CausalTransformer
from almeta.inputs import Images
from almeta.seeding import make_generator, seeded_weights

STEPS, ENVS, EARLY, LATE, HIDDEN = 6, 4, 5, 3, 7


SIZES = (EARLY, LATE, HIDDEN)
MEMORIES = {
    "LSTM": lambda: LSTM(*SIZES),
    "GRU": lambda: GRU(*SIZES),
    "least used": lambda: ExternalMemory(*SIZES, LeastUsedAccess(HIDDEN, 5, 4, heads=2, usage_decay=0.9)),
    "Turing": lambda: ExternalMemory(*SIZES, TuringAccess(HIDDEN, 5, 4, heads=2)),
    "transformer": lambda: CausalTransformer(EARLY, LATE, 8, heads=2, capacity=20),
}


@pytest.fixture
def lstm():
    with seeded_weights(0):
        return LSTM(EARLY, LATE, HIDDEN)


@pytest.fixture(params=MEMORIES)
def memory(request):
    with seeded_weights(0):
        return MEMORIES[request.param]()


@pytest.fixture
def inputs():
    """Both parts of the input, `[T, E, ...]`."""
    generator = make_generator(0, "test")
    early = torch.randn((STEPS, ENVS, EARLY), generator=generator)
    return early, torch.randn((STEPS, ENVS, LATE), generator=generator)


def run(memory, early, late, start=None, state=None):
    """Return the outputs `[T, E, H]`; `start` is `[T, E]`."""
    projected, outputs = memory.project(early), []
    state = memory.initial(early.shape[1]) if state is None else state
    for time in range(len(early)):
        output, state = memory.step(projected[time], late[time], state, None if start is None else start[time])
        outputs.append(output)
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


def test_gru_as_torch(inputs):
    early, late = inputs
    with seeded_weights(0):
        gru, cell = GRU(*SIZES), torch.nn.GRUCell(EARLY + LATE, HIDDEN)
    with torch.no_grad():
        gru.bias.normal_(generator=make_generator(3, "test"))
        gru.hidden_bias.normal_(generator=make_generator(4, "test"))
        cell.weight_ih.copy_(torch.cat((gru.early_weight, gru.late_weight)).T)
        cell.weight_hh.copy_(gru.hidden_weight.T)
        cell.bias_ih.copy_(gru.bias)
        cell.bias_hh.copy_(gru.hidden_bias)
    state, theirs = None, []
    for time in range(STEPS):
        state = cell(torch.cat((early[time], late[time]), -1), state)
        theirs.append(state)
    torch.testing.assert_close(run(gru, early, late), torch.stack(theirs))


@pytest.mark.parametrize("sharpens", [False, True])
def test_least_used_access_as_in_the_paper(sharpens):
    """Equations 1 to 8 of Santoro et al. for one episode, with loops over heads and rows.

    But for two things, which `LeastUsedAccess` tells: each head writes to one least-used row of its own, and may say
    how sharply it reads.
    """
    hidden_size, rows, width, heads, decay = 3, 4, 2, 2, 0.9
    generator = make_generator(5, "test")
    with seeded_weights(1):
        access = LeastUsedAccess(hidden_size, rows, width, heads, decay, sharpens)
    torch.nn.init.normal_(access.bias, generator=generator)
    steps = torch.randn(5, hidden_size, generator=generator)
    state, found = access.initial(1), []
    for hidden in steps:
        read, state = access.step(hidden[None], state)
        found.append(read[0])

    memory = torch.full((rows, width), 1e-6)
    last, usage = torch.zeros(heads, rows), torch.zeros(rows)
    for hidden, ours in zip(steps, found, strict=True):
        told = (hidden @ access.weight + access.bias).view(heads, width + 1 + sharpens)
        order = sorted(range(rows), key=lambda row: (usage[row].item(), row))[:heads]
        weights = torch.zeros(heads, rows)
        for head in range(heads):
            gate = told[head, width].sigmoid()
            weights[head] = gate * last[head]
            weights[head, order[head]] += 1 - gate
            memory[order[head]] = 0.0
        for head in range(heads):
            for row in range(rows):
                memory[row] = memory[row] + weights[head, row] * told[head, :width].tanh()
        reads = []
        for head in range(heads):
            key = told[head, :width].tanh()
            alike = torch.stack([torch.cosine_similarity(key, memory[row], 0) for row in range(rows)])
            strength = 10 * torch.log1p(told[head, -1].exp()) if sharpens else 1
            last[head] = (strength * alike).softmax(0)
            reads.append(last[head] @ memory)
        usage = (decay * usage + last.sum(0) + weights.sum(0)).detach()
        torch.testing.assert_close(ours, torch.cat(reads))


def test_turing_access_as_in_the_paper():
    """Equations 1 to 9 of Graves et al. for one episode, with loops over heads and rows."""
    hidden_size, rows, width, heads = 3, 4, 2, 2
    generator = make_generator(6, "test")
    with seeded_weights(1):
        access = TuringAccess(hidden_size, rows, width, heads)
    torch.nn.init.normal_(access.bias, generator=generator)
    steps = torch.randn(5, hidden_size, generator=generator)
    state, found = access.initial(1), []
    for hidden in steps:
        read, state = access.step(hidden[None], state)
        found.append(read[0])

    def weights_of(numbers, last, memory):
        key, (strength, gate), shift, sharp = numbers[:width], numbers[width : width + 2], numbers[-4:-1], numbers[-1]
        alike = torch.stack([torch.cosine_similarity(key.tanh(), row, 0) for row in memory])
        content = (torch.log1p(strength.exp()) * alike).softmax(0)
        mixed = gate.sigmoid() * content + (1 - gate.sigmoid()) * last
        shifts = shift.softmax(0)  # from the row before, from itself, from the row after
        shifted = torch.stack([sum(shifts[k] * mixed[(row + k - 1) % rows] for k in range(3)) for row in range(rows)])
        power = shifted ** (1 + torch.log1p(sharp.exp()))
        return power / power.sum()

    memory, last = torch.full((rows, width), 1e-6), torch.zeros(2 * heads, rows)
    last[:, 0] = 1.0
    each = width + 6
    for hidden, ours in zip(steps, found, strict=True):
        told = hidden @ access.weight + access.bias
        where, what = told[: 2 * heads * each].view(2 * heads, each), told[2 * heads * each :].view(2, heads, width)
        now = last.clone()
        for head in range(heads):  # the writing heads are the second half
            now[heads + head] = weights_of(where[heads + head], last[heads + head], memory)
        written = memory.clone()
        for head in range(heads):
            written = written * (1 - now[heads + head][:, None] * what[0, head].sigmoid())
        for head in range(heads):
            written = written + now[heads + head][:, None] * what[1, head].tanh()
        memory = written
        for head in range(heads):
            now[head] = weights_of(where[head], last[head], memory)
        last = now
        torch.testing.assert_close(ours, (now[:heads] @ memory).flatten())


def test_transformer_as_torch(inputs):
    """All steps at once through torch's layers under a causal mask."""
    early, late = inputs
    with seeded_weights(2):
        ours = CausalTransformer(EARLY, LATE, 8, layers=2, heads=2, capacity=20)
    present, as_before = ours.project(early).chunk(2, -1)
    before = torch.cat((torch.zeros_like(as_before[:1]), as_before[:-1]))
    hidden = present + before + late @ ours.late.weight.T
    layers: Any = ours.layers
    for layer in layers:
        theirs: Any = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=True)
        with torch.no_grad():
            theirs.self_attn.in_proj_weight.copy_(layer.asked.weight)
            theirs.self_attn.in_proj_bias.copy_(layer.asked.bias)
        theirs.self_attn.out_proj = layer.found
        theirs.linear1, _, theirs.linear2 = layer.wide
        theirs.norm1, theirs.norm2 = layer.first, layer.second
        mask = torch.nn.Transformer.generate_square_subsequent_mask(STEPS)
        hidden = theirs(hidden, mask, is_causal=True)
    torch.testing.assert_close(run(ours, early, late), ours.norm(hidden), atol=1e-5, rtol=1e-4)


def test_transformer_forgets_what_is_beyond_its_capacity(inputs):
    early, late = inputs
    with seeded_weights(2):
        ours = CausalTransformer(EARLY, LATE, 8, layers=1, heads=2, capacity=2)
    changed = early.clone()
    changed[0] += 1.0
    far = (run(ours, early, late) - run(ours, changed, late)).abs().amax((1, 2))
    assert (far[:4] > 1e-4).all()  # the step itself, the one that reads it as the one before, two that remember that
    assert (far[4:] == 0).all()
    with pytest.raises(ValueError, match="hidden_size=8 is no multiple of heads=3"):
        CausalTransformer(EARLY, LATE, 8, heads=3)


def test_reset_in_the_middle_makes_two_separate_sequences(memory, inputs):
    early, late = inputs
    start = torch.zeros(STEPS, ENVS, dtype=torch.bool)
    start[0] = True
    start[3, :2] = True  # only for the first two episodes
    together = run(memory, early, late, start)
    whole, second = run(memory, early, late), run(memory, early[3:], late[3:])
    torch.testing.assert_close(together[:3], whole[:3])
    torch.testing.assert_close(together[3:, :2], second[:, :2])
    torch.testing.assert_close(together[3:, 2:], whole[3:, 2:])
    assert not torch.allclose(together[3:, :2], whole[3:, :2], atol=1e-3)


def test_reset_empties_whatever_is_in_memory(memory, inputs):
    early, late = inputs
    gates, dirty = memory.project(early.flip(0)), memory.initial(ENVS)
    for time in range(STEPS):
        _, dirty = memory.step(gates[time], late[time], dirty)
    start = torch.zeros(STEPS, ENVS, dtype=torch.bool)
    assert not torch.allclose(run(memory, early, late, start, dirty), run(memory, early, late), atol=1e-3)
    start[0] = True
    torch.testing.assert_close(run(memory, early, late, start, dirty), run(memory, early, late))


def test_no_gradient_crosses_a_reset(memory, inputs):
    early, late = (part.clone().requires_grad_() for part in inputs)
    start = torch.zeros(STEPS, ENVS, dtype=torch.bool)
    start[3, 0] = True
    output = run(memory, early, late, start)[-1]
    (output * torch.randn(output.shape, generator=make_generator(1, "test"))).sum().backward()
    assert (early.grad[:3, 0] == 0).all() and (late.grad[:3, 0] == 0).all()
    assert (early.grad[3:, 0] != 0).any() and (early.grad[:3, 1] != 0).any()


def test_episodes_do_not_depend_on_each_other(memory, inputs):
    early, late = inputs
    torch.testing.assert_close(run(memory, early[:, 1:2], late[:, 1:2]), run(memory, early, late)[:, 1:2])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "least used", "Turing"])
def test_vmap_over_episodes_that_begin_anew(name, inputs):
    early, late = inputs
    with seeded_weights(0):
        memory = MEMORIES[name]()
    gates, state = memory.project(early), memory.initial(ENVS)
    for time in range(2):
        _, state = memory.step(gates[time], late[time], state)
    start = torch.tensor([True, False, True, False])

    def one(gates, late, state, start):
        alone = torch.utils._pytree.tree_map(lambda part: part[None], (gates, late, state, start))
        return torch.utils._pytree.tree_map(lambda part: part[0], memory.step(*alone))

    separate = torch.func.vmap(one)(gates[2], late[2], state, start)
    torch.testing.assert_close(separate, memory.step(gates[2], late[2], state, start))


def test_vmap_over_weights_with_gradients(inputs):
    early, late = (part[:3] for part in inputs)
    for name, make in MEMORIES.items():
        with seeded_weights(3):
            members = [make() for _ in range(3)]
        parameters, _ = torch.func.stack_module_state(members)
        whole = Whole(members[0])

        def loss(parameters, whole=whole):
            return torch.func.functional_call(whole, prefixed(parameters), (early, late)).square().sum()

        gradients = torch.func.vmap(torch.func.grad(loss))(parameters)
        for k, member in enumerate(members):
            run(member, early, late).square().sum().backward()
            for key, parameter in member.named_parameters():
                torch.testing.assert_close(gradients[key][k], parameter.grad, msg=f"{name} {key}", atol=1e-4, rtol=1e-3)


class Whole(torch.nn.Module):
    """A sequence as one call, which functional_call needs."""

    def __init__(self, memory):
        super().__init__()
        self.memory = memory

    def forward(self, early, late):
        return run(self.memory, early, late)


def prefixed(parameters):
    return {f"memory.{name}": value for name, value in parameters.items()}


def test_parameters_of_the_papers_network():
    network = LSTMNetwork(Images(num_pixels=784, num_slots=3), hidden_size=200)
    assert sum(parameter.numel() for parameter in network.parameters()) == 791_204
