from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.seeding import make_generator
from almeta.strategies.actor import Outputs
from almeta.strategies.choosing import best_action
from almeta.strategies.stream import AlwaysRequest, AskUnnamed, NearestLabelled, NeverRequest, RandomRequest
from almeta.stream import Encodes, StreamState
from almeta.training import rollout
from tests.strategies.streams import state

INF = torch.inf


def streams(dataset, num_envs, **options):
    return StreamSimulation(dataset, StreamOptions(**options), num_envs, make_generator(0, "streams"))


@pytest.fixture
def generator():
    return make_generator(0, "test")


def play(strategy, simulation, generator):
    """Return actions, rewards, true slots `[T, E]`."""
    steps = list(rollout.play(simulation, strategy, rollout.greedy(generator)))
    actions = torch.stack([step.actions for step in steps])
    return actions, torch.stack([step.outcome.reward for step in steps]), simulation.tasks.targets


# --- always, never, at random ---


def make_strategy(kind, slots=3):
    return {
        "always": lambda: AlwaysRequest(slots),
        "never": lambda: NeverRequest(slots),
        "random": lambda: RandomRequest(slots, 0.5, make_generator(0, "requests")),
        "nearest": lambda: NearestLabelled(slots, 0.1, 30),
    }[kind]()


def test_always_and_never_by_hand():
    now = state([1.0, 2.0])
    assert AlwaysRequest(2).step(now, ())[0].utilities.tolist() == [[0, 0, INF]] * 2
    assert NeverRequest(2).step(now, ())[0].utilities.tolist() == [[0, 0, -INF]] * 2


@pytest.mark.parametrize("kind, request_rate, mean_reward", [("always", 1, -0.05), ("never", 0, -1 / 3)])
def test_always_and_never_in_a_stream(tiny_images, generator, looks_uniform, kind, request_rate, mean_reward):
    simulation = streams(tiny_images, 500)
    actions, rewards, targets = play(make_strategy(kind), simulation, generator)
    assert (actions == 3).float().mean() == request_rate
    assert rewards.mean().item() == pytest.approx(mean_reward, abs=0.02)
    if kind == "never":  # a guess does not know the truth
        assert looks_uniform(actions * 3 + targets, 9)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_random_requests_at_its_rate(tiny_images, generator, looks_uniform, rate):
    simulation = streams(tiny_images, 500)
    actions, _, _ = play(RandomRequest(3, rate, make_generator(0, "requests")), simulation, generator)
    requests = (actions == 3).float()
    assert requests.mean().item() == pytest.approx(rate, abs=0.015 if 0 < rate < 1 else 0)
    if rate == 0.3:
        assert requests.mean(0).std() > 0  # each episode for itself
        assert looks_uniform(actions[actions < 3], 3)
        # the requests of two steps are independent: 0.7 * 0.7 have none, ...
        pairs = (requests[:-1:2] * 2 + requests[1::2]).long().flatten().bincount(minlength=4) / requests.numel()
        np.testing.assert_allclose(pairs * 2, [0.49, 0.21, 0.21, 0.09], atol=0.02)


def test_random_requests_by_its_own_generator():
    def outputs(seed):
        return RandomRequest(3, 0.5, make_generator(seed, "requests")).step(state([0.0] * 50, slots=3), ())[0].utilities

    assert torch.equal(outputs(1), outputs(1))
    assert not torch.equal(outputs(1), outputs(2))


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_is_a_probability(generator, rate):
    with pytest.raises(ValueError, match=r"rate is .* a probability lies in"):
        RandomRequest(3, rate, generator)


@pytest.mark.parametrize("kind", ["always", "never", "random", "nearest"])
@pytest.mark.parametrize("limit", [0, 2])
def test_masks_are_respected(tiny_images, generator, kind, limit):
    simulation = streams(tiny_images, 200, max_requests=limit)
    actions, _, _ = play(make_strategy(kind), simulation, generator)
    asked = (actions == 3).sum(0)
    assert (asked <= limit).all()
    if kind in ("always", "nearest"):  # these would ask more often if they could
        assert (asked == limit).all()
    assert (actions < 3).sum() > 0


@pytest.mark.parametrize("kind", ["always", "never", "random", "nearest"])
def test_images_are_taken_as_they_are(tiny_images, generator, kind):
    simulation, strategy = streams(tiny_images, 5), make_strategy(kind)
    assert not isinstance(strategy, Encodes)
    for time, step in enumerate(rollout.play(simulation, strategy, rollout.greedy(generator))):
        assert torch.equal(step.state.item, simulation.images[time])


# --- remembered examples ---


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 7])
def test_a_start_in_mid_run_empties_the_memory_of_its_episode(steps):
    """Episode 1 begins again after some steps, episode 0 goes on."""
    strategy = NearestLabelled(2, threshold=1.0, capacity=3)
    memory = strategy.initial(2)
    for time in range(steps):
        _, memory = strategy.step(state([8.0, 8.0], [1 if time else None] * 2, start=[time == 0] * 2), memory)
    label = 1 if steps else None
    outputs, memory = strategy.step(state([8.5, 8.5], [label, label], start=[steps == 0, True]), memory)
    before = -0.5 if steps else -INF
    assert outputs.utilities.tolist() == [[-INF, before, -1.0], [-INF, -INF, -1.0]]
    outputs, memory = strategy.step(state([8.5, 9.0], [None, 0]), memory)
    assert outputs.utilities.tolist() == [[-INF, -0.5 if steps > 1 else before, -1.0], [-0.5, -INF, -1.0]]


def test_nearest_by_hand(generator):
    strategy = NearestLabelled(2, threshold=1.0, capacity=10)
    steps = [  # image, label that arrives, utilities of slot 0, slot 1, request, action
        (5.0, None, [-INF, -INF, -1.0], 2),
        (5.5, 1, [-INF, -0.5, -1.0], 1),
        (3.0, None, [-INF, -2.0, -1.0], 2),
        (4.0, 0, [-1.0, -1.0, -1.0], None),
        (3.5, None, [-0.5, -1.5, -1.0], 0),
        (9.0, None, [-6.0, -4.0, -1.0], 2),
    ]
    memory = strategy.initial(1)
    for time, (image, label, utilities, action) in enumerate(steps):
        now = state([image], [label], start=[True] if time == 0 else None)
        outputs, memory = strategy.step(now, memory)
        assert outputs.utilities.tolist() == [utilities]
        if action is not None:
            assert best_action(outputs.utilities, now.action_mask, generator).tolist() == [action]


def test_distances_are_euclidean_over_all_pixels():
    strategy = NearestLabelled(2, threshold=1.0, capacity=4)
    mask = torch.ones(1, 3, dtype=torch.bool)
    memory = strategy.initial(1)
    first = StreamState(torch.zeros(1, 4), torch.zeros(1, 2), mask, torch.tensor([True]))
    _, memory = strategy.step(first, memory)
    second = StreamState(torch.tensor([[1.0, 2.0, 2.0, 4.0]]), torch.tensor([[0.0, 1.0]]), mask)
    assert strategy.step(second, memory)[0].utilities.tolist() == [[-INF, -5.0, -1.0]]


def test_nearest_plays_perfectly_where_classes_are_far_apart(make_images, generator):
    """Requests the first image of each class and nothing else, by distance alone."""
    dataset = make_images()
    dataset = replace(dataset, x=0.9 * np.eye(16, dtype=np.float32)[dataset.y] + 0.01 * dataset.x)
    simulation = streams(dataset, 100, rotations=False)
    actions, rewards, targets = play(NearestLabelled(3, 0.5, 30), simulation, generator)
    first = simulation.tasks.instances == 1
    assert torch.equal(actions, torch.where(first, 3, targets))
    expected = 30 - first.sum(0) * 1.05  # 26.85 where all three classes came up
    torch.testing.assert_close(rewards.sum(0), expected)


def test_nearest_with_a_short_memory_asks_again(make_images, generator):
    """Classes A B B B B A with room for two images beside the current one."""
    dataset = make_images()
    dataset = replace(dataset, x=np.eye(16, dtype=np.float32)[dataset.y])
    script = [[0, 1], [1, 4], [0, 1]]
    simulation = streams(dataset, 50, classes=2, script=script, rotations=False)
    asked, _, _ = play(NearestLabelled(2, 0.5, 2), simulation, generator)
    assert ((asked == 2).float().mean(1) == torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0])).all()
    asked, _, _ = play(NearestLabelled(2, 0.5, 5), simulation, generator)
    assert ((asked == 2).float().mean(1) == torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])).all()


@pytest.mark.parametrize("threshold", [-1.0, float("nan")])
def test_a_threshold_is_a_distance(threshold):
    with pytest.raises(ValueError, match=r"threshold is .* not negative"):
        NearestLabelled(3, threshold, 30)


# --- another actor that asks for what nobody has named ---


class Sure:
    """Finds slot 1 best, then slot 2, slot 0, and a request worst."""

    encoder_version = 7

    def encode(self, images):
        return 2 * images

    def initial(self, num_envs):
        return 0

    def step(self, state, memory):
        return Outputs(torch.tensor([[1.0, 3.0, 2.0, 0.0]]).expand(len(state.label), -1)), memory + 1


def told(*slots, ask=True, start=None):
    label = torch.zeros(len(slots), 3)
    for env, slot in enumerate(slots):
        if slot is not None:
            label[env, slot] = 1.0
    mask = torch.ones(len(slots), 4, dtype=torch.bool)
    mask[:, -1] = ask
    return StreamState(torch.zeros(len(slots), 2), label, mask, start)


def test_what_nobody_has_named_is_asked_for_until_a_single_slot_is_left():
    actor = AskUnnamed(Sure(), 3)
    memory, actions = actor.initial(2), []
    for slots in ((None, None), (0, 1), (None, None), (2, None), (None, 0)):
        outputs, memory = actor.step(told(*slots), memory)
        actions.append(outputs.utilities.argmax(-1).tolist())
    # The first stream hears of slots 0 and 2, and asks where its actor finds slot 1 best, until that follows; the
    # second hears of 1.
    assert actions == [[3, 3], [3, 1], [3, 1], [1, 1], [1, 1]]
    assert memory[0] == 5


def test_where_a_stream_begins_or_no_request_is_allowed():
    actor = AskUnnamed(Sure(), 3)
    _, memory = actor.step(told(1, 1), actor.initial(2))
    outputs, memory = actor.step(told(None, None, start=torch.tensor([True, False])), memory)
    assert outputs.utilities.argmax(-1).tolist() == [3, 1]
    outputs, _ = actor.step(told(None, None, ask=False), memory)
    assert outputs.utilities.tolist() == [[1.0, 3.0, 2.0, 0.0]] * 2


def test_it_encodes_as_the_other_does():
    actor = AskUnnamed(Sure(), 3)
    assert isinstance(actor, Encodes) and actor.encoder_version == 7
    assert actor.encode(torch.ones(2)).tolist() == [2.0, 2.0]


def test_in_streams_it_asks_once_a_class_but_for_the_last(tiny_images, generator):
    actions, _, targets = play(AskUnnamed(Sure(), 3), streams(tiny_images, 200), generator)
    named, asked = torch.zeros(200, 3), actions == 3
    for time in range(len(actions)):
        predicted = torch.nn.functional.one_hot(actions[time].clamp_max(2), 3).bool() & ~asked[time, :, None]
        assert (named[predicted.any(-1)].sum(-1) >= 1).all()
        assert (named.bool() | (named.sum(-1, keepdim=True) == 2))[predicted].all()
        named[asked[time], targets[time][asked[time]]] = 1
