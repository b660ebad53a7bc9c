"""What is particular to each network; what they share is in test_agents."""

import dataclasses
import math

import pytest
import torch

from almeta.agents import (
    EpisodicNetwork,
    LSTMNetwork,
    MANNNetwork,
    PoolScorer,
    RecurrentPoolScorer,
    TransformerNetwork,
)
from almeta.agents.agent import replay
from almeta.errors import AlmetaError
from almeta.inputs import Candidates, Images
from almeta.seeding import make_generator, seeded_weights
from almeta.stream import ENCODED_AT_ONCE, StreamState
from almeta.training.rollout import greedy, play
from tests.agents.streams import (
    NETWORKS,
    PIXELS,
    glyphs,
    make_agent,
    make_streams,
    play_exploring,
    play_greedily,
    small_network,
)


def episodic(num_slots=4, num_values=1, **options):
    with seeded_weights(0):
        return EpisodicNetwork(Images(PIXELS, num_slots), num_values, **({"code_size": 6, "channels": 4} | options))


def show(network, images, labels):
    """Return utilities and value `[T, E, S + 2]` of images `[T, E, P]`, labels `[T, E]` a step later; -1 for none."""
    num_slots = network.num_actions - 1
    items, memory, outputs = network.encode(images), network.initial(images.shape[1]), []
    arrived = torch.full_like(labels[0], -1)
    for time, item in enumerate(items):
        label = torch.nn.functional.one_hot(arrived.clamp_min(0), num_slots) * (arrived >= 0)[:, None]
        mask = torch.ones(len(label), num_slots + 1, dtype=torch.bool)
        start = torch.ones(len(label), dtype=torch.bool) if time == 0 else None
        utilities, value, memory = network.step(StreamState(item, label.float(), mask, start), memory)
        outputs.append(torch.cat((utilities, value[:, None]), -1))
        arrived = labels[time]
    return torch.stack(outputs)


@pytest.fixture
def stream():
    """5 steps of 3 streams of random images, about half of them labelled with one of 4 slots."""
    generator = make_generator(0, "test")
    images = torch.rand((5, 3, PIXELS), generator=generator)
    return images, torch.randint(-2, 4, (5, 3), generator=generator).clamp_min(-1)


@pytest.mark.parametrize("options, sizes", [({"hidden_size": 3}, (3, 4 * 3)), ({"hidden_size": 5}, (5, 4 * 5))])
def test_lstm_sizes(options, sizes):
    network = NETWORKS["LSTMNetwork"](Images(PIXELS, 4), **options)
    (hidden, cell), units = network.initial(2)
    assert units is None
    assert hidden.shape == cell.shape == (2, sizes[0])
    assert network.encode(torch.zeros(7, 2, PIXELS)).shape == (7, 2, sizes[1])
    assert network.encoder_version is None


def test_episodic_sizes():
    network = episodic(code_size=6, channels=4, hidden_size=9, capacity=3)
    assert network.encode(torch.zeros(7, 2, PIXELS)).shape == (7, 2, 6)
    assert network.initial(2)[0].items.shape == (2, 4, 6)  # and the current image
    assert network.read[0].out_features == network.num_units == 9
    convolutions = [layer for layer in network.encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [4, 8, 8, 8]


def test_the_order_of_classes_is_read_where_it_is_asked_for():
    """Images all alike, in two orders of the same labels: only who reads the order sees a difference at the end."""
    images, labels = torch.zeros(6, 2, PIXELS), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [-1, -1]])
    for order in (False, True):
        network = episodic(order=order, code_size=0)
        last = show(network, images, labels)[-1]
        assert torch.equal(last[0], last[1]) is not order
    assert network.read[0].in_features == episodic(code_size=0).read[0].in_features + 3


def test_a_residual_encoder_by_hand():
    """Two blocks of two convolutions beside one, each with its batch normalisation."""
    with seeded_weights(0):
        network = episodic(code_size=6, channels=4, residual=True)
    generator = make_generator(0, "test")
    encoder, images = network.encoder, torch.rand(3, PIXELS, generator=generator)
    with torch.no_grad():
        for buffer in encoder.buffers():  # no statistics of 0 and 1
            buffer.copy_((torch.rand(buffer.shape, generator=generator) + 0.5).to(buffer.dtype))

    def normalised(x, convolution, stride):
        weight, norm = convolution[0].weight, convolution[1]
        x = torch.nn.functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        scaled = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
        return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]

    side = math.isqrt(PIXELS)
    first, _, *blocks = encoder.convolutions
    x = normalised(images.view(3, 1, side, side), first, 2).relu()
    for block in blocks:
        around = normalised(x, block.around, 2)
        x = (normalised(normalised(x, block.inner[0], 2).relu(), block.inner[2], 1) + around).relu()
    torch.testing.assert_close(network.encode(images), encoder.code(x.flatten(1)))
    assert [block.around[0].weight.shape[:2] for block in blocks] == [(8, 4), (8, 8)]


def test_sizes_of_memories_with_rows():
    options = {"hidden_size": 7, "rows": 6, "width": 5, "heads": 2}
    ntm = NETWORKS["NTMNetwork"](Images(PIXELS, 4), **options)
    mann = NETWORKS["MANNNetwork"](Images(PIXELS, 4), usage_decay=0.5, **options)
    for network in (mann, ntm):
        _, read, (rows, *_) = network.initial(3)[0]
        assert read.shape == (3, 10) and rows.shape == (3, 6, 5)
        assert network.head.in_features == 7 + 10
    assert mann.memory.access.usage_decay == 0.5
    plain = NETWORKS["MANNNetwork"](Images(PIXELS, 4), sharpens=False, **options)
    assert (mann.memory.access.weight.shape, plain.memory.access.weight.shape) == ((7, 2 * 7), (7, 2 * 6))


def test_transformer_sizes():
    network = NETWORKS["TransformerNetwork"](Images(PIXELS, 4), hidden_size=12, layers=3, heads=4, capacity=9)
    assert (network.memory.heads, network.memory.capacity) == (4, 9)
    memory = network.memory.initial(2)
    for step in range(12):  # it grows to its capacity
        steps = min(step, 9)
        assert [part.shape for part in memory[0]] == 3 * [(2, 2, steps, 12)] and memory[1].shape == (2, steps)
        _, memory = network.memory.step(torch.ones(2, 24), torch.ones(2, 4), memory)


@pytest.mark.parametrize("name", NETWORKS)
def test_memories_read_codes_where_there_is_an_encoder(name, stream):
    images, labels = stream
    with seeded_weights(0):
        network = small_network(name, code_size=6, channels=4)(inputs=Images(PIXELS, 4), num_values=1)
    assert network.encode(images).shape == (5, 3, 6)
    assert network.encoder_version is not None and not network.encode(images).requires_grad
    outputs = show(network, images, labels)
    changed = images.clone()
    changed[0] = 1 - changed[0]
    assert not torch.allclose(show(network, changed, labels)[0], outputs[0]) or name == "EpisodicNetwork"
    assert not torch.allclose(show(network, changed, labels)[4], outputs[4])


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "EpisodicNetwork"])
def test_the_codes_that_a_recurrent_memory_reads_have_their_mean_at_zero(name):
    """An encoder's losses compare codes alone, and leave them anywhere."""
    images = torch.rand(1500, PIXELS, generator=torch.Generator().manual_seed(0))
    images[::3] += 1.0  # of the three images of a class the first is another one
    with seeded_weights(0):
        network = small_network(name, code_size=6, channels=4)(inputs=Images(PIXELS, 4))
    with torch.no_grad():
        network.encoder.code.weight.mul_(1000)
        network.encoder.code.bias.add_(10)
    before, version = network.encode(images), network.encoder_version
    network.centre_codes(images)
    codes = network.encode(images)
    assert (codes.mean(0).abs() < 0.15 * codes.std(0)).all()
    torch.testing.assert_close(codes - codes[:1], before - before[:1], atol=1e-3, rtol=1e-3)
    assert network.encoder_version != version  # codes that are kept are made anew


@pytest.mark.parametrize("name", NETWORKS)
def test_an_encoder_learns_with_the_agent_where_it_is_fine_tuned(name, stream):
    images, labels = stream
    labels[0] = 1
    network = small_network(name, code_size=6, channels=4, fine_tune=True)(
        inputs=Images(PIXELS, 4), num_values=1
    ).train()
    assert network.encoder_version is None  # codes are not kept
    before = {key: value.clone() for key, value in network.encoder.named_buffers()}
    show(network, images, labels)[4].square().sum().backward()
    assert (network.encoder.code.weight.grad != 0).any()
    for key, value in network.named_parameters():
        assert value.grad is None or value.grad.isfinite().all(), key
    for key, value in network.encoder.named_buffers():
        assert torch.equal(value, before[key])  # an image has the same code whatever it is shown with


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("num_values", [0, 1])
def test_dueling_is_a_value_and_what_is_better_than_the_mean(name, num_values, stream):
    images, labels = stream
    with seeded_weights(0):
        network = small_network(name, dueling=True)(inputs=Images(PIXELS, 4), num_values=num_values)
    generator = make_generator(0, "test")
    outputs = torch.randn(3, 5 + num_values + 1, generator=generator)
    utilities, value = network._split(outputs)
    advantage = outputs[:, :5]
    torch.testing.assert_close(utilities, outputs[:, -1:] + advantage - advantage.mean(1, keepdim=True))
    torch.testing.assert_close(utilities.mean(1), outputs[:, -1])  # the mean over actions is the value of the state
    assert (value is None) == (num_values == 0)
    assert value is None or torch.equal(value, outputs[:, 5])
    if num_values:
        assert show(network, images, labels).shape == (5, 3, 6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_value_is_there_for_who_needs_one(name):
    state = StreamState(torch.zeros(2, PIXELS), torch.zeros(2, 4), torch.ones(2, 5, dtype=torch.bool))
    for num_values in (0, 1):
        network = small_network(name)(inputs=Images(PIXELS, 4), num_values=num_values)
        shown = dataclasses.replace(state, item=network.encode(state.item))
        utilities, value, _ = network.step(shown, network.initial(2))
        assert utilities.shape == (2, 5)
        assert value is None if num_values == 0 else value.shape == (2,)


def test_episodic_treats_all_slots_alike(stream):
    images, labels = stream
    network = episodic()
    order = torch.tensor([2, 0, 3, 1])
    before = show(network, images, labels)
    after = show(network, images, torch.where(labels >= 0, order[labels], -1))
    torch.testing.assert_close(after[..., order], before[..., :4])
    torch.testing.assert_close(after[..., 4:], before[..., 4:])
    assert not torch.allclose(before[..., 0], before[..., 1])  # for they are told apart by their examples


def test_episodic_knows_a_labelled_image_again(stream):
    images, labels = stream
    images[4] = images[1]
    labels[:, :] = -1
    labels[1] = torch.tensor([3, 0, 2])
    network = episodic()
    outputs = show(network, images, labels)
    slots = network.slot_head.weight.new_zeros(3)  # whether the slot of the image known again stands out
    for env, slot in enumerate(labels[1].tolist()):
        others = [s for s in range(4) if s != slot]
        torch.testing.assert_close(outputs[4, env, others], outputs[4, env, others[0]].expand(3))
        slots[env] = (outputs[4, env, slot] - outputs[4, env, others[0]]).abs()
    assert (slots > 1e-3).all()


@pytest.mark.parametrize("capacity, remembers", [(4, True), (3, True), (2, False)])
def test_episodic_forgets_what_is_beyond_its_capacity(stream, capacity, remembers):
    images, labels = stream
    labels[:, :] = -1
    unlabelled = show(episodic(capacity=capacity), images, labels)
    labels[1] = torch.tensor([3, 0, 2])
    labelled = show(episodic(capacity=capacity), images, labels)
    assert not torch.allclose(labelled[3], unlabelled[3])
    assert torch.allclose(labelled[4], unlabelled[4]) != remembers


def test_episodic_remembers_what_it_said(stream):
    images, labels = stream
    labels[:, :] = -1
    labels[0] = 2  # afterwards it says what it takes the images to be
    network = episodic(guesses=True, num_slots=4)
    memory, items = network.initial(3), network.encode(images)
    for time, item in enumerate(items):
        told = torch.nn.functional.one_hot(labels[time - 1].clamp_min(0), 4) * (labels[time - 1] >= 0)[:, None]
        mask = torch.ones(3, 5, dtype=torch.bool)
        mask[:, -1] = time == 0
        told = told if time else torch.zeros_like(told)
        utilities, _, memory = network.step(StreamState(item, told.float(), mask), memory)
        best = utilities.masked_fill(~mask, -torch.inf).argmax(-1)
        said = torch.nn.functional.one_hot(best, 5)[:, :4].float()
        assert torch.equal(memory[0].guesses[:, time], said)
    # What was said of the first image is forgotten, for its label is known.
    assert (memory[0].guesses[:, 0] == 0).all() and (memory[0].labels[:, 0, 2] == 1).all()
    assert (memory[0].guesses[:, 1:5].sum(-1) == 1).all()
    assert network.read[0].in_features == 2 * episodic().read[0].in_features + 1  # and how many images a slot has


def test_episodic_without_an_encoder_compares_vectors_as_they_are():
    network = EpisodicNetwork(Images(15, 3), code_size=0, hidden_size=4)
    vectors = torch.rand(7, 2, 15)
    assert network.encoder is None and network.encoder_version is None
    assert torch.equal(network.encode(vectors), vectors)
    (examples, _) = network.initial(2)
    assert examples.items.shape == (2, 33, 15)
    state = StreamState(vectors[0], torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))
    _, _, (examples, _) = network.step(state, network.initial(2))
    assert torch.equal(examples.items[:, 0], vectors[0])


# ---- streams of other sizes


@pytest.mark.parametrize("name", NETWORKS)
def test_only_who_treats_all_slots_alike_plays_with_more_of_them(name, stream):
    agent = make_agent("PPO", small_network(name))
    assert agent.for_streams(4) is agent.for_streams(2) is agent
    if not NETWORKS[name].slots_alike:
        with pytest.raises(
            AlmetaError, match="the policy distinguishes 4 classes; choose 4 or fewer, or a policy whose"
        ):
            agent.for_streams(5)
        return
    other = agent.for_streams(7)
    assert (other.inputs.num_slots, agent.inputs.num_slots) == (7, 4)
    assert other.network.num_actions == 8 and not other.network.encoder.training
    for name, weight in other.state_dict().items():
        assert weight.data_ptr() == agent.state_dict()[name].data_ptr(), f"{name} is a copy"
    images, labels = stream
    there = torch.tensor([6, 0, 5, 1, 2, 3, 4])
    found = show(other.network, images, labels)
    moved = show(other.network, images, torch.where(labels >= 0, there[labels], -1))
    torch.testing.assert_close(moved[..., there], found[..., :7])
    torch.testing.assert_close(moved[..., 7:], found[..., 7:])
    assert found[..., :7].std(-1).max() > 0  # slots are told apart by their examples


@pytest.mark.parametrize("name", ["EpisodicNetwork", "TransformerNetwork"])
def test_a_memory_grows_for_longer_streams(name):
    agent = make_agent("QLearning", small_network(name, capacity=5), gamma=0.25)
    assert agent.for_streams(4, capacity=5) is agent.for_streams(4) is agent
    other = agent.for_streams(4, capacity=9)
    assert (other.network.capacity, agent.network.capacity) == (9, 5) and other.gamma == 0.25
    ours, theirs = (play_greedily(make_streams(length=6, reveal="always"), one) for one in (other, agent))
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.outputs.utilities, their.outputs.utilities)
    longer = [
        play_greedily(make_streams(length=12, reveal="always"), one)[-1].outputs.utilities for one in (other, agent)
    ]
    assert not torch.equal(*longer)
    assert make_agent("QLearning").for_streams(4, capacity=99).network.hidden_size == 12  # an LSTM has no such option


def test_episodic_refuses_images_that_are_not_square():
    with pytest.raises(AlmetaError, match="15 pixels"):
        EpisodicNetwork(Images(15, 3))


def test_a_frozen_encoder_stays_as_it_is(stream):
    images, _ = stream
    network = episodic()
    assert not any(parameter.requires_grad for parameter in network.encoder.parameters())
    before = network.encode(images)
    network.train()
    torch.testing.assert_close(network.encode(images), before)
    assert not before.requires_grad
    # an image has the same code whatever it is shown with: batch normalisation uses fixed statistics
    torch.testing.assert_close(network.encode(images[2:3]), before[2:3])


def test_many_images_are_encoded_in_blocks_as_kept_codes_are():
    network, sizes = episodic(), []
    network.encoder.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    images = torch.rand(2, 600, PIXELS, generator=make_generator(0, "test"))
    codes = network.encode(images)
    assert sizes == [512, 512, 176] and ENCODED_AT_ONCE == 512
    assert torch.equal(codes[0, :512], network.encoder(images[0, :512]))


@pytest.mark.parametrize(
    "network, options, message",
    [
        (LSTMNetwork, {"hidden_size": 0}, "hidden_size is 0; it must be a whole number of at least 1"),
        (EpisodicNetwork, {"capacity": 0}, "capacity is 0; it must be a whole number from 1 to 10000"),
        (MANNNetwork, {"heads": 5, "rows": 4}, r"heads=5, each writes to a row, and network\.rows=4; add rows"),
        (TransformerNetwork, {"hidden_size": 9, "heads": 2}, r"hidden_size=9 is no multiple of network\.heads=2"),
        (EpisodicNetwork, {"code_size": 2.5}, r"code_size is 2\.5; it must be a whole number"),
        (PoolScorer, {"prior": "best"}, "prior is 'best'; it must be 'margin' or 'entropy' or 'look_ahead' or"),
        (RecurrentPoolScorer, {"prior_weight": -1}, "prior_weight is -1; it must be a number of at least 0"),
    ],
)
def test_options_out_of_range_are_refused(network, options, message):
    inputs = Images(PIXELS, 3) if network.kind == "stream" else Candidates()
    with pytest.raises(AlmetaError, match=rf"network\.{message}"):
        network(inputs, **options)


def test_kept_codes_follow_the_encoder(monkeypatch):
    """The codes of all images are computed once; they must be those of today's encoder."""
    agent = make_agent("Supervised", small_network("EpisodicNetwork"))
    asked, encode = [], agent.network.encode

    def watched(images):
        asked.append(len(images))
        return encode(images)

    monkeypatch.setattr(agent.network, "encode", watched)
    streams = make_streams(num_envs=20, reveal="always")
    tasks = streams.sampler.draw(20, make_generator(0, "test"))

    def utilities(actor, simulation):
        return torch.stack([step.outputs.utilities for step in play(simulation, actor, choose, tasks)])

    choose = greedy(make_generator(0, "ties"))
    first = utilities(agent, streams)
    version, once = agent.encoder_version, list(asked)
    torch.testing.assert_close(utilities(agent, streams), first)
    assert agent.encoder_version == version
    assert asked == once and sum(once) <= 48 + 1  # each image once, for both batches; one more tells the size

    agent.load_state_dict(make_agent("Supervised", small_network("EpisodicNetwork"), seed=1).state_dict())
    assert agent.encoder_version != version
    twin = make_agent("Supervised", small_network("EpisodicNetwork"), seed=1)  # has no codes yet
    later = utilities(agent, streams)
    assert not torch.equal(later, first)
    assert torch.equal(later, utilities(twin, streams))
    # and those of the images that are asked for
    noisy = make_streams(num_envs=20, reveal="always", dataset=glyphs(noise=0.9))
    assert not torch.equal(utilities(agent, noisy), later)
    assert torch.equal(utilities(agent, noisy), utilities(twin, noisy))


def test_an_encoder_that_learns_is_run_again_in_each_epoch():
    agent = make_agent("PPO")
    rollout = play_exploring(make_streams(), agent)
    assert rollout.views is not None
    with torch.no_grad():
        agent.network.memory.early_weight.mul_(2)
    expected = agent.encode(rollout.images)  # not the items that were recorded
    assert not torch.allclose(expected[0], rollout.views[0].item, atol=1e-3)
    again = replay(rollout, agent)
    rewritten = [dataclasses.replace(view, item=item) for view, item in zip(rollout.views, expected, strict=True)]
    alone = replay(dataclasses.replace(rollout, views=rewritten, images=None), agent)
    assert torch.equal(again.utilities, alone.utilities)
    again.utilities.sum().backward()
    assert agent.network.memory.early_weight.grad.any()
