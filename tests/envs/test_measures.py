"""What is recorded beside scores, and another learner as the judge."""

import torch

from almeta.data import load_dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.envs.scores import accuracy
from almeta.learners import make_learner
from almeta.oracles import Oracle
from almeta.pool import Pool

OPTIONS = PoolOptions(pool_size=30, max_test=40, budget=6, query_size=2)


def simulate(**parts) -> PoolSimulation:
    generator = torch.Generator().manual_seed(3)
    simulation = PoolSimulation([load_dataset("iris")], OPTIONS, 4, generator, **parts)
    simulation.reset()
    return simulation


def test_wrong_answers_are_counted_without_the_first_labels():
    simulation = simulate(oracle=Oracle(noise=0.5), measures=["wrong_answers"])
    assert simulation.scores["wrong_answers"].tolist() == [0] * 4
    asked: list[list[int]] = [[] for _ in range(4)]
    for time in range(6):
        rows = simulation.state().available.float().argmax(1)
        simulation.step(rows)
        for e, row in enumerate(rows.tolist()):
            asked[e].append(int(simulation.answers.labels[e, row] != simulation.tasks.y[e, row]))
        if time % 2:  # a query is answered
            expected = torch.tensor([sum(one) / len(one) for one in asked])
            torch.testing.assert_close(simulation.scores["wrong_answers"], expected)
    assert 0 < expected.mean() < 1


def test_pseudo_labels_are_counted():
    learner = make_learner({"name": "pseudo_labels", "base": "prototype", "threshold": 0.9})
    simulation = simulate(learner=learner, measures=["pseudo_labels", "wrong_pseudo_labels"])
    for _ in range(2):
        simulation.step(simulation.state().available.float().argmax(1))
    assumed, state, tasks = simulation.pool.assumed, simulation.state(), simulation.tasks
    for e in range(4):
        free = [row for row in range(30) if tasks.exists[e, row] and state.labels[e, row] < 0]
        kept = [row for row in free if assumed[e, row] >= 0]
        wrong = [row for row in kept if assumed[e, row] != tasks.y[e, row]]
        got = [float(simulation.scores[name][e]) for name in ("pseudo_labels", "wrong_pseudo_labels")]
        torch.testing.assert_close(got, [len(kept) / len(free), len(wrong) / max(1, len(kept))])
    assert simulation.scores["pseudo_labels"].min() > 0 and simulation.scores["wrong_pseudo_labels"].max() > 0
    plain = simulate(measures=["pseudo_labels", "wrong_pseudo_labels"])
    assert all((plain.scores[name] == 0).all() for name in ("pseudo_labels", "wrong_pseudo_labels"))


def test_another_learner_judges_the_rows_that_the_first_one_chooses():
    judge = make_learner("prototype")
    simulation, alone = simulate(judge=judge), simulate()
    for _ in range(6):
        rows = alone.state().probabilities.max(-1).values.masked_fill(~alone.state().available, 2).argmin(1)
        outcome, own = simulation.step(rows), alone.step(rows)
        torch.testing.assert_close(simulation.state().probabilities, alone.state().probabilities)
    assert not torch.equal(outcome.score, own.score)
    state, tasks = simulation.state(), simulation.tasks
    labels = state.labels.gather(1, state.picks)
    judged = Pool(tasks.x, tasks.exists, state.picks, labels, tasks.num_classes, judge, budget=1)
    expected = accuracy(judged.probabilities(tasks.test_x), tasks.test_y, tasks.test_exists)
    torch.testing.assert_close(outcome.score, expected)
