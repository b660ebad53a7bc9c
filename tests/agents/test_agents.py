"""What every agent with every network must do, and what each agent's options do, in numbers."""

import dataclasses
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from almeta.agents import Agent, MetaScorer, PoolScorer
from almeta.agents.agent import replay
from almeta.agents.losses import discounted_returns
from almeta.build import build
from almeta.errors import AlmetaError
from almeta.inputs import Candidates, Images
from almeta.seeding import make_generator, seeded_weights
from almeta.training.rollout import greedy
from tests.agents.kinds import KIND, PAIRS, make_actor, make_any, make_problem
from tests.agents.pools import POOL_NETWORKS, make_pool_agent
from tests.agents.streams import (
    AGENTS,
    NETWORKS,
    PIXELS,
    SLOTS,
    make_agent,
    make_streams,
    play_exploring,
    play_greedily,
    small_network,
)

ROOT = Path(__file__).parents[2]
REQUEST = SLOTS  # the last action
GIVEN = ("self", "network", "inputs", "num_values")  # known where an agent is built

every_agent = pytest.mark.parametrize("name", AGENTS)
every_pair = pytest.mark.parametrize("name, network", PAIRS)
every_pair_of_streams = pytest.mark.parametrize("name, network", [pair for pair in PAIRS if KIND[pair[1]] == "stream"])


def own_options(kind):
    """Return the constructor's parameters that a user chooses."""
    parameters = inspect.signature(kind.__init__).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in GIVEN}


def another(value, annotation):
    """Return a value of the same kind as a default, but a different one."""
    choices = typing.get_args(annotation)
    if type(None) in choices:
        return 0.5
    if choices:
        return next(choice for choice in choices if choice != value)
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value / 2


def curious(name, epsilon) -> dict[str, Any]:
    """Return the options with which an agent explores often, where it has to be told."""
    return {"epsilon": epsilon} if name == "QLearning" else {}


# ---- every agent, every network


def test_all_are_found():
    assert {"QLearning", "DoubleQLearning", "Reinforce", "ActorCritic", "PPO", "GroupReinforce", "Supervised"} <= set(
        AGENTS
    )
    assert "LSTMNetwork" in NETWORKS
    assert {"MetaScorer", "PoolScorer", "RecurrentPoolScorer", "StateActionNetwork"} <= set(POOL_NETWORKS)
    assert ("GroupReinforce", "LSTMNetwork") in PAIRS and ("PPO", "RecurrentPoolScorer") in PAIRS
    assert not any(name == "Supervised" and KIND[network] == "pool" for name, network in PAIRS)


@every_agent
def test_options_are_stored(name):
    hints = typing.get_type_hints(AGENTS[name].__init__)
    options = {key: another(p.default, hints[key]) for key, p in own_options(AGENTS[name]).items()}
    agent = make_any(name, **options)
    for key, value in options.items():
        assert getattr(agent, {"update_epochs": "epochs"}.get(key, key)) == value


@pytest.mark.parametrize("group, kinds", [("agent", AGENTS), ("network", NETWORKS | POOL_NETWORKS)])
def test_every_option_has_a_test_and_a_line_in_a_config(group, kinds):
    tests = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    configs = [OmegaConf.load(path) for path in (ROOT / "conf" / group).glob("*.yaml")]
    # those without a target change values of another one
    offered = {get_object(config._target_): set(config) for config in configs if "_target_" in config}
    for name, kind in kinds.items():
        assert kind in offered, f"no YAML in conf/{group} names {name}"
        for option in own_options(kind):
            assert option in offered[kind], f"{option} of {name} cannot be chosen in conf/{group}"
            assert re.search(rf'\b{option}=|"{option}"', tests), f"no test of agents names {option} of {name}"


@every_pair
def test_utilities_are_as_many_as_actions_and_the_value_stands_apart(name, network):
    agent, problem = make_actor(name, network), make_problem(name, network)
    step = play_greedily(problem, agent)[0]
    assert step.outputs.utilities.shape == step.state.action_mask.shape
    shape = None if step.outputs.value is None else tuple(step.outputs.value.shape)
    assert shape == (None if agent.num_values == 0 and not isinstance(agent.network, PoolScorer | MetaScorer) else (8,))


@every_pair
def test_loss_is_finite_and_reaches_every_weight(name, network):
    agent = make_actor(name, network)
    rollout = play_exploring(make_problem(name, network, num_envs=16), agent)
    loss, scalars = agent.total_loss(rollout)
    assert loss.shape == () and loss.isfinite()
    for value in scalars.values():
        assert value.shape == () and value.isfinite() and not value.requires_grad
    loss.backward()
    trained = [(key, value) for key, value in agent.named_parameters() if value.requires_grad]
    assert trained
    # A scorer has a value whether one asks for it or not, and a constant added to all scores changes no policy.
    idle = {"network.score.bias", "network.utility.bias"} if not name.endswith("QLearning") else set()
    idle |= {"network.value.weight", "network.value.bias"} if agent.num_values == 0 else set()
    for key, value in trained:
        if key not in idle:
            assert value.grad is not None and value.grad.isfinite().all(), key
            # the supervised agent has no use for the request: a weight that serves nothing else gets none
            assert name == "Supervised" or (value.grad != 0).any(), key


@pytest.fixture
def recorded_views(monkeypatch):
    """What agents read is recorded, as for those that learn several times from a batch."""
    for kind in AGENTS.values():
        monkeypatch.setattr(kind, "epochs", 2)


@every_pair
@pytest.mark.usefixtures("recorded_views")
def test_replay_gives_the_same_outputs(name, network):
    agent = make_actor(name, network)
    rollout = play_exploring(make_problem(name, network), agent)
    again = replay(rollout, agent)
    assert torch.equal(again.utilities, rollout.utilities)  # bit for bit
    torch.testing.assert_close(again.values, rollout.values, atol=0, rtol=0)
    assert again.behaviour is rollout and again.utilities.requires_grad

    with torch.no_grad():  # and those of other weights, once these have changed
        for parameter in agent.parameters():
            parameter.add_(0.1)
    later = replay(again, agent)
    assert not torch.allclose(later.utilities, rollout.utilities, atol=1e-3)
    assert torch.equal(later.actions, rollout.actions) and torch.equal(later.rewards, rollout.rewards)
    assert replay(later, agent).behaviour is rollout  # always the one that was played


@pytest.mark.usefixtures("recorded_views")
def test_replay_asks_the_agent_for_its_act():
    ppo: Any = AGENTS["PPO"]

    class Doubling(ppo):
        def act(self, view, memory):
            outputs, memory = super().act(view, memory)
            return outputs._replace(utilities=2 * outputs.utilities), memory

    with seeded_weights(0):
        agent = Doubling(small_network(), Images(PIXELS, SLOTS))
    rollout = play_exploring(make_streams(), agent)
    assert torch.equal(replay(rollout, agent).utilities, rollout.utilities)


@every_pair
@pytest.mark.usefixtures("recorded_views")
def test_no_gradient_flows_into_what_was_played(name, network):
    agent = make_actor(name, network)
    rollout = play_exploring(make_problem(name, network), agent)
    agent.loss(replay(rollout, agent))[0].backward()  # the graph of what was played is not needed, nor freed
    played = rollout.utilities.detach().clone()
    rollout.utilities.retain_grad()
    agent.loss(replay(rollout, agent))[0].backward()
    assert rollout.utilities.grad is None and torch.equal(rollout.utilities, played)


@every_pair
@pytest.mark.usefixtures("recorded_views")
def test_each_small_step_down_lowers_the_loss_of_the_batch(name, network):
    """Several epochs, as the trainer has them."""

    def loss_now():
        again = replay(rollout, agent)
        if name == "Reinforce":  # its baseline moves with the weights, and what moves it is not in the gradient
            again = dataclasses.replace(again, values=baseline)
        if name == "DoubleQLearning":  # nor is what moves its target
            again = dataclasses.replace(again, target_utilities=rollout.utilities.detach())
        return agent.loss(again)[0]

    agent = make_actor(name, network)
    rollout = play_exploring(make_problem(name, network, num_envs=16), agent)
    baseline = None if rollout.values is None else rollout.values.detach()
    # Sigmoids are flat; norms, and cosines with rows that are almost blank, are steep.
    steps = {"StateActionNetwork": 0.03, "TransformerNetwork": 3e-4, "MANNNetwork": 3e-4}
    small = steps.get(network, 3e-3)
    optimizer = torch.optim.SGD([p for p in agent.parameters() if p.requires_grad], small)
    losses = [loss_now()]
    for _ in range(3):
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
        losses.append(loss_now())
    values = torch.stack(losses).detach()
    assert (values.diff() < 0).all(), values


def test_without_a_second_epoch_nothing_is_recorded():
    rollout = play_exploring(make_streams(), make_agent("Reinforce"))
    assert rollout.views is None and rollout.images is None
    rollout = play_exploring(make_streams(), make_agent("PPO", update_epochs=2))
    assert rollout.views is not None and len(rollout.views) == 8 and rollout.images is not None


@every_pair
def test_same_seed_same_actions(name, network):
    def actions(seed):
        agent = make_actor(name, network, seed)
        return play_exploring(make_problem(name, network, seed, num_envs=20), agent, seed).actions

    assert torch.equal(actions(0), actions(0))
    assert not torch.equal(actions(0), actions(1))


def steps_of(play, simulation, agent):
    """Masks and actions, `[T, E, A]` and `[T, E]`, of a batch played in one way or the other."""
    played = play(simulation, agent)
    if play is play_exploring:
        return played.masks, played.actions
    return torch.stack([step.state.action_mask for step in played]), torch.stack([step.actions for step in played])


@every_pair_of_streams
@pytest.mark.parametrize("play", [play_exploring, play_greedily])
def test_masks_hold_in_recurrent_play(name, network, play, monkeypatch):
    agent = make_agent(name, small_network(network), **curious(name, 0.3))
    step = agent.step

    def eager(state, memory):  # as if nothing were better than to request
        outputs, memory = step(state, memory)
        utilities = outputs.utilities
        return outputs._replace(
            utilities=torch.cat((utilities[:, :REQUEST], utilities[:, REQUEST:] + 100.0), -1)
        ), memory

    monkeypatch.setattr(agent, "step", eager)
    masks, actions = steps_of(play, make_streams(num_envs=200, max_requests=2), agent)
    asked = actions == REQUEST
    before = asked.cumsum(0) - asked.long()
    assert torch.equal(masks[..., REQUEST], before < 2)
    assert masks[..., :REQUEST].all()
    assert (asked.sum(0) == 2).all()  # all of them, but none beyond
    if play is play_greedily:
        assert asked[:2].all()


@pytest.mark.parametrize("name, network", [pair for pair in PAIRS if KIND[pair[1]] == "pool"])
@pytest.mark.parametrize("play", [play_exploring, play_greedily])
def test_masks_hold_in_recurrent_play_on_pools(name, network, play, monkeypatch):
    agent, problem = (
        make_actor(name, network, **curious(name, 0.3)),
        make_problem(name, network, num_envs=100, budget=9),
    )
    step = agent.step

    def stubborn(state, memory):  # as if nothing were better than a row that was picked before
        outputs, memory = step(state, memory)
        return outputs._replace(utilities=outputs.utilities + 100.0 * ~state.available), memory

    monkeypatch.setattr(agent, "step", stubborn)
    masks, actions = steps_of(play, problem, agent)
    for episode in range(100):
        picked = problem.tasks.first[episode].tolist()
        for time in range(9):
            there = problem.tasks.exists[episode].clone()
            there[[row for row in picked if row >= 0]] = False
            assert torch.equal(masks[time, episode], there)
            picked.append(int(actions[time, episode]))
            assert there[picked[-1]]


@every_agent
@pytest.mark.parametrize("choose", ["explore", "greedy"])
def test_a_masked_action_is_never_chosen(name, choose):
    generator = make_generator(0, "test")
    agent = make_any(name, **curious(name, 0.5))
    outputs = 5.0 * torch.randn((5000, SLOTS + 1), generator=generator)
    mask = torch.rand((5000, SLOTS + 1), generator=generator) < 0.5
    mask[torch.arange(5000), torch.randint(SLOTS + 1, (5000,), generator=generator)] = True
    targets = torch.randint(SLOTS, (5000,), generator=generator)
    actions = (
        agent.explore(outputs, mask, targets, generator) if choose == "explore" else greedy(generator)(outputs, mask)
    )
    assert mask.gather(-1, actions[:, None]).all()
    assert len(actions.unique()) == SLOTS + 1


@every_pair
def test_greedy_takes_the_best_allowed_action(name, network):
    agent, problem = make_actor(name, network), make_problem(name, network, num_envs=20)
    for step in play_greedily(problem, agent):
        allowed = step.outputs.utilities.masked_fill(~step.state.action_mask, -torch.inf)
        assert torch.equal(allowed.gather(-1, step.actions[:, None]).squeeze(-1), allowed.amax(-1))


def test_an_agent_without_a_rule_says_so():
    agent = Agent(small_network(), Images(PIXELS, SLOTS))
    nothing = torch.zeros(1, SLOTS + 1)
    with pytest.raises(NotImplementedError):
        agent.explore(nothing, nothing.bool(), None, make_generator(0, "test"))
    with pytest.raises(NotImplementedError):
        agent.loss(play_exploring(make_streams(), make_agent("Reinforce")))


# ---- exploring


def frequencies(agent, utilities, mask, target=1, count=40_000):
    """Return how often each action is explored in one and the same situation, `[A]`."""
    many = torch.tensor(utilities).expand(count, -1), torch.tensor(mask).expand(count, -1)
    targets = None if target is None else torch.full((count,), target)
    actions = agent.explore(*many, targets, make_generator(0, "test"))
    return torch.bincount(actions, minlength=SLOTS + 1) / count


BEST_IS_2 = [0.0, 0.0, 9.0, 0.0, 0.0]
ALL, NO_REQUEST, ONLY_0_AND_2 = [True] * 5, [True] * 4 + [False], [True, False, True, False, False]


def assert_close(found, expected):
    """Assert shares within four standard errors, that of 1/3 among 40,000 being the largest here."""
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=0.0095, rtol=0.0)


@pytest.mark.parametrize(
    "exploration, mask, expected",
    [
        # the correct slot 1, the wrong ones 0, 2, 3 together, the request: a third each
        ("balanced", ALL, [1 / 9, 1 / 3, 1 / 9, 1 / 9, 1 / 3]),
        # where a draw is not allowed, the best action is taken instead
        ("balanced", NO_REQUEST, [1 / 9, 1 / 3, 1 / 9 + 1 / 3, 1 / 9, 0.0]),
        ("balanced", ONLY_0_AND_2, [1 / 9, 0.0, 8 / 9, 0.0, 0.0]),
        ("uniform", ALL, [1 / 5] * 5),
        ("uniform", NO_REQUEST, [1 / 4] * 4 + [0.0]),
        ("uniform", ONLY_0_AND_2, [1 / 2, 0.0, 1 / 2, 0.0, 0.0]),
    ],
)
def test_q_learning_explores_as_the_paper_or_the_code(exploration, mask, expected):
    agent = make_agent("QLearning", epsilon=1.0, exploration=exploration)
    found = frequencies(agent, BEST_IS_2, mask)
    assert_close(found, expected)
    assert (found[~torch.tensor(mask)] == 0).all()


def test_q_learning_explores_with_probability_epsilon():
    agent = make_agent("QLearning", epsilon=0.3, exploration="uniform")
    expected = [0.06, 0.06, 0.76, 0.06, 0.06]
    assert_close(frequencies(agent, BEST_IS_2, ALL), expected)
    assert frequencies(make_agent("QLearning", epsilon=0.0), BEST_IS_2, ALL)[2] == 1.0


def test_boltzmann_exploration_is_a_softmax_of_q_values():
    agent = make_agent("QLearning", exploration="boltzmann", temperature=0.5)
    values = [0.5, -1.0, 0.2, 0.0, 0.4]
    assert_close(frequencies(agent, values, ALL), (torch.tensor(values) / 0.5).softmax(-1))
    for temperature in (0.5, 1e-9):
        agent = make_agent("QLearning", exploration="boltzmann", temperature=temperature)
        assert (frequencies(agent, values, ONLY_0_AND_2)[[1, 3, 4]] == 0).all()


def test_on_pools_an_exploring_step_is_any_allowed_row():
    agent = make_pool_agent("QLearning", epsilon=0.5)
    expected = [0.25, 0.0, 0.75, 0.0, 0.0]
    assert_close(frequencies(agent, BEST_IS_2, ONLY_0_AND_2, target=None), expected)


@pytest.mark.parametrize("name", ["Reinforce", "ActorCritic", "PPO", "GroupReinforce"])
@pytest.mark.parametrize("mask", [ALL, NO_REQUEST, ONLY_0_AND_2])
def test_policies_sample_from_the_softmax_of_what_is_allowed(name, mask):
    logits = [0.5, -1.0, 1.5, 0.0, 1.0]
    found = frequencies(make_agent(name), logits, mask)
    allowed = torch.tensor(logits).where(torch.tensor(mask), torch.tensor(-torch.inf))
    assert_close(found, allowed.softmax(-1))
    assert (found[~torch.tensor(mask)] == 0).all()


def test_the_supervised_agent_takes_its_best_guess():
    assert frequencies(make_agent("Supervised"), BEST_IS_2, NO_REQUEST).tolist() == [0, 0, 1, 0, 0]


# ---- losses, by loops over single numbers


@pytest.fixture
def recorded():
    """Makes a played batch, half of whose later steps may not request, with outputs drawn at random."""

    def make(name, seed=0, **options):
        agent = make_agent(name)
        rollout = play_exploring(make_streams(num_envs=4, **({"max_requests": 1} | options)), agent)
        generator = make_generator(seed, "outputs")
        utilities = torch.randn(rollout.utilities.shape, generator=generator)
        values = None if rollout.values is None else torch.randn(rollout.values.shape, generator=generator)
        return dataclasses.replace(rollout, utilities=utilities, values=values)

    return make


def loop(rollout):
    """Yield (time, env, utilities, value, mask, action, reward) of every step as plain numbers."""
    for time, env in torch.cartesian_prod(*map(torch.arange, rollout.actions.shape)).tolist():
        yield (
            time,
            env,
            rollout.utilities[time, env].tolist(),
            None if rollout.values is None else rollout.values[time, env].item(),
            rollout.masks[time, env].tolist(),
            rollout.actions[time, env].item(),
            rollout.rewards[time, env].item(),
        )


@pytest.mark.parametrize("gamma", [0.5, 0.9])
@pytest.mark.parametrize("last_step", ["skipped", "terminal"])
def test_q_learning_loss(recorded, gamma, last_step):
    rollout = recorded("QLearning")
    steps, envs = rollout.actions.shape
    total = 0.0
    for time, env, utilities, _, _, action, reward in loop(rollout):
        if time + 1 < steps:
            after = zip(rollout.utilities[time + 1, env].tolist(), rollout.masks[time + 1, env].tolist(), strict=True)
            total += (utilities[action] - (reward + gamma * max(q for q, allowed in after if allowed))) ** 2
        elif last_step == "terminal":
            total += (utilities[action] - reward) ** 2
    assert not rollout.masks.all()
    loss, _ = make_agent("QLearning", gamma=gamma, last_step=last_step).loss(rollout)
    assert loss.item() == pytest.approx(total / envs, rel=1e-5)


def test_q_learning_gradient_of_a_masked_action_is_zero_and_of_the_target_as_chosen(recorded):
    def gradient(through_target):
        rollout = recorded("QLearning")
        utilities = rollout.utilities.requires_grad_()
        make_agent("QLearning", through_target=through_target).loss(rollout)[0].backward()
        taken = torch.zeros_like(rollout.masks).scatter(-1, rollout.actions[..., None], True)
        assert (utilities.grad[~rollout.masks & ~taken] == 0).all()
        return (utilities.grad != 0) & ~taken

    assert gradient(True).any()
    assert not gradient(False).any()


def probabilities(utilities, mask):
    weights = [torch.tensor(x).exp().item() if allowed else 0.0 for x, allowed in zip(utilities, mask, strict=True)]
    return [weight / sum(weights) for weight in weights]


def entropy_of(chances):
    return -sum(p * torch.tensor(p).log().item() for p in chances if p > 0)


@pytest.mark.parametrize("gamma, ent_coef, vf_coef", [(0.5, 0.0, 0.0), (0.9, 0.1, 0.0), (0.5, 0.1, 0.7)])
def test_reinforce_loss(recorded, gamma, ent_coef, vf_coef):
    rollout = recorded("Reinforce")
    returns = discounted_returns(rollout.rewards, gamma)
    total = entropy = 0.0
    for time, env, utilities, value, mask, action, _ in loop(rollout):
        chances = probabilities(utilities, mask)
        gain = returns[time, env].item() - value
        total -= gain * torch.tensor(chances[action]).log().item()
        total += vf_coef * gain**2
        entropy += entropy_of(chances)
    count = rollout.actions.numel()
    loss, scalars = make_agent("Reinforce", gamma=gamma, ent_coef=ent_coef, vf_coef=vf_coef).loss(rollout)
    assert loss.item() == pytest.approx((total - ent_coef * entropy) / count, rel=1e-4)
    assert scalars["entropy"].item() == pytest.approx(entropy / count, rel=1e-4)


def test_reinforce_pushes_no_gradient_of_the_policy_into_the_baseline(recorded):
    rollout = recorded("Reinforce")
    utilities, values = rollout.utilities.requires_grad_(), rollout.values.requires_grad_()
    make_agent("Reinforce", vf_coef=0.0).loss(rollout)[0].backward()
    assert (values.grad == 0).all()
    assert (utilities.grad != 0).any()


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.5, "gae_lambda": 0.95, "clip_coef": 0.2, "norm_adv": False},
        {"gamma": 0.9, "gae_lambda": 0.0, "clip_coef": 0.05, "norm_adv": False, "vf_coef": 0.0, "ent_coef": 0.2},
        {"gamma": 0.5, "gae_lambda": 0.5, "clip_coef": 0.1, "norm_adv": True, "vf_coef": 0.3},
    ],
)
@pytest.mark.parametrize("name", ["ActorCritic", "PPO"])
def test_actor_critic_and_ppo_loss_of_later_weights(recorded, name, options):
    old = recorded(name)
    generator = make_generator(1, "outputs")
    change, drift = (0.3 * torch.randn(part.shape, generator=generator) for part in (old.utilities, old.values))
    new = old.with_outputs(old.utilities + change, old.values + drift)
    clip = options["clip_coef"] if name == "PPO" else None
    agent = make_agent(name, **{key: value for key, value in options.items() if name == "PPO" or key != "clip_coef"})
    steps, envs = old.actions.shape
    advantages = torch.zeros(steps, envs)
    for env in range(envs):
        following, running = 0.0, 0.0
        for time in reversed(range(steps)):
            value = old.values[time, env].item()
            running *= agent.gamma * agent.gae_lambda
            running += old.rewards[time, env].item() + agent.gamma * following - value
            advantages[time, env], following = running, value
    returns = advantages + old.values
    if agent.norm_adv:
        advantages = (advantages - advantages.mean()) / advantages.std(correction=0)
    total, clipped = 0.0, 0
    for time, env, utilities, value, mask, action, _ in loop(new):
        chances = probabilities(utilities, mask)
        advantage = advantages[time, env].item()
        if clip is None:
            total -= advantage * torch.tensor(chances[action]).log().item()
        else:
            ratio = chances[action] / probabilities(old.utilities[time, env].tolist(), mask)[action]
            bounded = min(max(ratio, 1 - clip), 1 + clip)
            clipped += ratio != bounded
            total -= min(ratio * advantage, bounded * advantage)
        total += agent.vf_coef * (value - returns[time, env].item()) ** 2
        total -= agent.ent_coef * entropy_of(chances)
    assert clip is None or clipped > 3
    assert agent.loss(new)[0].item() == pytest.approx(total / (steps * envs), rel=1e-4)


@pytest.mark.parametrize("network", KIND)
def test_ppo_first_epoch_has_ratio_1(network):
    def gradient(rollout, agent):
        agent.zero_grad()
        agent.loss(rollout)[0].backward()
        return {key: value.grad.clone() for key, value in agent.named_parameters() if value.grad is not None}

    agent = make_actor("PPO", network, vf_coef=0.0, ent_coef=0.0, norm_adv=False, gae_lambda=1.0)
    rollout = play_exploring(make_problem("PPO", network, num_envs=20), agent)
    # With ratio 1 nothing is clipped, and the gradient is that of REINFORCE with the same baseline.
    first = gradient(rollout, agent)
    plain = make_actor("Reinforce", network, vf_coef=0.0, ent_coef=0.0)
    plain.load_state_dict(agent.state_dict())
    torch.testing.assert_close(first, gradient(replay(rollout, plain), plain))
    torch.testing.assert_close(first, gradient(replay(rollout, agent), agent))
    assert rollout.values is not None
    expected = -(discounted_returns(rollout.rewards, agent.gamma) - rollout.values).mean()
    torch.testing.assert_close(agent.loss(rollout)[0], expected)


def test_ppo_learns_several_times_from_a_batch_and_others_once():
    assert make_agent("PPO", update_epochs=4).epochs == 4
    assert {make_any(name).epochs for name in AGENTS if name != "PPO"} == {1}


def test_supervised_loss(recorded):
    rollout = recorded("Supervised", max_requests=None, reveal="always")
    total = 0.0
    for time, env, utilities, *_ in loop(rollout):
        chances = probabilities(utilities, [True] * SLOTS + [False])  # the request is no answer
        total -= torch.tensor(chances[rollout.targets[time, env]]).log().item()
    loss, _ = make_agent("Supervised").loss(rollout)
    assert loss.item() == pytest.approx(total / rollout.actions.numel(), rel=1e-5)


# ---- bad input


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("QLearning", {"exploration": "sometimes"}, r"exploration is 'sometimes'; it must be 'balanced' or 'uniform'"),
        ("QLearning", {"last_step": "sometimes"}, r"last_step is 'sometimes'; it must be 'skipped' or 'terminal'"),
        ("QLearning", {"epsilon": 1.5}, r"epsilon is 1\.5; it must be a number from 0 to 1"),
        ("GroupReinforce", {"returns": "all"}, r"returns is 'all'; it must be 'curve' or 'rewards'"),
        ("PPO", {"update_epochs": 0}, r"update_epochs is 0; it must be a whole number of at least 1"),
        ("PPO", {"clip_coef": 0}, r"clip_coef is 0; it must be a number above 0"),
        ("Reinforce", {"gamma": 2}, r"gamma is 2; it must be a number from 0 to 1"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    config = {"_target_": f"almeta.agents.{name}", **options}
    with pytest.raises(AlmetaError, match=rf"agent\.{message}"):
        build(config, "agent", network=small_network(), inputs=Images(PIXELS, SLOTS))
    with pytest.raises(AlmetaError, match=rf"agent\.{message}"):
        AGENTS[name](small_network(), Images(PIXELS, SLOTS), **options)


def test_balanced_exploration_is_of_streams_alone():
    with pytest.raises(AlmetaError, match=r"agent\.exploration=balanced is for streams; choose uniform"):
        AGENTS["QLearning"](None, Candidates())


def test_one_step_leaves_a_skipped_last_step_nothing_to_learn_from(recorded):
    rollout = recorded("QLearning", length=1)
    with pytest.raises(AlmetaError, match=r"agent\.last_step=skipped nothing to learn from; set terminal"):
        make_agent("QLearning").loss(rollout)
    assert make_agent("QLearning", last_step="terminal").loss(rollout)[0].isfinite()
