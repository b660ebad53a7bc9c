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

from almeta.agents.losses import discounted_returns
from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.training.rollout import replay
from tests.agents.streams import (
    AGENTS,
    NETWORKS,
    SLOTS,
    make_agent,
    make_streams,
    play_exploring,
    play_greedily,
    small_network,
    stream_options,
)

ROOT = Path(__file__).parents[2]
REQUEST = SLOTS  # the last action
GIVEN = ("self", "network", "num_pixels", "num_slots", "num_outputs", "num_values")  # known where an agent is built

every_agent = pytest.mark.parametrize("name", AGENTS)
every_pair = pytest.mark.parametrize("name, network", [(a, n) for a in AGENTS for n in NETWORKS])


def own_options(kind):
    """Return the constructor's parameters that a user chooses."""
    parameters = inspect.signature(kind.__init__).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in GIVEN}


def another(value, annotation):
    """Return a value of the same kind as a default, but a different one."""
    choices = typing.get_args(annotation)
    if choices:
        return next(choice for choice in choices if choice != value)
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value / 2


def curious(name, epsilon) -> dict[str, Any]:
    """Return the options with which an agent explores often, where it has to be told."""
    return {"epsilon": epsilon} if name == "QLearning" else {}


# ---- every agent, every network


def test_all_are_found():
    assert {"QLearning", "Reinforce", "PPO", "Supervised"} <= set(AGENTS)
    assert "LSTMNetwork" in NETWORKS


@every_agent
def test_options_are_stored(name):
    hints = typing.get_type_hints(AGENTS[name].__init__)
    options = {key: another(p.default, hints[key]) for key, p in own_options(AGENTS[name]).items()}
    agent = make_agent(name, **options)
    for key, value in options.items():
        assert getattr(agent, {"update_epochs": "epochs"}.get(key, key)) == value


@pytest.mark.parametrize("group, kinds", [("agent", AGENTS), ("network", NETWORKS)])
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
def test_loss_is_finite_and_reaches_every_weight(name, network):
    agent = make_agent(name, small_network(network))
    rollout = play_exploring(make_streams(num_envs=16, **stream_options(name)), agent)
    loss, scalars = agent.loss(rollout)
    assert loss.shape == () and loss.isfinite()
    for value in scalars.values():
        assert value.shape == () and value.isfinite() and not value.requires_grad
    loss.backward()
    trained = [(key, value) for key, value in agent.named_parameters() if value.requires_grad]
    assert trained
    for key, value in trained:
        assert value.grad is not None and value.grad.isfinite().all(), key
        # the supervised agent has no use for the request: a weight that serves nothing else gets none
        assert name == "Supervised" or (value.grad != 0).any(), key


@every_pair
def test_replay_gives_the_same_outputs(name, network):
    agent = make_agent(name, small_network(network))
    rollout = play_exploring(make_streams(**stream_options(name)), agent)
    again = replay(rollout, agent)
    torch.testing.assert_close(again.outputs, rollout.outputs)
    torch.testing.assert_close(again.behaviour, rollout.outputs)
    assert again.outputs.requires_grad
    assert again.behaviour is not None and not again.behaviour.requires_grad

    with torch.no_grad():  # and those of other weights, once these have changed
        for parameter in agent.parameters():
            parameter.add_(0.1)
    later = replay(again, agent)
    assert not torch.allclose(later.outputs, rollout.outputs, atol=1e-3)
    torch.testing.assert_close(replay(later, agent).behaviour, rollout.outputs)  # always those it was played with


@every_pair
def test_same_seed_same_actions(name, network):
    def actions(seed):
        agent = make_agent(name, small_network(network), seed=seed)
        return play_exploring(make_streams(seed, num_envs=20, **stream_options(name)), agent, seed).actions

    assert torch.equal(actions(0), actions(0))
    assert not torch.equal(actions(0), actions(1))


@every_pair
@pytest.mark.parametrize("play", [play_exploring, play_greedily])
def test_masks_hold_in_recurrent_play(name, network, play, monkeypatch):
    agent = make_agent(name, small_network(network), **curious(name, 0.3))
    step = agent.step

    def eager(state, memory):  # as if nothing were better than to request
        outputs, memory = step(state, memory)
        return torch.cat((outputs[:, :REQUEST], outputs[:, REQUEST:] + 100.0), -1), memory

    monkeypatch.setattr(agent, "step", eager)
    rollout = play(make_streams(num_envs=200, max_requests=2), agent)
    asked = rollout.actions == REQUEST
    before = asked.cumsum(0) - asked.long()
    assert torch.equal(rollout.masks[..., REQUEST], before < 2)
    assert rollout.masks[..., :REQUEST].all()
    assert (asked.sum(0) == 2).all()  # all of them, but none beyond
    if play is play_greedily:
        assert asked[:2].all()


@every_agent
@pytest.mark.parametrize("choose", ["explore", "greedy"])
def test_a_masked_action_is_never_chosen(name, choose):
    generator = make_generator(0, "test")
    agent = make_agent(name, **curious(name, 0.5))
    outputs = 5.0 * torch.randn((5000, SLOTS + 2), generator=generator)
    mask = torch.rand((5000, SLOTS + 1), generator=generator) < 0.5
    mask[torch.arange(5000), torch.randint(SLOTS + 1, (5000,), generator=generator)] = True
    targets = torch.randint(SLOTS, (5000,), generator=generator)
    outputs = outputs[:, : agent.network.head.out_features]
    if choose == "explore":
        actions = agent.explore(outputs, mask, targets, generator)
    else:
        actions = agent.greedy(outputs, mask, generator)
    assert mask.gather(-1, actions[:, None]).all()
    assert len(actions.unique()) == SLOTS + 1


@every_agent
def test_greedy_takes_the_best_action_and_no_further_output(name):
    agent = make_agent(name)
    outputs = torch.tensor([[0.1, 0.9, 0.3, 0.2, 0.5, 99.0], [3.0, 2.0, 1.0, 0.0, 4.0, 99.0]])
    outputs = outputs[:, : agent.network.head.out_features]
    everything = torch.ones(2, SLOTS + 1, dtype=torch.bool)
    assert agent.greedy(outputs, everything, make_generator(0, "test")).tolist() == [1, 4]


def test_an_agent_without_a_rule_says_so():
    agent = typing.cast(typing.Any, inspect.getmro(AGENTS["Supervised"])[1])(small_network(), 16, SLOTS)
    with pytest.raises(NotImplementedError, match="explores"):
        agent.explore(None, None, None, None)
    with pytest.raises(NotImplementedError, match="loss"):
        agent.loss(None)


# ---- exploring


def frequencies(agent, outputs, mask, target=1, count=40_000):
    """Return how often each action is explored in one and the same situation, `[A]`."""
    many = torch.tensor(outputs).expand(count, -1), torch.tensor(mask).expand(count, -1)
    actions = agent.explore(*many, torch.full((count,), target), make_generator(0, "test"))
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


@pytest.mark.parametrize("name", ["Reinforce", "PPO"])
@pytest.mark.parametrize("mask", [ALL, NO_REQUEST, ONLY_0_AND_2])
def test_policies_sample_from_the_softmax_of_what_is_allowed(name, mask):
    logits = [0.5, -1.0, 1.5, 0.0, 1.0]
    found = frequencies(make_agent(name), [*logits, 77.0], mask)  # 77: the state value has no say
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
        rollout = play_exploring(make_streams(num_envs=4, max_requests=1) if not options else options["streams"], agent)
        outputs = torch.randn(rollout.outputs.shape, generator=make_generator(seed, "outputs"))
        return dataclasses.replace(rollout, outputs=outputs)

    return make


def loop(rollout):
    """Yield (time, env, outputs, mask, action, reward) of every step as plain numbers."""
    for time, env in torch.cartesian_prod(*map(torch.arange, rollout.actions.shape)).tolist():
        yield (
            time,
            env,
            rollout.outputs[time, env].tolist(),
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
    for time, env, outputs, _, action, reward in loop(rollout):
        if time + 1 < steps:
            after = zip(rollout.outputs[time + 1, env].tolist(), rollout.masks[time + 1, env].tolist(), strict=True)
            total += (outputs[action] - (reward + gamma * max(q for q, allowed in after if allowed))) ** 2
        elif last_step == "terminal":
            total += (outputs[action] - reward) ** 2
    assert not rollout.masks.all()
    loss, _ = make_agent("QLearning", gamma=gamma, last_step=last_step).loss(rollout)
    assert loss.item() == pytest.approx(total / envs, rel=1e-5)


def test_q_learning_gradient_of_a_masked_action_is_zero_and_of_the_target_as_chosen(recorded):
    def gradient(through_target):
        rollout = recorded("QLearning")
        outputs = rollout.outputs.requires_grad_()
        make_agent("QLearning", through_target=through_target).loss(rollout)[0].backward()
        taken = torch.zeros_like(rollout.masks).scatter(-1, rollout.actions[..., None], True)
        assert (outputs.grad[~rollout.masks & ~taken] == 0).all()
        return (outputs.grad != 0) & ~taken

    assert gradient(True).any()
    assert not gradient(False).any()


def probabilities(outputs, mask):
    weights = [
        torch.tensor(x).exp().item() if allowed else 0.0 for x, allowed in zip(outputs[: SLOTS + 1], mask, strict=True)
    ]
    return [weight / sum(weights) for weight in weights]


def entropy_of(chances):
    return -sum(p * torch.tensor(p).log().item() for p in chances if p > 0)


@pytest.mark.parametrize("gamma, ent_coef, vf_coef", [(0.5, 0.0, 0.0), (0.9, 0.1, 0.0), (0.5, 0.1, 0.7)])
def test_reinforce_loss(recorded, gamma, ent_coef, vf_coef):
    rollout = recorded("Reinforce")
    returns = discounted_returns(rollout.rewards, gamma)
    total = entropy = 0.0
    for time, env, outputs, mask, action, _ in loop(rollout):
        chances = probabilities(outputs, mask)
        gain = returns[time, env].item() - outputs[-1]
        total -= gain * torch.tensor(chances[action]).log().item()
        total += vf_coef * gain**2
        entropy += entropy_of(chances)
    count = rollout.actions.numel()
    loss, scalars = make_agent("Reinforce", gamma=gamma, ent_coef=ent_coef, vf_coef=vf_coef).loss(rollout)
    assert loss.item() == pytest.approx((total - ent_coef * entropy) / count, rel=1e-4)
    assert scalars["entropy"].item() == pytest.approx(entropy / count, rel=1e-4)


def test_reinforce_pushes_no_gradient_of_the_policy_into_the_baseline(recorded):
    rollout = recorded("Reinforce")
    outputs = rollout.outputs.requires_grad_()
    make_agent("Reinforce", vf_coef=0.0).loss(rollout)[0].backward()
    assert (outputs.grad[..., -1] == 0).all()
    assert (outputs.grad[..., :-1] != 0).any()


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.5, "gae_lambda": 0.95, "clip_coef": 0.2, "norm_adv": False},
        {"gamma": 0.9, "gae_lambda": 0.0, "clip_coef": 0.05, "norm_adv": False, "vf_coef": 0.0, "ent_coef": 0.2},
        {"gamma": 0.5, "gae_lambda": 0.5, "clip_coef": 0.1, "norm_adv": True, "vf_coef": 0.3},
    ],
)
def test_ppo_loss_of_later_weights(recorded, options):
    old = recorded("PPO")
    change = 0.3 * torch.randn(old.outputs.shape, generator=make_generator(1, "outputs"))
    new = old.with_outputs(old.outputs + change)
    agent = make_agent("PPO", **options)
    steps, envs = old.actions.shape
    advantages = torch.zeros(steps, envs)
    for env in range(envs):
        following, running = 0.0, 0.0
        for time in reversed(range(steps)):
            value = old.outputs[time, env, -1].item()
            running *= agent.gamma * agent.gae_lambda
            running += old.rewards[time, env].item() + agent.gamma * following - value
            advantages[time, env], following = running, value
    returns = advantages + old.outputs[..., -1]
    if agent.norm_adv:
        advantages = (advantages - advantages.mean()) / advantages.std(correction=0)
    total, clipped = 0.0, 0
    for time, env, outputs, mask, action, _ in loop(new):
        chances = probabilities(outputs, mask)
        ratio = chances[action] / probabilities(old.outputs[time, env].tolist(), mask)[action]
        bounded = min(max(ratio, 1 - agent.clip_coef), 1 + agent.clip_coef)
        advantage = advantages[time, env].item()
        clipped += ratio != bounded
        total -= min(ratio * advantage, bounded * advantage)
        total += agent.vf_coef * (outputs[-1] - returns[time, env].item()) ** 2
        total -= agent.ent_coef * entropy_of(chances)
    assert clipped > 3
    assert agent.loss(new)[0].item() == pytest.approx(total / (steps * envs), rel=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_ppo_first_epoch_has_ratio_1(network):
    def gradient(rollout, agent):
        agent.zero_grad()
        agent.loss(rollout)[0].backward()
        return {key: value.grad.clone() for key, value in agent.named_parameters() if value.grad is not None}

    agent = make_agent("PPO", small_network(network), vf_coef=0.0, ent_coef=0.0, norm_adv=False, gae_lambda=1.0)
    rollout = play_exploring(make_streams(num_envs=20), agent)
    # With ratio 1 nothing is clipped, and the gradient is that of REINFORCE with the same baseline.
    first = gradient(rollout, agent)
    plain = make_agent("Reinforce", small_network(network), vf_coef=0.0, ent_coef=0.0)
    plain.load_state_dict(agent.state_dict())
    torch.testing.assert_close(first, gradient(replay(rollout, plain), plain))
    torch.testing.assert_close(first, gradient(replay(rollout, agent), agent))
    expected = -(discounted_returns(rollout.rewards, agent.gamma) - rollout.outputs[..., -1]).mean()
    torch.testing.assert_close(agent.loss(rollout)[0], expected)


def test_ppo_learns_several_times_from_a_batch_and_others_once():
    assert make_agent("PPO", update_epochs=4).epochs == 4
    assert make_agent("Reinforce").epochs == make_agent("QLearning").epochs == make_agent("Supervised").epochs == 1


def test_supervised_loss(recorded):
    rollout = recorded("Supervised", streams=make_streams(num_envs=4, reveal="always"))
    total = 0.0
    for time, env, outputs, *_ in loop(rollout):
        chances = probabilities(outputs, [True] * SLOTS + [False])  # the request is no answer
        total -= torch.tensor(chances[rollout.tasks.targets[time, env]]).log().item()
    loss, _ = make_agent("Supervised").loss(rollout)
    assert loss.item() == pytest.approx(total / rollout.actions.numel(), rel=1e-5)


# ---- bad input


@pytest.mark.parametrize("option", ["exploration", "last_step"])
def test_unknown_words_are_refused(option):
    with pytest.raises(AlmetaError, match=rf"agent\.{option} is 'sometimes'; choose '\w+' or '\w+'"):
        make_agent("QLearning", None, 0, **{option: "sometimes"})
