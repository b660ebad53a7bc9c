import pytest
import torch

from almeta.agents import PPO, LSTMNetwork
from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.evaluation.streams import evaluate
from almeta.inputs import Images
from almeta.seeding import make_generator
from almeta.strategies.stream import AlwaysRequest, NearestLabelled, NeverRequest


@pytest.fixture
def streams(tiny_images):
    def make(num_envs=4, **options):
        settings = StreamOptions(**{"length": 10, **options})
        return StreamSimulation(tiny_images, settings, num_envs, make_generator(0, "env"))

    return make


class Recorder(NeverRequest):
    """Guesses, and keeps the images that it was shown."""

    encoder_version = None

    def __init__(self, num_slots: int) -> None:
        super().__init__(num_slots)
        self.seen: list[torch.Tensor] = []

    def encode(self, images):
        self.seen.append(images)
        return images


def test_rules_with_a_known_score(streams):
    always = evaluate(AlwaysRequest(3), streams(), 8, seed=0).summary()
    assert (always["request_rate"], always["accuracy"], always["prediction_accuracy"]) == (1.0, 0.0, None)
    assert always["mean_return"] == pytest.approx(-0.5)  # ten requests
    never = evaluate(NeverRequest(3), streams(250), 2000, seed=0).summary()
    assert never["request_rate"] == 0.0
    assert never["prediction_accuracy"] == never["accuracy"] == pytest.approx(1 / 3, abs=0.02)
    assert never["mean_return"] == pytest.approx(-10 / 3, abs=0.2)  # ten times 1/3 right, 2/3 wrong


def test_everybody_meets_the_same_streams_at_every_call(streams):
    simulation = streams()
    first, second = Recorder(3), Recorder(3)
    evaluate(first, simulation, 8, seed=5)
    evaluate(AlwaysRequest(3), simulation, 8, seed=5)
    evaluate(second, simulation, 8, seed=5)
    assert torch.equal(torch.stack(first.seen), torch.stack(second.seen))
    assert not torch.equal(first.seen[0], first.seen[1])  # two batches of four, not one twice
    other = Recorder(3)
    evaluate(other, simulation, 8, seed=6)
    assert not torch.equal(first.seen[0], other.seen[0])


def test_ties_are_broken_alike_at_every_call(streams):
    one, two = (evaluate(NeverRequest(3), streams(), 8, seed=0).summary() for _ in range(2))
    assert one == two


def test_the_simulation_is_not_disturbed(streams):
    simulation = streams()
    simulation.reset()
    simulation.step(torch.zeros(4, dtype=torch.int64))
    tasks, generator, state = simulation.tasks, simulation.generator, simulation.generator.get_state()
    evaluate(NeverRequest(3), simulation, 6, seed=0)
    assert (simulation.tasks, simulation.generator, simulation.time, simulation.num_envs) == (tasks, generator, 1, 4)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize(("asked", "played"), [(1, 1), (3, 3), (4, 4), (5, 6), (8, 8), (9, 9), (10, 12), (1000, 1000)])
def test_as_many_episodes_as_asked_for_rounded_up_to_equal_batches(streams, asked, played):
    assert evaluate(AlwaysRequest(3), streams(num_envs=4), asked, seed=0).summary()["episodes"] == played


def test_free_labels(streams):
    summary = evaluate(NearestLabelled(3, 0.0, 10), streams(reveal="always"), 20, seed=0).summary()
    assert summary["request_rate"] == 1.0
    assert summary["accuracy"] == summary["prediction_accuracy"]


def test_an_agent_is_judged_greedily_and_without_a_graph(streams):
    simulation = streams()
    agent = PPO(lambda **shape: LSTMNetwork(**shape, hidden_size=4), Images(simulation.num_pixels, 3))
    outputs = []
    step = agent.step
    agent.step = lambda *args: outputs.append(step(*args)) or outputs[-1]  # type: ignore[func-returns-value,method-assign]
    evaluate(agent, simulation, 4, seed=0)
    assert len(outputs) == 10
    assert not any(output.utilities.requires_grad or output.value.requires_grad for output, _ in outputs)
    assert all(parameter.grad is None for parameter in agent.parameters())


def test_request_rates_along_a_script(streams):
    rates = evaluate(AlwaysRequest(3), streams().scripted([[0, 2], [1, 1]]), 4, seed=0).step_request_rates
    assert rates == [1.0, 1.0, 1.0]
