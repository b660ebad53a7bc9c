import pytest
import torch

from almeta.agents import PPO, LSTMNetwork
from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.evaluation.streams import evaluate
from almeta.inputs import Images
from almeta.seeding import make_generator, seeded_weights
from almeta.strategies import Actor
from almeta.strategies.stream import AlwaysRequest, NearestLabelled, NeverRequest
from almeta.tasks import StreamTasks
from almeta.training.rollout import greedy, play


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
    assert all(output.value is not None and not output.value.requires_grad for output, _ in outputs)
    assert not any(output.utilities.requires_grad for output, _ in outputs)
    assert all(parameter.grad is None for parameter in agent.parameters())


def test_request_rates_along_a_script(streams):
    rates = evaluate(AlwaysRequest(3), streams().scripted([[0, 2], [1, 1]]), 4, seed=0).step_request_rates
    assert rates == [1.0, 1.0, 1.0]


# ---- how many episodes at once


@pytest.mark.parametrize("at_once", [1, 3, 4])
@pytest.mark.parametrize("who", ["agent", "rule"])
def test_an_episode_is_played_alike_whatever_batch_it_is_in(streams, at_once, who):
    """Utilities agree but for the last bits of float32; and with them actions and rewards."""
    whole = streams(num_envs=12)
    with seeded_weights(3):
        agent = PPO(lambda **shape: LSTMNetwork(**shape, hidden_size=8), Images(whole.num_pixels, 3)).eval()
    actor: Actor = agent if who == "agent" else NearestLabelled(3, 1.4, 10)

    def played(simulation, tasks):
        steps = list(play(simulation, actor, greedy(make_generator(0, "ties")), tasks))
        utilities = torch.stack([step.outputs.utilities for step in steps]).detach()
        return utilities, torch.stack([step.outcome.reward for step in steps])

    whole.reset()
    tasks = whole.tasks
    expected = played(whole, tasks)
    parts = []
    for begin in range(0, 12, at_once):
        part = StreamTasks(*(field[:, begin : begin + at_once] for field in vars(tasks).values()))
        parts.append(played(streams(num_envs=at_once), part))
    utilities, rewards = (torch.cat(each, 1) for each in zip(*parts, strict=True))
    torch.testing.assert_close(utilities, expected[0], rtol=1e-5, atol=1e-5)
    clear = expected[0].topk(2, -1).values.diff(dim=-1).abs().squeeze(-1) > 1e-4  # no tie to be broken
    same_so_far = (~clear).cumsum(0) == 0
    share = same_so_far.float().mean()
    assert share > 0.9, share
    assert torch.equal(rewards[same_so_far], expected[1][same_so_far])


def test_how_many_play_at_once_decides_which_streams_are_drawn_and_nothing_else(streams):
    """The streams of a seed depend on it, as their order of drawing does; the mean does not, but for chance."""
    results = {}
    for at_once in (40, 250, 1000):
        results[at_once] = evaluate(NearestLabelled(3, 1.4, 10), streams(num_envs=at_once), 2000, seed=0).summary()
    assert {summary["episodes"] for summary in results.values()} == {2000}
    returns = [summary["mean_return"] for summary in results.values()]
    assert len(set(returns)) == 3
    half_widths = [summary["intervals"]["mean_return"] for summary in results.values()]
    assert max(returns) - min(returns) < 2 * max(half_widths)
    # As many at once as there are episodes, or more, is all the same.
    assert (
        evaluate(NearestLabelled(3, 1.4, 10), streams(num_envs=5000), 1000, seed=0).summary()
        == evaluate(NearestLabelled(3, 1.4, 10), streams(num_envs=1000), 1000, seed=0).summary()
    )
