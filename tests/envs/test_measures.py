"""What is recorded beside scores, and another learner as the judge."""

from dataclasses import replace

import pytest
import torch

from almeta.data import load_dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.envs.scores import accuracy
from almeta.errors import AlmetaError
from almeta.evaluation.playing import Setting
from almeta.learners import LogisticRegression, make_learner
from almeta.learners.attacks import fgsm
from almeta.learners.logistic_regression import LogisticModel
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
    assert simulation.scores["wrong_answers"].isnan().all()  # there is none
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


def test_the_share_of_queries_in_the_region_is_counted():
    simulation = simulate(oracle=Oracle(region="dense", region_share=0.5, decline=0.3), measures=["noisy_region"])
    assert simulation.scores["noisy_region"].isnan().all()
    inside: list[list[bool]] = [[] for _ in range(4)]
    for time in range(6):
        rows = simulation.state().available.float().argmax(1)
        simulation.step(rows)
        for e, row in enumerate(rows.tolist()):
            inside[e].append(bool(simulation.answers.region[e, row]))
        if time % 2:
            expected = torch.tensor([sum(one) / len(one) for one in inside])
            torch.testing.assert_close(simulation.scores["noisy_region"], expected)
    assert 0 < expected.mean() < 1


def test_what_would_be_0_throughout_is_told():
    options = replace(OPTIONS, query_size=1)
    datasets = [load_dataset("iris")]
    with pytest.raises(AlmetaError, match="oracle.fatigue=0.4 has no effect"):
        PoolSimulation(datasets, options, oracle=Oracle(fatigue=0.4))
    with pytest.raises(
        AlmetaError, match="noisy_region is the share of queries in oracle.region, and there is none; set"
    ):
        PoolSimulation(datasets, options, measures=["noisy_region"])
    # A benchmark is told before any cell is played.
    with pytest.raises(AlmetaError, match="oracle.fatigue=0.4 has no effect"):
        Setting(options, LogisticRegression(), Oracle(fatigue=0.4), repeats=1)
    with pytest.raises(AlmetaError, match="noisy_region is the share"):
        Setting(options, LogisticRegression(), Oracle(), repeats=1, measures=("noisy_region",))


def test_money_and_what_is_asked_again_are_counted():
    panel = Oracle(annotators=[{"price": 4}, {"price": 1.5, "decline": 1}])
    simulation = simulate(oracle=panel, measures=["money", "asked_again"])
    rows = simulation.state().available.float().argmax(1)  # the first annotator, about the first open row
    assert (rows % 2 == 0).all()
    assert simulation.scores["money"].tolist() == [0] * 4 and simulation.scores["asked_again"].isnan().all()
    for pick in (rows, rows + 2):
        simulation.step(pick)
    assert simulation.scores["money"].tolist() == [8] * 4
    assert simulation.scores["asked_again"].tolist() == [0] * 4
    for pick in (rows + 1, rows + 3):  # the same rows, of the other one, who declines: it costs all the same
        assert not simulation.step(pick).invalid.any()
    assert simulation.scores["money"].tolist() == [11] * 4
    assert simulation.scores["asked_again"].tolist() == [0.5] * 4
    first = simulation.tasks.first  # their labels are the first annotator's
    for place in (0, 1):
        assert not simulation.step(first[:, place] + 1).invalid.any()
    torch.testing.assert_close(simulation.scores["asked_again"], torch.full((4,), 4 / 6))


def test_a_tired_oracle_errs_more_within_a_query():
    """The k-th answer of a query is that of an oracle whose error rate has risen k times; a pause takes it back."""
    simulation = simulate(oracle=Oracle(fatigue=0.4, recovery=0.5))
    rise = 0.0
    for _ in range(3):
        picks = []
        for _ in range(2):
            picks.append(simulation.state().available.float().argmax(1))
            simulation.step(picks[-1])
        asked = torch.stack(picks, 1)
        expected = simulation.answers.told(asked, torch.tensor([rise, rise + 0.4]))
        assert torch.equal(simulation.state().labels.gather(1, asked), expected)
        rise = (rise + 0.8) / 2
    assert (simulation.state().labels.gather(1, asked) != simulation.tasks.y.gather(1, asked)).any()


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
        torch.testing.assert_close(
            got, [len(kept) / len(free), len(wrong) / len(kept) if kept else torch.nan], equal_nan=True
        )
    assert simulation.scores["pseudo_labels"].min() > 0 and simulation.scores["wrong_pseudo_labels"].max() > 0
    plain = simulate(measures=["pseudo_labels", "wrong_pseudo_labels"])
    assert (plain.scores["pseudo_labels"] == 0).all() and plain.scores["wrong_pseudo_labels"].isnan().all()


def test_no_row_is_left_to_be_labelled_by_the_learner():
    options = PoolOptions(pool_size=8, max_test=40, budget=None)
    learner = make_learner({"name": "pseudo_labels", "base": "prototype", "threshold": 2})
    simulation = PoolSimulation([load_dataset("iris")], options, 1, None, learner, measures=["pseudo_labels"])
    simulation.reset()
    assert simulation.scores["pseudo_labels"] == 1
    while not simulation.finished:
        simulation.step(simulation.state().available.float().argmax(1))
    assert simulation.scores["pseudo_labels"].isnan().all()


def test_pseudo_labels_of_rows_that_several_may_be_asked_about_count_once():
    learner = make_learner({"name": "pseudo_labels", "base": "prototype", "threshold": 0.9})
    measures = ["pseudo_labels", "wrong_pseudo_labels"]
    alone, several = (
        simulate(learner=learner, measures=measures),
        simulate(learner=learner, measures=measures, oracle=Oracle(annotators=[{}, {}, {}])),
    )
    for _ in range(4):
        rows = alone.state().available.float().argmax(1)
        alone.step(rows)
        several.step(3 * rows + 2)
        for name in measures:
            torch.testing.assert_close(several.scores[name], alone.scores[name])
    assert 0 < several.scores["pseudo_labels"].min() and several.scores["pseudo_labels"].max() <= 1


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


def attacked(size, measures, **parts):
    options, generator = replace(OPTIONS, attack_size=size), torch.Generator().manual_seed(3)
    simulation = PoolSimulation([load_dataset("iris")], options, 4, generator, measures=measures, **parts)
    simulation.reset()
    return simulation


def test_accuracy_under_attack_is_that_of_the_judge_on_moved_test_rows():
    measures = ["fgsm_accuracy", "pgd_accuracy"]
    simulation = attacked(0.4, measures, learner=make_learner("ridge"), judge=LogisticRegression())
    for _ in range(2):
        simulation.step(simulation.state().available.float().argmax(1))
    tasks, model = simulation.tasks, simulation.judged.model
    for e in range(4):
        kept, pool = tasks.test_exists[e], tasks.x[e][tasks.exists[e]]
        rows, y = tasks.test_x[e : e + 1, kept], tasks.test_y[e : e + 1, kept]
        one = LogisticModel(model.weights[e : e + 1], model.bias[e : e + 1], model.state)
        moved = fgsm(one.logits, rows, y, 0.4).clamp(pool.min(), pool.max())
        expected = (one.probabilities(moved).argmax(-1) == y).float().mean()
        torch.testing.assert_close(simulation.scores["fgsm_accuracy"][e], expected)
    # The gradient of a linear model hardly turns within the box: ten steps end where one does, but for the range.
    assert (simulation.scores["pgd_accuracy"] - simulation.scores["fgsm_accuracy"]).abs().max() < 0.08
    assert (simulation.scores["pgd_accuracy"] < simulation.score).all()
    assert torch.equal(simulation._scores()["pgd_accuracy"], simulation.scores["pgd_accuracy"])  # no chance in it


def test_a_refit_without_an_answer_changes_no_measure_of_the_learner():
    """A network is fit anew with other random numbers; what was asked and paid for it counts."""
    fitted = ["accuracy", "fgsm_accuracy", "pgd_accuracy", "pseudo_labels", "wrong_pseudo_labels"]
    network = {"name": "mlp", "hidden_size": 4, "steps": 3}
    learner = make_learner({"name": "pseudo_labels", "base": network, "threshold": 0.7})
    for judge in (None, make_learner(network)):
        oracle = Oracle(decline=1, price=1)
        simulation = attacked(0.4, [*fitted, "money"], learner=learner, oracle=oracle, judge=judge)
        before, outputs = simulation.scores, simulation.judged.outputs(simulation.tasks.test_x)
        for _ in range(2):
            simulation.step(simulation.state().available.float().argmax(1))
        assert not torch.equal(simulation.judged.outputs(simulation.tasks.test_x), outputs)
        for name in fitted:
            torch.testing.assert_close(simulation.scores[name], before[name], rtol=0, atol=0, equal_nan=True)
        assert simulation.scores["money"].tolist() == [2] * 4


def test_accuracy_under_attack_falls_with_its_size():
    found = [attacked(size, ["accuracy", "pgd_accuracy"]).scores for size in (1e-6, 0.3, 1.0)]
    assert torch.equal(found[0]["pgd_accuracy"], found[0]["accuracy"])
    assert found[0]["pgd_accuracy"].mean() > found[1]["pgd_accuracy"].mean() > found[2]["pgd_accuracy"].mean()


def test_accuracy_under_attack_needs_gradients():
    with pytest.raises(
        AlmetaError, match="measure pgd_accuracy needs a learner with logits .*; Ridge has none: choose"
    ):
        simulate(learner=make_learner("ridge"), measures=["pgd_accuracy"])
