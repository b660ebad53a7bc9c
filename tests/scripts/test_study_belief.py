import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch

from almeta.geometry import Geometry
from almeta.scripts import study_belief
from almeta.scripts.study_belief import Belief, gains_of, predicted, simulation_of, true_label, with_label
from almeta.strategies.look_ahead import LookAhead, shares


@pytest.fixture
def simulation():
    simulation = simulation_of(["iris", "breast_cancer"], 4, budget=6)
    simulation.reset()
    for row in (5, 9, 2):
        simulation.step(torch.full((4,), row))
    return simulation


@pytest.fixture
def belief():
    """A belief with weights as after some training."""
    torch.manual_seed(3)
    belief = Belief().eval()
    torch.nn.init.normal_(belief.residual.weight)
    return belief


def with_rows(state, order):
    """Return the state with its rows in another order."""
    place = order.argsort()
    rows = {key: getattr(state, key)[:, order] for key in ("x", "exists", "available", "labels", "probabilities")}
    picks = place[state.picks.clamp_min(0)].where(state.picks >= 0, -1)
    return replace(state, **rows, picks=picks, geometry=Geometry(rows["x"], rows["exists"]))


def test_it_starts_as_the_gaussian_process(simulation):
    state = simulation.state()
    process = shares(LookAhead().look(state).mean, state.num_classes).clamp_min(study_belief.LEAST)
    found = Belief()(state).exp()
    assert torch.allclose(found.sum(-1), torch.ones(4, 120))
    known = state.num_classes == state.probabilities.shape[-1]
    assert torch.allclose(found[known], (process / process.sum(-1, keepdim=True))[known], atol=1e-5)
    assert (found[~known][..., 2:] == 0).all()


def test_it_does_not_depend_on_the_order_of_rows_or_columns_or_on_names_of_classes(simulation, belief):
    state = simulation.state()
    found = belief(state)
    order = torch.randperm(120)
    assert torch.allclose(belief(with_rows(state, order)), found[:, order], atol=1e-4)
    x = state.x[..., torch.randperm(state.x.shape[-1])]
    assert torch.allclose(belief(replace(state, x=x, geometry=Geometry(x, state.exists))), found, atol=1e-4)
    names = torch.tensor([1, 0, 2])
    labels = names[state.labels.clamp_min(0)].where(state.labels >= 0, -1)
    renamed = replace(state, labels=labels, probabilities=state.probabilities[..., names])
    assert torch.allclose(belief(renamed), found[..., names], atol=1e-4)


def test_a_label_that_is_imagined_is_one_that_is_told(simulation):
    row, label = torch.tensor([7, 11, 30, 41]), torch.tensor([1, 0, 1, 0])
    state = with_label(simulation.state(), row, label)
    simulation.pool.tell(row, label)
    told = simulation.state()
    assert state.labels.equal(told.labels)
    assert state.picks.equal(told.picks)
    assert torch.allclose(state.probabilities, told.probabilities, atol=1e-3)


def test_what_is_measured_is_of_rows_without_a_label(simulation, belief):
    state, labels = simulation.state(), simulation.tasks.y
    rows = {row["belief"]: row for row in predicted(belief, state, labels)}
    assert list(rows) == ["learner", "Gaussian process", "random forest", "learned"]
    right = (state.probabilities.argmax(-1) == labels)[state.available]
    assert rows["learner"]["accuracy"] == pytest.approx(float(right.float().mean()))
    likelihood = true_label(state.probabilities.clamp_min(1e-12).log(), labels)[state.available].mean()
    assert rows["learner"]["log-likelihood"] == pytest.approx(float(likelihood), abs=0.02)


def test_the_command_trains_and_measures(monkeypatch, capsys):
    line = ["study", "--suite", "embedded", "--folds", "4", "--batches", "2", "--repeats", "2", "--budget", "3"]
    monkeypatch.setattr(sys, "argv", line)
    study_belief.main()
    printed = capsys.readouterr().out
    assert printed.count("Gaussian process") == 3  # along the picks of each rule
    assert printed.count("points over margin") == 2
    assert "look-ahead under the belief: " in printed


def test_gains_are_over_margin():
    areas = pd.DataFrame({"margin": [70.0, 60.0], "look-ahead": [71.0, 63.0]})
    assert gains_of(areas) == "look-ahead: +2.00 ± 12.71 points over margin, ahead on 2 of 2"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--fold", "9"], "--fold is 9; it must be a whole number from 0 to 4"),
        (["--fold", "-1"], "--fold is -1; it must be a whole number from 0 to 4"),
        (["--folds", "1"], "--folds is 1; it must be a whole number of at least 2"),
        (["--batches", "0"], "--batches is 0"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--budget", "2"], "--budget is 2; it must be a whole number of at least 3"),
        (["--suite", "tabels"], "unknown suite 'tabels'; did you mean 'tables'"),
    ],
)
def test_wrong_options_are_told_before_the_training(options, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study", *options])
    monkeypatch.setattr(study_belief, "train", None)
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        study_belief.main()
