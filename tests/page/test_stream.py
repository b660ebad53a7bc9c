"""Playing a stream with a person: the agent does what it does in the environment if the person knows the truth."""

from typing import Any

import numpy as np
import pytest
import torch

from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.inputs import Images
from almeta.page.stream import RIGHT, WRONG, StreamSession
from almeta.runs.streams import streams_for
from almeta.seeding import make_generator
from almeta.training.agents import load_agent
from almeta.training.rollout import greedy, play


@pytest.fixture
def agent(finished, same_images):
    return load_agent(finished["stream"])


@pytest.fixture
def streams(agent):
    """Makes the same streams again and again."""
    return lambda: streams_for(agent[0], agent[1], None, "test", {}, num_envs=1, seed=0)[1]


def ties():
    return make_generator(0, "ties")


class Script:
    """An agent that does what is written down, and keeps what it was shown."""

    inputs = Images(1, 4)  # it is told no price

    def __init__(self, actions):
        self.actions, self.seen = actions, []

    def predict(self, observation, memory, episode_start, action_mask, generator):
        self.seen.append((observation, bool(episode_start), action_mask.tolist()))
        time = 0 if memory is None else memory
        return np.int64(self.actions[time]), time + 1


def scripted(make_images, actions, **changes):
    options = StreamOptions(length=len(actions), rotations=False, **changes)
    simulation = StreamSimulation(make_images([20] * 4), options, 1, make_generator(0, "streams"))
    agent: Any = Script(actions)
    return StreamSession(agent, simulation, ties()), simulation


def test_with_the_truth_for_answers_the_agent_does_what_it_does_in_the_environment(agent, streams):
    simulation = streams()
    expected = [(int(step.actions), float(step.outcome.reward)) for step in play(simulation, agent[0], greedy(ties()))]
    targets = simulation.tasks.targets[:, 0].tolist()
    session = StreamSession(agent[0], streams(), ties())
    for time, target in enumerate(targets):
        action = session._action
        assert action == expected[time][0]
        asks = action == simulation.num_slots
        assert session.answer(time, target if asks else (RIGHT if action == target else WRONG))
    assert session.status().endswith(f"return {sum(reward for _, reward in expected):.2f}")
    assert {action for action, _ in expected} - {simulation.num_slots}  # it does not only ask


def test_what_is_shown(make_images):
    session, simulation = scripted(make_images, [3, 1, 0])
    card = session.card()
    assert (card.title, card.why, card.choices) == ("image 1 of 3", "I ask: which class is this?", ("A", "B", "C"))
    pixels = simulation.images[0, 0].view(4, 4).numpy()
    assert np.abs(255 * (1 - pixels) - np.asarray(card.image)).max() <= 0.5
    assert not card.may_skip
    assert session.answer(0, 2)
    assert session.card().why == "I say: B." and session.card().choices == ("Right", "Wrong")
    assert session.status() == "1 requests, 0 right, 0 wrong, return -0.05"
    assert session.answer(1, WRONG) and session.answer(2, RIGHT)
    assert session.card().why == session.status() == "1 requests, 1 right, 1 wrong, return -0.05"
    assert session.card().choices == ("Play another one",)


def test_the_agent_learns_the_answer_to_a_request_and_nothing_else(make_images):
    session, simulation = scripted(make_images, [3, 1, 0, 3], max_requests=1)
    images = simulation.images[:, 0].numpy()
    for time, choice in enumerate([2, WRONG, RIGHT]):
        assert session.answer(time, choice)
    labels = [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    for time, (observation, start, mask) in enumerate(session._agent.seen):
        np.testing.assert_array_equal(observation, [*labels[time], *images[time]])
        assert start == (time == 0)
        assert mask == [True] * 3 + [time == 0]  # one request is allowed


def test_an_answer_to_another_image_does_not_count(make_images):
    session, _ = scripted(make_images, [3, 1, 0])
    assert not session.answer(1, 0) and not session.answer(0, 3) and not session.answer(0, None)
    assert session.answer(0, 2) and not session.answer(0, 2)
    assert session.card().title == "image 2 of 3"


def test_undo_plays_the_same_again(agent, streams):
    session, straight = StreamSession(agent[0], streams(), ties()), StreamSession(agent[0], streams(), ties())
    assert not session.undo()
    for time in range(8):
        assert session.answer(time, 1)
        assert session.undo() and session.card().token == time
        assert session.answer(time, 0) and straight.answer(time, 0)
        assert session.card().why == straight.card().why
        np.testing.assert_array_equal(session._looking._told, straight._looking._told)
    for kept, expected in zip(_tensors(session._looking._memory), _tensors(straight._looking._memory), strict=True):
        torch.testing.assert_close(kept, expected)


def test_the_first_image_of_each_slot_that_was_named_is_shown(make_images):
    session, _ = scripted(make_images, [3, 3, 1, 3, 0])
    assert session.card().examples == ()
    images = [session.card().image]
    for time, choice in enumerate([2, 0, WRONG, 2]):
        assert session.answer(time, choice)
        images.append(session.card().image)
    examples = session.card().examples
    assert [name for name, _ in examples] == ["A", "C"]
    for (_, image), first in zip(examples, (images[1], images[0]), strict=True):
        np.testing.assert_array_equal(image, first)


def test_another_stream_follows(make_images):
    session, _ = scripted(make_images, [0, 1])
    first = session._images
    assert session.answer(0, RIGHT) and session.answer(1, RIGHT) and session.answer(2, 0)
    assert session.card().title == "image 1 of 2" and session.status() == "0 requests, 0 right, 0 wrong, return 0.00"
    assert not np.array_equal(session._images, first)


def _tensors(memory):
    if isinstance(memory, torch.Tensor):
        return [memory]
    parts = memory if isinstance(memory, tuple | list) else getattr(memory, "__dict__", {}).values()
    return [tensor for part in parts for tensor in _tensors(part)]
