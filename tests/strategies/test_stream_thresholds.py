from typing import Any

import numpy as np
import pytest
import torch

from almeta.data import load_dataset
from almeta.envs import StreamOptions, StreamSimulation, TableStreamOptions, TableStreamSimulation
from almeta.errors import AlmetaError
from almeta.learners import Prototype
from almeta.seeding import make_generator
from almeta.strategies.stream_thresholds import (
    FixedUncertainty,
    RandomisedUncertainty,
    RandomWithinBudget,
    Split,
    VariableUncertainty,
    adapt,
    confidence_of,
    default_threshold,
    make_rule,
    rule_names,
    slot_probabilities,
    spend,
)
from almeta.stream import Examples, StreamState, TableStreamState
from almeta.training.rollout import greedy, play
from tests.agents.streams import glyphs
from tests.strategies.streams import state

NAMES = rule_names()
every_rule = pytest.mark.parametrize("name", NAMES)
INF = torch.inf


def decisions(rule, confidences, budget=0.2, classes=3, allowed=None):
    """Where a rule asks, `[T, E]` bool, of confidences `[T, E]`."""
    num_envs = confidences.shape[1]
    memory = rule.begin(num_envs, confidences.device)
    share, number = torch.full((num_envs,), budget), torch.full((num_envs,), classes)
    asked = []
    for time, confidence in enumerate(confidences):
        may = torch.ones(num_envs, dtype=torch.bool) if allowed is None else allowed[time]
        ask, memory = rule.decide(confidence, number, share, may, memory)
        asked.append(ask)
    return torch.stack(asked)


def confidences(steps, num_envs=1, seed=0):
    drawn = torch.rand(steps, num_envs, generator=make_generator(seed, "confidences"))
    return 1 / 3 + drawn * 2 / 3


# ---- by hand


def test_the_share_asked_for_of_late_by_hand():
    spent = torch.zeros(1)
    for asked, wanted in ((True, 1.0), (False, 0.75), (True, 1.5625)):
        spent = spend(spent, torch.tensor([asked]), 4)
        assert spent.tolist() == [wanted]


def test_thresholds_by_hand():
    assert adapt(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), 0.5).tolist() == [0.5, 1.5]
    budget, classes = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([4, 2, 3])
    assert default_threshold(budget, classes).tolist() == pytest.approx([0.25, 0.75, 1.0])


def test_fixed_uncertainty_by_hand():
    """A window of 2 rows, of which less than half may be asked for: 0 < 1, ask; 1 / 2 is not below .5; .5 / 2 is."""
    seen = torch.tensor([[0.5], [0.5], [0.5], [0.9]])
    assert decisions(FixedUncertainty(threshold=0.6, window=2), seen, 0.5).T.tolist() == [[True, False, True, False]]
    assert decisions(FixedUncertainty(threshold=0.9), seen, 1.0).all()  # at most: the threshold itself is asked for


def test_variable_uncertainty_by_hand():
    """The threshold is 1, .5, .75, .375, .5625: the first and the third row are below it."""
    seen = torch.tensor([[0.9], [0.6], [0.7], [1.0], [0.6]])
    asked = decisions(VariableUncertainty(change=0.5, window=100), seen, 1.0)
    assert asked.T.tolist() == [[True, False, True, False, False]]


def test_where_asking_is_not_allowed_the_threshold_stays():
    seen = torch.tensor([[0.9], [0.9], [0.9], [0.6]])
    allowed = torch.tensor([[False], [False], [True], [True]])
    asked = decisions(VariableUncertainty(change=0.5), seen, 1.0, allowed=allowed)
    assert asked.T.tolist() == [[False, False, True, False]]


def test_a_learner_that_knows_one_class_has_no_opinion():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.3, 0.0], [0.4, 0.3, 0.3]])
    labels = torch.tensor([[5, 0, 0], [1, 1, 0], [0, 0, 0]])
    wanted = [1 / 3, 0.7, 0.5]
    assert confidence_of(p, labels, torch.tensor([3, 3, 2])).tolist() == pytest.approx(wanted)


def test_slot_probabilities_by_hand():
    """Examples at 0 (slot 0), 1 (slot 0) and 5 (slot 1), one without a label; slot 2 has none."""
    items = torch.tensor([[[0.0], [1.0], [5.0], [2.0]]])
    labels = torch.tensor([[[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]]])
    p = slot_probabilities(Examples(items, labels, torch.zeros_like(labels)), torch.tensor([[2.0]]), sharpness=3.0)
    mean = (2 + 1 + 3) / 3
    logits = -3 * np.array([1 / mean, 3 / mean, 1.0])
    np.testing.assert_allclose(p[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    none = Examples(items, torch.zeros_like(labels), torch.zeros_like(labels))
    np.testing.assert_allclose(slot_probabilities(none, torch.tensor([[2.0]]), 3.0), [[1 / 3] * 3], rtol=1e-6)


# ---- independent references


def theirs(manager, utilities):
    """Where a budget manager of scikit-activeml asks, `[T]`, given the utilities one by one."""
    asked = []
    for utility in utilities:
        chosen = manager.query_by_utility(np.array([utility]))
        manager.update(np.zeros((1, 1)), chosen)
        asked.append(len(chosen) == 1)
    return asked


@pytest.mark.parametrize("budget, window", [(0.1, 100), (0.3, 20), (0.6, 50)])
def test_deterministic_rules_ask_where_those_of_scikit_activeml_do(budget, window):
    managers = pytest.importorskip("skactiveml.stream.budgetmanager")
    seen = confidences(300, 3)
    pairs = [
        (
            FixedUncertainty(window=window),
            lambda: managers.FixedUncertaintyBudgetManager([0, 1, 2], w=window, budget=budget),
        ),
        (
            VariableUncertainty(change=0.05, window=window),
            lambda: managers.VariableUncertaintyBudgetManager(theta=1.0, s=0.05, w=window, budget=budget),
        ),
    ]
    for rule, make in pairs:
        asked = decisions(rule, seen, budget)
        assert 0.03 < asked.float().mean() < 1
        for e in range(3):
            assert asked[:, e].tolist() == theirs(make(), 1 - seen[:, e].double().numpy())


def test_rules_with_chance_ask_for_as_many_as_those_of_scikit_activeml():
    managers = pytest.importorskip("skactiveml.stream.budgetmanager")
    seen = confidences(400, 40)
    pairs = {
        "randomised_uncertainty": managers.RandomVariableUncertaintyBudgetManager(random_state=0, budget=0.2),
        "split": managers.SplitBudgetManager(v=0.3, random_state=0, budget=0.2),
        "random": managers.RandomBudgetManager(random_state=0, budget=0.2),
    }
    for name, manager in pairs.items():
        rule = make_rule(name, share=0.3) if name == "split" else make_rule(name)
        asked = decisions(rule, seen, 0.2).float().mean()
        shares = [np.mean(theirs(type(manager)(**{**manager.get_params(), "random_state": e}), 1 - seen[:, e].numpy()))
                  for e in range(3)]  # fmt: skip
        assert asked == pytest.approx(np.mean(shares), abs=0.015), name


def plain(name, seen, budget, draw, window=100, change=0.02, delta=0.5, share=0.3):
    """The paper's algorithms for one stream, row by row, with given draws."""
    spent, threshold, asked = 0.0, 1.0, []
    for confidence in seen:
        numbers, ask = draw(), False
        if spent / window < budget:
            if name == "random":
                ask = numbers < budget
            elif name == "split" and numbers[0] < share:
                ask = numbers[1] < budget
            else:
                factor = 1 + delta * numbers if name == "randomised_uncertainty" else 1.0
                ask = confidence < threshold * factor
                threshold *= 1 - change if ask else 1 + change
        spent = spent * (window - 1) / window + ask
        asked.append(bool(ask))
    return asked


@pytest.mark.parametrize("seed", range(3))
def test_rules_with_chance_are_the_papers_given_the_same_draws(seed):
    seen = confidences(300, seed=seed)
    drawing = {
        RandomWithinBudget(): lambda by: torch.rand(1, generator=by).item(),
        RandomisedUncertainty(change=0.02, delta=0.5): lambda by: torch.randn(1, generator=by).item(),
        Split(change=0.02, share=0.3): lambda by: torch.rand(2, 1, generator=by).squeeze(1).tolist(),
    }
    for rule, draw in drawing.items():
        rule.generator, by = make_generator(seed, "chance"), make_generator(seed, "chance")
        asked = decisions(rule, seen, 0.3).squeeze(1).tolist()
        assert asked == plain(rule.rule, seen.squeeze(1).tolist(), 0.3, lambda draw=draw, by=by: draw(by))
        assert 20 < sum(asked) < 200


# ---- every rule


NARROW = [
    RandomWithinBudget(window=50), FixedUncertainty(window=50), VariableUncertainty(window=50),
    RandomisedUncertainty(window=50), Split(window=50),
]  # fmt: skip


@pytest.mark.parametrize("rule", NARROW, ids=lambda rule: rule.rule)
def test_the_budget_is_kept(rule):
    """The sum of late requests is below w * B before one, and at each row it loses a share 1 / w."""
    for seen in (confidences(600, 20), torch.full((600, 20), 0.34)):
        asked = decisions(rule, seen, 0.2).float()
        assert (asked.sum(0) <= (600 / 50 + 1) * (0.2 * 50 + 1)).all()


@every_rule
def test_streams_of_a_batch_do_not_meet(name):
    if name in ("random", "randomised_uncertainty", "split"):
        pytest.skip("draws for the batch as a whole")
    seen = confidences(100, 4)
    together = decisions(make_rule(name), seen)
    assert torch.equal(together[:, 2:3], decisions(make_rule(name), seen[:, 2:3]))


@every_rule
def test_in_the_stream_of_rows_the_environment_sets_the_budget(name):
    def make(max_requests=30, length=60, requests=0):
        alike, one = torch.full((1, 3), 1 / 3), torch.ones(1, 3, dtype=torch.int64)
        asked = torch.tensor([requests])
        return TableStreamState(torch.zeros(1, 1), alike, one.sum(1), one, asked, max_requests, 0, length)

    def share(row, **options):
        rule, memory, asked = make_rule(name, **options), None, 0
        for _ in range(200):
            outputs, memory = rule.step(row, memory)
            assert outputs.utilities.shape == (1, 2) and outputs.utilities[0, 0] == 0
            asked += int(outputs.utilities[0, 1] == INF)
        return asked / 200

    assert 0.25 < share(make(), window=20) < 0.57
    assert share(make(max_requests=60), window=20) < 0.17
    assert 0.5 < share(make(max_requests=60), window=20, budget=0.8) < 0.87
    assert share(make(requests=30), window=20) == 0


# ---- in the one-shot stream


IDLE = [
    RandomWithinBudget(budget=0.0, sharpness=5.0, capacity=3), FixedUncertainty(budget=0.0, sharpness=5.0, capacity=3),
    VariableUncertainty(budget=0.0, sharpness=5.0, capacity=3),
    RandomisedUncertainty(budget=0.0, sharpness=5.0, capacity=3), Split(budget=0.0, sharpness=5.0, capacity=3),
]  # fmt: skip


def step_along(rule):
    """What a rule says of the third image, after the labels of the first two, and its memory."""
    memory = None
    for item, label, start in ((1.0, None, True), (5.0, 0, None), (4.5, 1, None)):
        now = state([item], [label], start=None if start is None else [start])
        outputs, memory = rule.step(now, memory)
        assert outputs.utilities[0, -1] == -INF  # no budget
    return outputs, memory


@pytest.mark.parametrize("rule", IDLE, ids=lambda rule: rule.rule)
def test_a_rule_predicts_the_nearest_slot_and_begins_anew(rule):
    outputs, memory = step_along(rule)
    mean = (3.5 + 0.5) / 2
    logits = torch.tensor([-5 * 3.5 / mean, -5 * 0.5 / mean])
    torch.testing.assert_close(outputs.utilities[0, :2], logits.softmax(0))
    outputs, memory = rule.step(state([4.5], start=[True]), memory)
    assert outputs.utilities[0, :2].tolist() == [0.5, 0.5]
    assert memory.spent.tolist() == [0.0] and memory.threshold.tolist() == [1.0]


def test_images_beyond_the_capacity_are_forgotten():
    """Of the first two images the second is left, as far as all examples are on average: both slots are as near."""
    outputs, _ = step_along(FixedUncertainty(budget=0.0, sharpness=5.0, capacity=1))
    assert outputs.utilities[0, :2].tolist() == [0.5, 0.5]


def test_a_start_in_mid_run_resets_its_own_stream():
    rule, memory = VariableUncertainty(budget=1.0, change=0.5), None
    for time in range(4):
        _, memory = rule.step(state([1.0, 2.0], start=[time == 0, time in (0, 3)]), memory)
    assert memory is not None
    first, second = memory.threshold.tolist()
    _, fresh = VariableUncertainty(budget=1.0, change=0.5).step(state([2.0], start=[True]), None)
    assert second == fresh.threshold.item() != first


def test_uncertain_images_are_those_of_new_classes():
    """Classes are far apart: the first image of each is asked for, and hardly any other."""
    simulation = StreamSimulation(
        glyphs(per_class=10, noise=0.01), StreamOptions(rotations=False), 30, make_generator(0, "env")
    )
    rule = FixedUncertainty(budget=1.0, threshold=0.6)
    steps = list(play(simulation, rule, greedy(make_generator(0, "ties"))))
    asked = torch.stack([step.outcome.requested for step in steps])
    first = simulation.tasks.instances == 1
    assert (asked[first]).float().mean() > 0.9 and (asked[~first]).float().mean() < 0.1
    correct = torch.stack([step.outcome.correct for step in steps])
    assert correct[~asked].float().mean() > 0.9


# ---- in the stream of rows


@every_rule
def test_cold_starts_work(name):
    options = TableStreamOptions(pool_size=60, max_test=40, budget=0.4, first="random", num_first=0)
    simulation = TableStreamSimulation([load_dataset("iris")], options, 8, make_generator(0, "env"), Prototype())
    steps = list(play(simulation, make_rule(name, window=30), greedy(make_generator(0, "ties"))))
    asked = torch.stack([step.outcome.requested for step in steps]).sum(0)
    assert (asked > 1).all() and (asked <= 24).all() and asked.float().mean() > 10
    assert steps[-1].outcome.score.mean() > 0.65  # by chance a third


# ---- by name


def test_names_and_mistakes():
    wanted = {"fixed_uncertainty", "random", "randomised_uncertainty", "split", "variable_uncertainty"}
    assert set(NAMES) == wanted
    assert make_rule({"name": "split", "share": 0.25}).share == 0.25  # type: ignore[attr-defined]
    mistakes: dict[tuple[str, Any], str] = {
        ("splt", ()): "unknown stream rule 'splt'; did you mean 'split'",
        ("split", (("shares", 0.1),)): "unknown key of stream rule split 'shares'; did you mean 'share'",
        ("random", (("budget", 2.0),)): "stream rule random.budget is 2.0; it must be a number from 0 to 1",
    }
    for (name, options), message in mistakes.items():
        with pytest.raises(AlmetaError, match=message):
            make_rule(name, **dict(options))
    with pytest.raises(AlmetaError, match="stream rule fixed_uncertainty.threshold is 3"):
        FixedUncertainty(threshold=3)


def test_a_rule_is_made_with_options():
    made = make_rule("split", share=0.25, change=0.5)
    assert isinstance(made, Split) and (made.share, made.change, made.window) == (0.25, 0.5, 100)
    assert {rule.rule for rule in NARROW} == {rule.rule for rule in IDLE} == set(NAMES)


def test_everything_lies_on_the_device_of_the_state():
    now = StreamState(
        torch.zeros(2, 3), torch.zeros(2, 2), torch.ones(2, 3, dtype=torch.bool), torch.tensor([True] * 2)
    )
    for name in NAMES:
        with torch.device("meta"):
            outputs, _ = make_rule(name).step(now, None)
        assert outputs.utilities.device.type == "cpu"
