from dataclasses import replace
from typing import Any

import pytest
import torch

from almeta.data import load_dataset
from almeta.envs import PoolOptions, PoolSimulation, TableStreamOptions, TableStreamSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import StrategySpec
from almeta.evaluation.verdict import Question
from almeta.learners import Prototype
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.strategies.along_stream import AlongStream
from almeta.strategies.stream_thresholds import make_rule, rule_names
from almeta.training.rollout import greedy, play
from tests.small_config import compose_config
from tests.strategies.pools import with_probabilities


def picks_of(strategy, state, number):
    """The rows picked one after the other, while no label arrives."""
    memory, picks = strategy.initial(1), []
    for _ in range(number):
        outputs, memory = strategy.step(state, memory)
        row = int(outputs.utilities.argmax())
        assert outputs.utilities[0, row] == 1
        picks.append(row)
        available = state.available.clone()
        available[0, row] = False
        state = replace(state, available=available, spent=state.spent + 1)
    return picks


def test_by_hand():
    """Rows of confidence .9 .6 .5 .8 .7 .6, of which a threshold of .65 asks for the second, third and last."""
    p = torch.tensor([0.9, 0.6, 0.5, 0.8, 0.7, 0.6])
    state = with_probabilities(torch.stack((p, 1 - p), 1))
    rule = {"name": "fixed_uncertainty", "threshold": 0.65, "budget": 1.0}
    # Without a label of each class the learner has no opinion: the first rows come first.
    assert picks_of(AlongStream(rule=rule), replace(state, budget=2), 2) == [0, 1]
    # Two rows beyond the stream bring the labels.
    wide = with_probabilities(torch.tensor([[x, 1 - x] for x in (*p.tolist(), 0.5, 0.5)]))
    labels = wide.labels.clone()
    labels[0, 6:] = torch.tensor([0, 1])
    available = wide.available.clone()
    available[0, 6:] = False
    wide = replace(wide, labels=labels, available=available, spent=0)
    assert picks_of(AlongStream(rule=rule), replace(wide, budget=3), 3) == [1, 2, 5]
    # Four labels: after the second row three are left to ask for, after the third two, and with two rows left both are.
    assert picks_of(AlongStream(rule=rule), replace(wide, budget=4), 4) == [1, 2, 4, 5]


@pytest.mark.parametrize("rule", [{"name": "fixed_uncertainty", "threshold": 0.6}, "variable_uncertainty"], ids=str)
def test_it_picks_what_the_rule_asks_for_in_the_stream_of_rows(rule):
    options: dict[str, Any] = {"pool_size": 50, "max_test": 30}
    datasets, labels = [load_dataset(name) for name in ("iris", "wine")], 10
    stream = TableStreamSimulation(
        datasets, TableStreamOptions(**options, length=47, budget=labels / 47), 6, learner=Prototype()
    )
    tasks = stream.sampler.draw_seeded(range(6))
    steps = list(play(stream, make_rule(rule), greedy(make_generator(0, "ties")), tasks))
    asked = torch.stack([step.outcome.requested for step in steps])
    pool = PoolSimulation(datasets, PoolOptions(**options, budget=labels), 6, learner=Prototype())
    actor = make_strategy("along_stream", make_generator(0, "test"), rule=rule)
    picks = torch.stack([step.actions for step in play(pool, actor, greedy(make_generator(0, "ties")), tasks)])
    for e in range(6):
        wanted: list[int] = []
        for time, row in enumerate(stream.order[e].tolist()):
            if asked[time, e] or 47 - time <= labels - len(wanted):  # the last rows are asked for
                wanted.append(row)
        assert picks[:, e].tolist() == wanted[:labels]
    spent = asked.sum(0) == labels
    assert asked.any(0).all() and spent.any()
    torch.testing.assert_close(pool.score[spent], stream.score[spent])


def test_rules_with_chance_use_the_strategys_generator():
    state = replace(with_probabilities(torch.full((40, 2), 0.5)), budget=4)
    rule = {"name": "random", "window": 10}
    one, same, other = (make_strategy("along_stream", make_generator(seed, "x"), rule=rule) for seed in (0, 0, 1))
    assert picks_of(one, state, 4) == picks_of(same, state, 4) != picks_of(other, state, 4)


def test_a_wrong_rule_is_told():
    with pytest.raises(
        AlmetaError, match="unknown stream rule 'variabl_uncertainty'; did you mean 'variable_uncertainty'"
    ):
        make_strategy("along_stream", rule="variabl_uncertainty")


def test_the_exercise_asks_about_strategies_that_play():
    config = compose_config("experiment=exercise/pool_or_stream", command="benchmark")
    names = [str(StrategySpec.read(strategy)) for strategy in config["strategies"]]
    assert {f"along_stream(rule={rule})" for rule in rule_names()} | {"random", "margin"} == set(names)
    Question(**config["question"]).check(names)
