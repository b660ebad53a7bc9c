"""The simulation of pools: held to a plain loop over scikit-learn, and its rules one by one."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.linear_model import LogisticRegression as Reference

from almeta.data import load_dataset
from almeta.envs import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError
from almeta.learners import MLP
from almeta.oracles import Oracle
from almeta.seeding import make_generator

TABLES = ("iris", "wine", "breast_cancer")


def simulate(num_envs=6, seed=0, names=TABLES, learner=None, oracle=None, **options):
    datasets = [load_dataset(name) for name in names]
    setting = PoolOptions(**({"pool_size": 30, "max_test": 50} | options))
    return PoolSimulation(datasets, setting, num_envs, make_generator(seed, "env"), learner, oracle)


def random_rows(simulation, rng):
    """An available row `[E]` of each pool."""
    available = simulation.state().available.numpy()
    return torch.tensor([rng.choice(np.flatnonzero(row)) for row in available])


def plain_scores(tasks, e, labels, score):
    """What a plain fit to the labels `{row: class}` scores on the test rows of task `e`."""
    rows = list(labels)
    model = Reference(C=1.0, max_iter=10_000, tol=1e-8).fit(tasks.x[e, rows].numpy(), list(labels.values()))
    there = tasks.test_exists[e]
    x, y = tasks.test_x[e, there].numpy(), tasks.test_y[e, there].numpy()
    p = np.zeros((len(y), int(tasks.num_classes[e])))
    p[:, model.classes_] = model.predict_proba(x)
    return {
        "accuracy": lambda: metrics.accuracy_score(y, p.argmax(1)),
        "balanced_accuracy": lambda: metrics.balanced_accuracy_score(y, p.argmax(1)),
        "macro_f1": lambda: metrics.f1_score(y, p.argmax(1), average="macro"),
        "neg_log_loss": lambda: np.log(np.maximum(p[np.arange(len(y)), y], 1e-7)).mean(),
        "true_probability": lambda: p[np.arange(len(y)), y].mean(),
    }[score]()


def first_labels(tasks, e):
    return {int(row): int(tasks.y[e, row]) for row in tasks.first[e] if row >= 0}


# --- a plain loop ---


@pytest.mark.parametrize("query_size", [1, 3])
@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy", "macro_f1", "neg_log_loss", "true_probability"])
def test_scores_are_those_of_a_plain_loop_with_the_same_picks(score, query_size):
    simulation, rng = simulate(score=score, budget=8, query_size=query_size), np.random.default_rng(0)
    simulation.reset()
    tasks = simulation.tasks
    assert len(set(tasks.names)) > 1  # of different widths and class counts
    known = [first_labels(tasks, e) for e in range(6)]
    before = [plain_scores(tasks, e, known[e], score) for e in range(6)]
    # A row that is on the border to 1e-3 may fall to either side.
    close = 1e-3 if score in ("neg_log_loss", "true_probability") else 1.5 / 10
    off = []
    np.testing.assert_allclose(simulation.score, before, atol=close)
    waiting: list[dict] = [{} for _ in range(6)]
    for time in range(8):
        rows = random_rows(simulation, rng)
        outcome = simulation.step(rows)
        for e, row in enumerate(rows.tolist()):
            waiting[e][row] = int(tasks.y[e, row])
            if (time + 1) % query_size == 0 or time == 7:
                known[e] |= waiting[e]
                waiting[e] = {}
            now = plain_scores(tasks, e, known[e], score)
            off.append(abs(outcome.score[e].item() - now))
            assert outcome.reward[e].item() == pytest.approx(now - before[e], abs=2 * close)
            before[e] = now
    assert max(off) < close and np.median(off) < 1e-4
    assert simulation.finished


def test_probabilities_are_those_of_a_plain_loop():
    simulation, rng = simulate(budget=5), np.random.default_rng(0)
    simulation.reset()
    tasks = simulation.tasks
    known = [first_labels(tasks, e) for e in range(6)]
    for _ in range(5):
        rows = random_rows(simulation, rng)
        simulation.step(rows)
        for e, row in enumerate(rows.tolist()):
            known[e][row] = int(tasks.y[e, row])
            model = Reference(max_iter=10_000, tol=1e-8).fit(tasks.x[e, list(known[e])], list(known[e].values()))
            there = tasks.exists[e]
            ours = simulation.state().probabilities[e, there]
            np.testing.assert_allclose(
                ours[:, model.classes_], model.predict_proba(tasks.x[e, there].numpy()), atol=1e-3
            )


# --- a reward up to a goal ---


@pytest.mark.parametrize("group", [1, 2])
def test_a_reward_up_to_a_goal_is_that_of_a_plain_loop(group):
    simulation, rng = simulate(budget=6, reward_target=0.97, group=group), np.random.default_rng(0)
    simulation.reset()
    tasks = simulation.tasks
    everything = [{row: int(tasks.y[e, row]) for row in range(30) if tasks.exists[e, row]} for e in range(6)]
    goals = [0.97 * plain_scores(tasks, e, everything[e], "accuracy") for e in range(6)]
    ended, length = [False] * 6, [0] * 6
    for _ in range(6):
        outcome = simulation.step(random_rows(simulation, rng))
        for e in range(6):
            assert outcome.reward[e] == (0.0 if ended[e] else -1.0)
            ended[e] |= outcome.score[e].item() >= goals[e] - 1e-6
            length[e] += not ended[e]
        assert outcome.ended.tolist() == ended
    assert 0 < sum(ended) < 6 and max(length) > 2  # the goal is neither near nor out of reach


def test_without_a_goal_an_episode_ends_with_its_last_pick():
    simulation, rng = simulate(budget=3), np.random.default_rng(0)
    simulation.reset()
    ended = [simulation.step(random_rows(simulation, rng)).ended.tolist() for _ in range(3)]
    assert ended == [[False] * 6, [False] * 6, [True] * 6]


def test_a_goal_is_of_the_measure_of_the_reward_and_changes_no_score():
    plain, rng = simulate(budget=4), np.random.default_rng(0)
    goal = simulate(budget=4, reward_target=0.0, reward_score="macro_f1")
    assert torch.equal(plain.reset().probabilities, goal.reset().probabilities)
    for time in range(4):
        rows = random_rows(plain, rng)
        here, there = plain.step(rows), goal.step(rows)
        assert torch.equal(here.score, there.score)
        assert there.reward.tolist() == [-1.0 if time == 0 else 0.0] * 6  # the first pick is paid in any case
    with pytest.raises(AlmetaError, match=r"env\.reward_target is a share .* choose another env\.reward_score"):
        PoolOptions(reward_target=0.9, reward_score="neg_log_loss")


# --- what is known ---


def test_the_start():
    simulation = simulate(budget=5)
    state, tasks = simulation.reset(), simulation.tasks
    for e in range(6):
        known = first_labels(tasks, e)
        assert state.labels[e].tolist() == [known.get(row, -1) for row in range(30)]
        assert state.available[e].tolist() == [row not in known for row in range(30)]
    assert torch.equal(state.picks, tasks.first)
    assert (state.budget, state.spent, state.answered) == (5, 0, tasks.first.shape[1])


def test_a_pick_is_known_and_cannot_be_picked_again():
    simulation, rng = simulate(budget=5), np.random.default_rng(0)
    simulation.reset()
    for time in range(5):
        rows, before = random_rows(simulation, rng), simulation.state()
        simulation.step(rows)
        state = simulation.state()
        for e, row in enumerate(rows.tolist()):
            expected = before.labels[e].clone()
            expected[row] = simulation.tasks.y[e, row]
            assert torch.equal(state.labels[e], expected)
            expected = before.available[e].clone()
            expected[row] = False
            assert torch.equal(state.available[e], expected)
        assert torch.equal(state.picks[:, -1], rows) and state.spent == time + 1


def test_several_picks_are_answered_together():
    simulation, rng = simulate(budget=7, query_size=3, score="true_probability"), np.random.default_rng(0)
    start = simulation.reset()
    answered = start.answered
    labels, probabilities, score = start.labels, start.probabilities, simulation.score
    for time in range(1, 8):
        rows = random_rows(simulation, rng)
        outcome = simulation.step(rows)
        state = simulation.state()
        assert not state.available.gather(1, rows[:, None]).any()
        assert state.picks.shape[1] == start.picks.shape[1] + time
        if time in (3, 6, 7):  # the last query is shorter
            assert state.answered == answered + time
            assert ((state.labels >= 0).sum(1) == (start.labels >= 0).sum(1) + time).all()
            assert not torch.equal(state.probabilities, probabilities) and (outcome.reward != 0).any()
            labels, probabilities, score = state.labels, state.probabilities, simulation.score
        else:
            assert torch.equal(state.labels, labels) and torch.equal(state.probabilities, probabilities)
            assert torch.equal(outcome.score, score) and (outcome.reward == 0).all()


@pytest.mark.parametrize("learner", [None, MLP(steps=20)])
@pytest.mark.parametrize("score", ["accuracy", "true_probability"])
def test_an_invalid_pick_is_spent_and_gains_nothing(learner, score):
    simulation = simulate(budget=6, learner=learner, score=score, oracle=Oracle(price=0.1))
    simulation.reset()
    first = simulation.tasks.first[:, 0]
    rng = np.random.default_rng(0)
    for time in range(6):
        before, level = simulation.state(), simulation.score
        rows = random_rows(simulation, rng)
        rows[::2] = first[::2]  # of every second pool, labelled before
        outcome = simulation.step(rows)
        state = simulation.state()
        assert outcome.invalid.tolist() == [True, False] * 3
        assert (outcome.reward[::2] == 0).all() and (outcome.price[::2] == 0).all() and (outcome.price[1::2] > 0).all()
        assert torch.equal(outcome.score[::2], level[::2])
        assert torch.equal(state.labels[::2], before.labels[::2])
        assert torch.equal(state.available[::2], before.available[::2])
        assert ((state.labels >= 0).sum(1)[1::2] == (before.labels >= 0).sum(1)[1::2] + 1).all()
        assert state.spent == time + 1 and not outcome.declined.any()
    assert simulation.finished


def test_a_row_that_pads_is_invalid():
    simulation = simulate(names=("iris", "digits"), pool_size=120, budget=1)
    simulation.reset()
    padded = ~simulation.tasks.exists[:, -1]
    assert padded.any() and not padded.all()
    assert torch.equal(simulation.step(torch.full((6,), 119)).invalid, padded | (simulation.tasks.first == 119).any(1))


# --- oracles ---


def test_the_price_is_taken_off():
    free, priced = (simulate(budget=5, oracle=Oracle(price=price, spread=0.5)) for price in (0.0, 0.2))
    free.reset()
    prices = priced.reset().prices
    assert 0.1 < prices.mean() < 0.3 and prices.std() > 0.03
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = random_rows(free, rng)
        one, other = free.step(rows), priced.step(rows)
        assert torch.equal(one.score, other.score) and (one.price == 0).all()
        torch.testing.assert_close(other.price, prices.gather(1, rows[:, None]).squeeze(1))
        torch.testing.assert_close(other.reward, one.reward - other.price)


def test_whoever_declines_is_asked_in_vain():
    simulation, rng = simulate(budget=10, oracle=Oracle(decline=0.5, price=0.1), score="true_probability"), None
    simulation.reset()
    rng, declined = np.random.default_rng(0), 0
    for _ in range(10):
        rows, before, level = random_rows(simulation, rng), simulation.state(), simulation.score
        outcome, state = simulation.step(rows), simulation.state()
        heard = state.labels.gather(1, rows[:, None]).squeeze(1)
        assert torch.equal(heard < 0, outcome.declined)
        assert not outcome.invalid.any() and not state.available.gather(1, rows[:, None]).any()
        silent = outcome.declined
        assert torch.equal(state.labels[silent], before.labels[silent])
        assert torch.equal(outcome.score[silent], level[silent])
        assert torch.equal(outcome.reward[silent], -outcome.price[silent]) and (outcome.price > 0).all()
        declined += int(silent.sum())
    assert 15 < declined < 45  # of 60


def test_first_labels_are_right_and_answers_are_as_noisy_as_said():
    simulation = simulate(num_envs=40, budget=10, oracle=Oracle(noise=0.3))
    state, rng = simulation.reset(), np.random.default_rng(0)
    y = simulation.tasks.y
    assert torch.equal(state.labels[state.labels >= 0], y[state.labels >= 0])
    for _ in range(10):
        simulation.step(random_rows(simulation, rng))
    asked = (simulation.state().labels >= 0) & (state.labels < 0)
    wrong = (simulation.state().labels != y)[asked].float().mean()
    assert asked.sum() == 400 and abs(wrong - 0.3) < 0.1


# --- budgets, groups, tasks ---


def test_without_a_budget_the_smallest_pool_is_emptied():
    simulation, rng = simulate(names=("iris", "wine"), pool_size=None, budget=None), np.random.default_rng(0)
    simulation.reset()
    tasks = simulation.tasks
    assert set(tasks.names) == {"iris", "wine"}
    smallest = (tasks.exists.sum(1) == 90) & (tasks.num_classes == 3)  # iris
    while not simulation.finished:
        simulation.step(random_rows(simulation, rng))
    state = simulation.state()
    assert state.spent == 87 and not state.available[smallest].any() and state.available[~smallest].any()
    assert torch.equal(state.labels[smallest][tasks.exists[smallest]], tasks.y[smallest][tasks.exists[smallest]])
    with pytest.raises(RuntimeError, match="reset"):
        simulation.step(torch.zeros(6, dtype=torch.int64))


def test_a_budget_that_is_too_large():
    message = (
        "env.budget=28, but the pool of data set 'iris' has 30 rows, 27 of them without a label; choose 27 or less"
    )
    with pytest.raises(AlmetaError, match=message):
        simulate(names=("iris",), budget=28).reset()
    simulate(names=("iris",), budget=27).reset()


@pytest.mark.parametrize("budget", [None, 1])
def test_a_pool_without_anything_to_ask(budget):
    simulation = simulate(num_envs=2, names=("iris",), pool_size=6, max_test=300, num_first=2, budget=budget)
    with pytest.raises(AlmetaError, match="'iris' has 6 rows, 0 of them without a label: there is nothing to ask"):
        simulation.reset()


def test_episodes_of_a_group_share_their_task_and_its_answers():
    simulation = simulate(num_envs=6, group=3, budget=4, oracle=Oracle(noise=0.5, price=0.1, spread=1.0))
    state, tasks = simulation.reset(), simulation.tasks
    for e in range(6):
        leader = e // 3 * 3
        assert torch.equal(tasks.x[e], tasks.x[leader]) and torch.equal(state.picks[e], state.picks[leader])
        assert torch.equal(state.prices[e], state.prices[leader])
    assert not torch.equal(state.prices[0], state.prices[3])
    rng = np.random.default_rng(0)
    for _ in range(4):
        rows = random_rows(simulation, rng)[[0, 0, 0, 3, 3, 3]]
        outcome = simulation.step(rows)
    assert torch.equal(simulation.state().labels[0], simulation.state().labels[2])
    assert torch.equal(outcome.reward[3], outcome.reward[5])


def test_another_score_may_be_rewarded():
    plain, other = simulate(budget=4), simulate(budget=4, reward_score="true_probability")
    measure = simulate(budget=4, score="true_probability")
    for simulation in (plain, other, measure):
        simulation.reset()
    rng = np.random.default_rng(0)
    for _ in range(4):
        rows = random_rows(plain, rng)
        outcomes = [simulation.step(rows) for simulation in (plain, other, measure)]
        assert torch.equal(outcomes[1].score, outcomes[0].score)
        assert torch.equal(outcomes[1].reward, outcomes[2].reward)
        assert not torch.equal(outcomes[1].reward, outcomes[0].reward)


def test_tasks_can_be_given():
    simulation = simulate(num_envs=4, group=2, budget=3)
    tasks = simulation.sampler.draw_seeded([3, 4])
    simulation.reset(tasks)
    assert torch.equal(simulation.tasks.x, tasks.repeat(2).x)
    with pytest.raises(ValueError, match="3 tasks are given; here they are 2"):
        simulation.reset(simulation.sampler.draw_seeded([3, 4, 5]))


def test_the_same_seed_plays_the_same_and_batches_differ():
    one, same, other = (simulate(seed=seed, budget=2) for seed in (0, 0, 1))
    assert torch.equal(one.reset().x, same.reset().x)
    assert not torch.equal(one.state().x, other.reset().x)
    assert not torch.equal(one.state().x, one.reset().x)


def test_an_episode_does_not_depend_on_the_others():
    simulation, rng = simulate(num_envs=6, budget=4, score="true_probability"), np.random.default_rng(0)
    simulation.reset()
    tasks = simulation.tasks
    picks = []
    while not simulation.finished:
        picks.append(random_rows(simulation, rng))
        simulation.step(picks[-1])
    for e in range(6):
        parts = {k: v[e : e + 1] for k, v in vars(tasks).items() if k != "names"}
        alone = simulate(num_envs=1, budget=4, score="true_probability")
        alone.reset(dataclasses.replace(tasks, **parts, names=tasks.names[e : e + 1]))
        for rows in picks:
            alone.step(rows[e : e + 1])
        torch.testing.assert_close(alone.score[0], simulation.score[e], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"score": "acuracy"}, "env.score is 'acuracy'; it must be 'accuracy' or"),
        ({"reward_score": "f1"}, "env.reward_score is 'f1'; it must be 'accuracy' or .* or null"),
        ({"budget": 0}, "budget is 0"),
        ({"query_size": 0}, "query_size is 0"),
        ({"group": 0}, "group is 0"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"group": 4}, "num_envs=6 is no multiple of env.group=4"),
        ({"discount": 1.5}, "env.discount is 1.5"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(AlmetaError, match=message):
        simulate(**options)


def test_plain_values_build_it():
    simulation = simulate(
        num_envs=4, names=("digits",), max_classes=3, max_features=8, first="random", num_first=5, pool_size=20,
        max_test=10, budget=2, query_size=2, score="macro_f1", scale="minmax",
    )  # fmt: skip
    state = simulation.reset()
    assert state.x.shape == (4, 20, 8) and state.x.abs().max() <= 10
    assert state.picks.shape == (4, 5) and simulation.tasks.test_x.shape == (4, 10, 8)
    assert state.num_classes.tolist() == [3] * 4 and state.budget == 2


def test_it_says_what_it_was_made_of():
    one, other = simulate(), simulate(names=("iris", "wine"))
    assert one.kind == "pool" and one.identity["datasets"] == sorted(TABLES)
    assert one.identity["digest"] != other.identity["digest"]
    assert one.identity == simulate(names=TABLES[::-1]).identity
