"""Double Q-learning: its targets by hand, what it keeps and draws, how it explores, and that it goes on exactly."""

import dataclasses
import io

import pytest
import torch

from almeta.agents.double_q_learning import Experience
from almeta.agents.losses import double_q_errors, steps_with_target
from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from tests.agents.pools import READS, make_pool_agent, make_pools, scramble, small_scorer
from tests.agents.streams import play_exploring


def make(seed=0, **options):
    return scramble(make_pool_agent("DoubleQLearning", small_scorer("StateActionNetwork"), seed, **options), seed)


def learn(agent, simulation, batches, seed=0):
    """Train as the trainer does."""
    optimizer, generator = torch.optim.Adam(agent.network.parameters(), 0.01), make_generator(seed, "policy")
    for _ in range(batches):
        for lesson in agent.lessons(play_exploring(simulation, agent, generator), generator):
            optimizer.zero_grad()
            agent.loss(lesson)[0].backward()
            optimizer.step()


# ---- the targets


def by_hand(ended):
    """Three steps of one episode with two actions: the errors, and which steps count."""
    q = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]], [[4.0, 0.0]]])
    target = torch.tensor([[[9.0, 9.0]], [[10.0, 20.0]], [[30.0, 40.0]]])
    masks = torch.ones(3, 1, 2, dtype=torch.bool)
    actions, rewards = torch.tensor([[0], [1], [1]]), torch.tensor([[-1.0], [-1.0], [-1.0]])
    ends = torch.tensor(ended)[:, None]
    errors = double_q_errors(q, target, masks, actions, rewards, ends, 0.5)
    return errors[:, 0].tolist(), steps_with_target(ends)[:, 0].tolist()


def test_targets_by_hand():
    # Q likes action 1 at the second state, which is worth 20 to the target network, and action 0 at the third: 30.
    first, second = 1.0 - (-1.0 + 0.5 * 20.0), 5.0 - (-1.0 + 0.5 * 30.0)
    assert by_hand([False, False, True]) == ([first, second, 0.0 - -1.0], [True, True, True])
    assert by_hand([False, False, False]) == ([first, second, 0.0], [True, True, False])  # cut
    assert by_hand([False, True, True]) == ([first, 5.0 - -1.0, 0.0], [True, True, False])
    assert by_hand([True, True, True]) == ([1.0 - -1.0, 0.0, 0.0], [True, False, False])


def test_a_masked_action_is_no_next_action():
    q, target = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]]), torch.tensor([[[0.0, 0.0]], [[10.0, 20.0]]])
    masks = torch.tensor([[[True, True]], [[True, False]]])
    zeros = torch.zeros(2, 1)
    errors = double_q_errors(q, target, masks, zeros.long(), zeros, zeros.bool(), 1.0)
    assert errors[0, 0] == 1.0 - 10.0


def test_loss_is_the_mean_square_of_the_steps_that_count():
    agent, simulation = make(gamma=0.9), make_pools(num_envs=3, budget=3, reward_target=1.0)
    rollout = play_exploring(simulation, agent)
    rollout = dataclasses.replace(rollout, ended=torch.tensor([[False, True, True]] * 3))  # the first one is cut
    target = torch.randn(rollout.utilities.shape, generator=make_generator(0, "target"))
    rollout = dataclasses.replace(rollout, target_utilities=target)
    total, count = 0.0, 0
    for time, e in ((0, 0), (1, 0), (0, 1), (0, 2)):
        q = rollout.utilities[time, e, rollout.actions[time, e]].item()
        value = rollout.rewards[time, e].item()
        if e == 0:
            allowed = rollout.masks[time + 1, e].nonzero().flatten().tolist()
            best = max(allowed, key=lambda row: rollout.utilities[time + 1, e, row].item())
            value += 0.9 * target[time + 1, e, best].item()
        total, count = total + (q - value) ** 2, count + 1
    assert agent.loss(rollout)[0].item() == pytest.approx(total / count, rel=1e-5)


# ---- what is kept and drawn


def test_steps_are_kept_with_what_follows_and_the_oldest_are_overwritten():
    agent, simulation = make(), make_pools(num_envs=2, budget=3)  # batches of 6 steps
    experience = Experience(10)
    first, second = play_exploring(simulation, agent, 0), play_exploring(simulation, agent, 1)
    experience.add(first)
    assert experience.place == 6
    experience.add(second)
    assert first.views is not None and second.views is not None
    assert experience.place == 2  # 4 of the first batch's steps are left: those of its second episode, and one more
    for e in range(2):
        for time in range(3):
            row = (6 + 3 * e + time) % 10
            kept = experience.transitions(torch.tensor([row]))
            view = second.views[time]
            assert torch.equal(kept["candidates"][0, 0], view.candidates[e])
            assert torch.equal(kept["pool"][0, 0], view.pool[e])
            assert torch.equal(kept["masks"][0, 0], second.masks[time, e])
            assert kept["actions"][0, 0] == second.actions[time, e]
            assert kept["rewards"][0, 0] == second.rewards[time, e]
            assert kept["ended"][0, 0] == (time == 2)
            if time < 2:
                assert torch.equal(kept["candidates"][1, 0], second.views[time + 1].candidates[e])
    assert torch.equal(experience.kept["candidates"][3:6], torch.stack([view.candidates[1] for view in first.views]))


def test_steps_are_drawn_by_their_priority_and_those_that_teach_nothing_never():
    experience = Experience(5)
    experience.kept["priority"] = torch.tensor([1.0, 0.0, 2.0, 3.0, 0.0])
    for exponent, shares in ((0.0, [1, 0, 1, 1, 0]), (1.0, [1, 0, 2, 3, 0]), (3.0, [1, 0, 8, 27, 0])):
        rows = experience.draw(40_000, exponent, make_generator(0, "test"))
        expected = torch.tensor(shares) / sum(shares)
        found = torch.bincount(rows, minlength=5) / 40_000
        torch.testing.assert_close(found, expected, atol=0.0095, rtol=0)  # four standard errors
        assert (found[expected == 0] == 0).all()


def test_steps_after_the_end_are_not_kept_and_the_last_of_a_cut_episode_only_follows():
    agent, experience = make(), Experience(10)
    rollout = play_exploring(make_pools(num_envs=3, budget=3), agent)
    # The first episode is cut, the second one ends with its first step, the third with its second.
    ended = torch.tensor([[False, True, False], [False, True, True], [False, True, True]])
    experience.add(dataclasses.replace(rollout, ended=ended))
    assert experience.place == 6
    assert experience.kept["ended"][:6].tolist() == [False, False, False, True, False, True]
    assert (experience.kept["priority"] > 0).tolist() == [True, True, False, True, True, True] + [False] * 4
    wanted = [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (1, 2)]
    assert rollout.views is not None
    for row, (time, e) in enumerate(wanted):
        assert torch.equal(experience.kept["pool"][row], rollout.views[time].pool[e])
        assert experience.kept["actions"][row] == rollout.actions[time, e]


def test_new_steps_have_the_highest_priority_and_learnt_ones_their_error():
    agent, simulation = make(batch_size=3, updates=1, priority_exponent=0.0), make_pools(num_envs=2, budget=3)
    generator, rollout = make_generator(0, "policy"), play_exploring(simulation, agent)
    (lesson,) = agent.lessons(rollout, generator)
    errors = agent._errors(lesson)[0].abs()
    priority = agent.experience.kept["priority"][:6]
    assert all(error in priority for error in errors) and lesson.actions.shape == (2, 3)
    assert set(priority.tolist()) <= {1.0, *errors.tolist()}
    agent.experience.kept["priority"][0] = 7.0
    agent.experience.add(play_exploring(simulation, agent))
    assert (agent.experience.kept["priority"][6:12] == 7.0).all()


def test_a_lesson_holds_what_was_kept_and_the_outputs_of_both_networks():
    agent, simulation = make(batch_size=5, updates=2, replay_size=50), make_pools(num_envs=4, budget=3)
    scramble(agent.target, 1)
    lessons = agent.lessons(play_exploring(simulation, agent), make_generator(0, "policy"))
    lesson = next(lessons)
    assert lesson.utilities.shape == lesson.target_utilities.shape == (2, 5, 15)
    assert lesson.utilities.requires_grad and not lesson.target_utilities.requires_grad
    assert not torch.allclose(lesson.utilities, lesson.target_utilities)
    counted = steps_with_target(lesson.ended)
    assert counted[0].all() and not counted[1].any()


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_the_target_network_follows_after_each_minibatch(rate):
    agent, simulation = make(updates=3, target_rate=rate), make_pools(num_envs=4, budget=3)
    lessons = agent.lessons(play_exploring(simulation, agent), make_generator(0, "policy"))
    expected = [weight.clone() for weight in agent.target.parameters()]
    for number, _ in enumerate(lessons):
        for old, now in zip(expected, agent.target.parameters(), strict=True):
            torch.testing.assert_close(now, old)
        with torch.no_grad():
            for old, weight in zip(expected, agent.network.parameters(), strict=True):
                weight.add_(0.1 * (number + 1))
                old += rate * (weight - old)
    assert all(torch.allclose(a, b) for a, b in zip(expected, agent.target.parameters(), strict=True))


# ---- exploring


def test_epsilon_falls_after_the_warm_start():
    agent = make(epsilon=0.2, epsilon_batches=4, warm_start=2)
    utilities, mask = torch.tensor([9.0, 0.0, 0.0, 0.0]).expand(40_000, -1), torch.ones(40_000, 4, dtype=torch.bool)
    for batches, epsilon in ((0, 1.0), (2, 1.0), (3, 0.8), (6, 0.2), (50, 0.2)):
        agent.batches = batches
        actions = agent.explore(utilities, mask, None, make_generator(0, "test"))
        best = (actions == 0).float().mean().item()
        assert best == pytest.approx(1 - 0.75 * epsilon, abs=0.01)


# ---- going on


def test_it_goes_on_exactly_from_its_weights_and_its_learning_state():
    options = {"updates": 4, "batch_size": 6, "warm_start": 1, "epsilon_batches": 3}
    whole, simulation = make(**options), make_pools(num_envs=4, budget=3)
    learn(whole, simulation, 2)
    file = io.BytesIO()
    torch.save((whole.state_dict(), whole.learning_state(), simulation.generator.get_state()), file)
    file.seek(0)
    weights, state, env = torch.load(file, weights_only=True)
    learn(whole, simulation, 2, seed=1)
    parted, simulation = make(1, **options), make_pools(num_envs=4, budget=3)
    parted.load_state_dict(weights)
    parted.load_learning_state(state)
    simulation.generator.set_state(env)
    learn(parted, simulation, 2, seed=1)
    for name, weight in whole.state_dict().items():
        # the optimiser began anew in both
        assert torch.equal(parted.state_dict()[name], weight), name
    assert parted.batches == whole.batches == 4
    for name, part in whole.experience.kept.items():
        assert torch.equal(parted.experience.kept[name], part), name
    with pytest.raises(KeyError):
        parted.load_learning_state({})
    with pytest.raises(ValueError, match=r"agent\.replay_size"):
        make(replay_size=77).load_learning_state(state)


def test_steps_of_pools_of_different_sizes_lie_side_by_side():
    agent, generator = make(replay_size=200), make_generator(0, "lessons")
    for size in (20, 40, 30):
        problem = make_pools(num_envs=4, pool_size=size, budget=4)
        list(agent.lessons(play_exploring(problem, agent), generator))
    assert agent.experience.kept["candidates"].shape[:2] == (200, 40)
    assert not agent.experience.kept["masks"][:16, 20:].any() and not agent.experience.kept["masks"][32:48, 30:].any()
    lesson = agent._lesson(torch.arange(8))
    assert agent.loss(lesson)[0].isfinite()
    assert lesson.views and lesson.views[0].candidates.shape[:2] == (16, 40)


@pytest.mark.parametrize("change", [{"place": 99}, {"kept": {"priority": torch.zeros(50)}}])
def test_a_damaged_learning_state_is_refused(change):
    agent = make(replay_size=50)
    with pytest.raises(ValueError, match="it lacks a part of the steps"):
        agent.load_learning_state(agent.learning_state() | change)


# ---- bad input


def test_a_network_with_memory_is_refused():
    with pytest.raises(AlmetaError, match="RecurrentPoolScorer, which has a memory.*such as network=scorer"):
        make_pool_agent("DoubleQLearning", small_scorer("RecurrentPoolScorer"))


def test_inputs_of_varying_width_are_refused():
    with pytest.raises(AlmetaError, match="inputs=columns are as wide as each table.*choose inputs=candidates"):
        make_pool_agent("DoubleQLearning", small_scorer("MetaScorer"), 0, READS["MetaScorer"])


def test_more_steps_than_are_kept_and_none_to_learn_from_are_told():
    with pytest.raises(AlmetaError, match=r"agent\.replay_size=11, but a batch has 12 steps; choose 12 or more"):
        learn(make(replay_size=11), make_pools(num_envs=4, budget=3), 1)
    short = make_pools(num_envs=1, budget=1, reward_target=1.0)
    with pytest.raises(AlmetaError, match=r"set env\.budget to 2 or more"):
        learn(make(), short, 1)
