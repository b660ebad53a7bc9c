"""Target networks, double Q and Thompson sampling on streams."""

import io
from typing import Any

import pytest
import torch

from almeta.agents.agent import outputs_for
from almeta.agents.losses import td_errors
from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.training.rollout import explore, greedy, play
from tests.agents.pools import make_pool_agent
from tests.agents.streams import make_agent, make_streams, play_exploring, small_network

USUAL: dict[str, Any] = {"through_target": False, "last_step": "terminal"}
TARGETED = USUAL | {"target_rate": 0.25}
THOMPSON = USUAL | {"exploration": "thompson"}


def lesson_of(agent, simulation, seed=0):
    """Return the batch that is played and the lesson that comes of it."""
    rollout = play_exploring(simulation, agent, seed)
    return rollout, next(agent.lessons(rollout, make_generator(seed, "lessons")))


@pytest.mark.parametrize("double_q", [True, False])
def test_the_target_is_of_the_target_network(double_q):
    agent = make_agent("QLearning", double_q=double_q, **TARGETED)
    _, lesson = lesson_of(agent, make_streams())
    # As if it had followed from other weights; how it follows is tested below.
    other = lesson.target_utilities + torch.randn(lesson.utilities.shape, generator=make_generator(1, "test"))
    lesson = lesson.__class__(**{**vars(lesson), "target_utilities": other})
    own = lesson.utilities.masked_fill(~lesson.masks, -torch.inf)
    steps, envs = lesson.actions.shape
    expected = 0.0
    for env in range(envs):
        for time in range(steps):
            target = lesson.rewards[time, env]
            if time + 1 < steps:
                allowed = other[time + 1, env].where(lesson.masks[time + 1, env], -torch.inf)
                best = other[time + 1, env, own[time + 1, env].argmax()] if double_q else allowed.max()
                target = target + agent.gamma * best
            expected += (lesson.utilities[time, env, lesson.actions[time, env]] - target).item() ** 2 / envs
    assert agent.loss(lesson)[0].item() == pytest.approx(expected, rel=1e-4)
    assert (own.argmax(-1) != other.where(lesson.masks, -torch.inf).argmax(-1)).any()  # or both would be the same


def test_the_target_network_follows_and_is_no_part_of_the_weights():
    agent = make_agent("QLearning", **TARGETED)
    names = set(agent.state_dict())
    simulation = make_streams()
    rollout = play_exploring(simulation, agent)
    lessons = agent.lessons(rollout, make_generator(0, "lessons"))
    lesson = next(lessons)
    torch.testing.assert_close(lesson.target_utilities, lesson.utilities.detach())  # it starts as the network
    before = agent.network.head.weight.detach().clone()
    with torch.no_grad():
        agent.network.head.weight += 1.0
    assert next(lessons, None) is None
    (target,) = agent._target
    torch.testing.assert_close(target.head.weight, before + 0.25)
    assert set(agent.state_dict()) == names
    assert not any(parameter.requires_grad for parameter in target.parameters())
    rollout, lesson = lesson_of(agent, simulation)
    utilities, _ = outputs_for(rollout, target, target.initial(simulation.num_envs))
    assert not torch.allclose(lesson.target_utilities, rollout.utilities)
    torch.testing.assert_close(lesson.target_utilities, utilities)


def test_it_goes_on_from_its_learning_state():
    def learn(agent, simulation, batches):
        for _ in range(batches):
            rollout = play_exploring(simulation, agent, luck)
            for lesson in agent.lessons(rollout, luck):
                loss, _ = agent.loss(lesson)
                gradients = torch.autograd.grad(loss, list(agent.network.parameters()))
                with torch.no_grad():
                    for parameter, gradient in zip(agent.network.parameters(), gradients, strict=True):
                        parameter -= 0.1 * gradient

    whole, simulation, luck = make_agent("QLearning", **TARGETED), make_streams(), make_generator(0, "policy")
    learn(whole, simulation, 2)
    file = io.BytesIO()
    torch.save((whole.state_dict(), whole.learning_state()), file)
    states = simulation.generator.get_state(), luck.get_state()
    learn(whole, simulation, 2)

    parted, simulation, luck = make_agent("QLearning", **TARGETED), make_streams(), make_generator(0, "policy")
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    parted.load_state_dict(weights)
    parted.load_learning_state(state)
    simulation.generator.set_state(states[0])
    luck.set_state(states[1])
    learn(parted, simulation, 2)
    for one, other in zip(whole.parameters(), parted.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(KeyError):
        parted.load_learning_state({})
    with pytest.raises(ValueError, match="target network has other weights"):
        make_agent("QLearning", small_network(hidden_size=5), **TARGETED).load_learning_state(state)


@pytest.mark.parametrize("name", ["LSTMNetwork", "EpisodicNetwork", "TransformerNetwork"])
def test_thompson_sampling_leaves_out_units_of_whole_episodes(name):
    agent = make_agent("QLearning", small_network(name, dropout=0.5), **THOMPSON)
    first, again = (agent.begin(6, make_generator(seed, "policy"))[1] for seed in (0, 1))
    assert first.shape == (6, agent.network.num_units)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(first, again) and not torch.equal(first[0], first[1])
    assert agent.initial(6)[1] is None  # judged with all units

    simulation = make_streams(num_envs=6)
    tasks = simulation.sampler.draw(6, make_generator(3, "tasks"))
    memory = agent.begin(6, make_generator(0, "policy"))
    masks = []
    for step in play(simulation, agent, greedy(make_generator(0, "ties")), tasks, memory=memory):
        masks.append(memory[1].clone())
        allowed = step.outputs.utilities.masked_fill(~step.state.action_mask, -torch.inf)
        assert torch.equal(allowed.gather(-1, step.actions[:, None]).squeeze(-1), allowed.amax(-1))
    assert all(torch.equal(mask, masks[0]) for mask in masks)


def test_thompson_targets_are_of_a_network_without_other_units():
    agent = make_agent("QLearning", small_network(dropout=0.5), **THOMPSON)
    rollout, lesson = lesson_of(agent, make_streams())
    assert not torch.allclose(lesson.target_utilities, rollout.utilities)
    best = lesson.target_utilities.masked_fill(~lesson.masks, -torch.inf)
    chosen = best.gather(-1, lesson.utilities.masked_fill(~lesson.masks, -torch.inf).argmax(-1, keepdim=True))
    values = lesson.utilities.gather(-1, lesson.actions[..., None]).squeeze(-1)
    errors = td_errors(values, chosen.squeeze(-1), lesson.rewards, agent.gamma, through_target=False, terminal=True)
    assert agent.loss(lesson)[0].item() == pytest.approx(errors.square().sum(0).mean().item())


def test_before_the_first_lesson_there_is_no_target_network():
    agent = make_agent("QLearning", **TARGETED)
    assert agent.learning_state() == {"target": None}
    agent.load_learning_state({"target": None})
    assert make_agent("QLearning").learning_state() == {}


def test_without_dropout_nothing_is_drawn():
    agent = make_agent("QLearning", small_network(dropout=0.5))
    generator = make_generator(0, "policy")
    before = generator.get_state()
    assert agent.begin(4, generator)[1] is None
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(
    "options, network, message",
    [
        ({}, {"fine_tune": True}, r"network\.fine_tune=true needs an encoder; set network\.code_size"),
        (THOMPSON, {}, r"agent\.exploration=thompson leaves out units, and network\.dropout is 0"),
        ({"target_rate": 0.1}, {}, r"agent\.through_target=true takes the target from the network that acts"),
        ({"target_rate": 0}, {}, r"agent\.target_rate is 0"),
        ({"temperature": 0}, {}, r"agent\.temperature is 0"),
        ({}, {"dropout": 0.95}, r"network\.dropout is 0\.95"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, network, message):
    with pytest.raises(AlmetaError, match=message):
        make_agent("QLearning", small_network(**network), **options)


def test_thompson_sampling_is_of_streams_alone():
    with pytest.raises(AlmetaError, match=r"agent\.exploration=thompson is for streams; choose uniform"):
        make_pool_agent("QLearning", exploration="thompson")


@pytest.mark.parametrize("options", [{"exploration": "boltzmann"}, TARGETED, THOMPSON])
def test_all_ways_learn_to_know_images_again(options):
    """Streams of one class and four slots: who asks once is right ever after."""
    agent = make_agent("QLearning", small_network("EpisodicNetwork", dropout=0.1), **USUAL | {"epsilon": 0.2} | options)
    simulation = make_streams(num_envs=32, classes=1, length=4)
    optimizer = torch.optim.Adam([p for p in agent.parameters() if p.requires_grad], 0.03)
    generator = make_generator(0, "policy")
    for _ in range(60):
        for lesson in agent.lessons(explore(simulation, agent, generator), generator):
            loss, _ = agent.loss(lesson)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        steps = list(play(simulation, agent, greedy(generator)))
    rewards = torch.stack([step.outcome.reward for step in steps]).sum(0).mean()
    assert rewards > 2.5  # at best 3 - 0.05; who remembers nothing gets -0.2


@pytest.mark.parametrize(
    "options, network, says",
    [
        ({}, {}, []),
        ({}, {"dropout": 0.2}, ["network.dropout=0.2 has no effect without agent.exploration=thompson"]),
        (THOMPSON, {"dropout": 0.2}, []),
        ({"double_q": False}, {}, ["agent.double_q=false has no effect without a target network (agent.target_rate)"]),
        (TARGETED | {"double_q": False}, {}, []),
        (THOMPSON | {"double_q": False}, {"dropout": 0.2}, []),
        ({"temperature": 0.5}, {}, ["agent.temperature=0.5 has no effect without agent.exploration=boltzmann"]),
        ({"temperature": 0.5, "exploration": "boltzmann"}, {}, []),
        ({}, {"dueling": True}, []),
        ({"epsilon": 0.5}, {}, []),
        (
            {"epsilon": 0.5, "exploration": "boltzmann"},
            {},
            ["agent.epsilon=0.5 has no effect with agent.exploration=boltzmann, which draws no other actions"],
        ),
    ],
)
def test_options_without_effect_are_told(options, network, says):
    assert make_agent("QLearning", small_network(**network), **options).without_effect() == says


def test_dueling_and_dropout_mean_nothing_to_who_learns_probabilities():
    dropout, dueling = make_agent("PPO", small_network(dropout=0.1, dueling=True)).without_effect()
    assert dropout.startswith("network.dropout=0.1 has no effect")
    assert dueling == "network.dueling=true has no effect: the agent learns no Q-values"
