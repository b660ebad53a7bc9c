"""What is particular to each network; what they share is in test_agents."""

import dataclasses

import pytest
import torch

from almeta.agents import EpisodicNetwork
from almeta.errors import AlmetaError
from almeta.seeding import make_generator, seeded_weights
from almeta.strategies.stream import StreamState
from almeta.training.rollout import replay
from tests.agents.streams import NETWORKS, PIXELS, glyphs, make_agent, make_streams, play_greedily, small_network


def episodic(num_slots=4, num_outputs=6, **options):
    with seeded_weights(0):
        return EpisodicNetwork(PIXELS, num_slots, num_outputs, **({"code_size": 6, "channels": 4} | options))


def show(network, images, labels):
    """Return the outputs `[T, E, O]` of images `[T, E, P]` whose labels `[T, E]` come a step later; -1 for none."""
    num_slots = network.num_slots
    items, memory, outputs = network.encode(images), network.initial(images.shape[1]), []
    arrived = torch.full_like(labels[0], -1)
    for time, item in enumerate(items):
        label = torch.nn.functional.one_hot(arrived.clamp_min(0), num_slots) * (arrived >= 0)[:, None]
        mask = torch.ones(len(label), num_slots + 1, dtype=torch.bool)
        start = torch.ones(len(label), dtype=torch.bool) if time == 0 else None
        output, memory = network.step(StreamState(item, label.float(), mask, start), memory)
        outputs.append(output)
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
    network = NETWORKS["LSTMNetwork"](PIXELS, 4, 5, **options)
    hidden, cell = network.initial(2)
    assert hidden.shape == cell.shape == (2, sizes[0])
    assert network.encode(torch.zeros(7, 2, PIXELS)).shape == (7, 2, sizes[1])
    assert network.encoder_version is None


def test_episodic_sizes():
    network = episodic(code_size=6, channels=4, hidden_size=9, capacity=3)
    assert network.encode(torch.zeros(7, 2, PIXELS)).shape == (7, 2, 6)
    assert network.initial(2).items.shape == (2, 4, 6)  # and the current image
    assert network.read[0].out_features == 9
    convolutions = [layer for layer in network.encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [4, 8, 8, 8]


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


def test_episodic_refuses_images_that_are_not_square():
    with pytest.raises(AlmetaError, match="15 pixels"):
        EpisodicNetwork(15, 3, 4)


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


def test_kept_codes_follow_the_encoder():
    """The codes of all images are computed once; they must be those of today's encoder."""
    agent = make_agent("Supervised", small_network("EpisodicNetwork"))
    streams = make_streams(num_envs=20, reveal="always")
    first = play_greedily(streams, agent)
    version = agent.encoder_version
    torch.testing.assert_close(replay(first, agent).outputs, first.outputs)
    assert agent.encoder_version == version

    agent.load_state_dict(make_agent("Supervised", small_network("EpisodicNetwork"), seed=1).state_dict())
    assert agent.encoder_version != version
    twin = make_agent("Supervised", small_network("EpisodicNetwork"), seed=1)  # has no codes yet
    later = replay(first, agent).outputs
    assert not torch.equal(later, first.outputs)
    assert torch.equal(later, replay(first, twin).outputs)
    # and those of the images that are asked for
    moved = dataclasses.replace(first, sampler=make_streams(dataset=glyphs(noise=0.9)).sampler)
    assert not torch.equal(replay(moved, agent).outputs, later)
    assert torch.equal(replay(moved, agent).outputs, replay(moved, twin).outputs)
