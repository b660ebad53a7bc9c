"""What a policy reads of classes, by hand."""

import pytest
import torch

from almeta.classes import ClassState
from almeta.data import load_dataset
from almeta.envs import ClassOptions, ClassSamplingEnv, ClassSimulation
from almeta.inputs import ClassInputs
from almeta.seeding import make_generator

INPUTS = ClassInputs()


def make_state() -> ClassState:
    """One episode of two classes, padded to three, in its second query; class 0 was predicted wrong before."""
    held_out = torch.tensor([[[0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0], [0.0, 0.0, 0.0]]])
    return ClassState(
        available=torch.tensor([[True, True, False]]),
        num_classes=torch.tensor([2]),
        shares=torch.tensor([[0.75, 0.25, 0.0]]),
        labels=torch.tensor([[0, 1, 1, -1]]),
        held_out=held_out,
        held_out_before=torch.tensor([[[0.4, 0.6, 0.0], [0.3, 0.7, 0.0]]]),
        drawn=torch.tensor([[1, 0, 0]]),
        picks=torch.tensor([[3, 4, 5, -1, 6]]),
        budget=10,
        spent=4,
        query_size=2,
    )


def test_the_numbers_by_hand():
    view = INPUTS(make_state())
    found = dict(zip(INPUTS.candidate_names, view.candidates[0].T.tolist(), strict=True))
    wanted = {
        "share in the data": [0.75, 0.25],
        "share of the rows": [0.5, 0.5],
        "lag behind the share in the data": [0.25, -0.25],
        "lag behind an equal share": [0.0, 0.0],
        "rows": [1.0986 / 3, 1.0986 / 3],
        "share of the query": [0.5, 0.0],
        "accuracy": [1.0, 0.5],
        "rank of accuracy": [1.0, 0.0],
        "gain of accuracy": [1.0, -0.5],
        "redistricted": [1.0, 0.0],
        "probability of its own rows": [0.6, 0.55],
        "precision": [0.5, 1.0],
        "share of the predictions": [2 / 3, 1 / 3],
    }
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name] == pytest.approx([*values, 0.0], abs=1e-4), name
    of_episode = dict(zip(INPUTS.pool_names, view.pool[0].tolist(), strict=True))
    assert of_episode == pytest.approx(
        {
            "progress": 0.4,
            "classes": 0.6931,
            "rows": 1.6094 / 3,
            "mean accuracy": 0.75,
            "mean probability of own rows": 0.575,
            "largest share in the data": 0.75,
            "largest share of the rows": 0.5,
        },
        abs=1e-4,
    )
    assert view.action_mask.tolist() == [[True, True, False]]


def test_they_lie_within_bounds_and_an_environment_shows_them():
    simulation = ClassSimulation(
        [load_dataset("iris"), load_dataset("wine")], ClassOptions(budget=20), 8, make_generator(0, "env")
    )
    state = simulation.reset()
    while not simulation.finished:
        view = INPUTS(state)
        for numbers in (view.candidates, view.pool):
            assert numbers.dtype == torch.float32 and numbers.isfinite().all() and numbers.abs().max() <= 3
        simulation.step(state.action_mask.float().argmax(1))
        state = simulation.state()
    env = ClassSamplingEnv("iris", budget=5)
    observation, info = env.reset(seed=0)
    assert observation["candidates"].shape == (3, len(INPUTS.candidate_names))
    view, single = INPUTS.observed(observation, info["action_mask"], None, torch.device("cpu"))
    own = INPUTS(env.batch.simulation.state())
    assert single and torch.equal(view.candidates, own.candidates) and torch.equal(view.pool, own.pool)


def test_of_many_classes_their_number_alone_is_large():
    classes, rows = 26, 200
    labels = (torch.arange(rows) % classes)[None]
    held_out = torch.rand(1, rows, classes, generator=make_generator(0, "test")).softmax(-1)
    state = ClassState(
        available=torch.ones(1, classes, dtype=torch.bool),
        num_classes=torch.tensor([classes]),
        shares=torch.full((1, classes), 1 / classes),
        labels=labels,
        held_out=held_out,
        held_out_before=held_out[:, :100],
        drawn=torch.zeros(1, classes, dtype=torch.int64),
        picks=torch.arange(rows)[None],
        budget=400,
        spent=100,
        query_size=5,
    )
    view = INPUTS(state)
    numbers = dict(zip(INPUTS.pool_names, view.pool[0].tolist(), strict=True))
    assert numbers.pop("classes") == pytest.approx(3.258, abs=1e-3)
    assert view.candidates.abs().max() <= 3 and max(map(abs, numbers.values())) <= 3
