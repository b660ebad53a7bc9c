"""One contract for whoever acts: strategies, rules of streams and agents, on pools and on streams."""

from functools import partial
from typing import Any

import pytest
import torch

from almeta.data import load_dataset
from almeta.envs import ClassOptions, ClassSimulation, TableStreamOptions, TableStreamSimulation
from almeta.seeding import make_generator
from almeta.strategies import Outputs, make_strategy, strategy_names
from almeta.strategies.class_shares import class_strategy_names, make_class_strategy
from almeta.strategies.stream import AlwaysRequest, NearestLabelled, NeverRequest, RandomRequest
from almeta.strategies.stream_thresholds import make_rule, rule_names
from almeta.training.rollout import greedy, play
from tests.agents.kinds import PAIRS, make_actor, make_problem
from tests.agents.pools import make_pools
from tests.agents.streams import SLOTS, make_streams
from tests.strategies.pools import Prototypes

ENVS = 6
RULES: dict[str, Any] = {
    "AlwaysRequest": lambda: AlwaysRequest(SLOTS),
    "NeverRequest": lambda: NeverRequest(SLOTS),
    "RandomRequest": lambda: RandomRequest(SLOTS, 0.5, make_generator(0, "requests")),
    "NearestLabelled": lambda: NearestLabelled(SLOTS, 0.5, 8),
    **{name: partial(make_rule, name) for name in rule_names()},
}
CASES = [
    *(("strategy", name) for name in strategy_names("classes")),
    *(("rule", name) for name in RULES),
    *(("table rule", name) for name in rule_names()),
    *(("class strategy", name) for name in class_strategy_names()),
    *PAIRS,
]
every_actor = pytest.mark.parametrize("case", CASES, ids="-".join)


def make(case: tuple[str, str]) -> tuple[Any, Any]:
    """Return who acts, and a problem for it."""
    if case[0] == "strategy":
        return make_strategy(case[1]), make_pools(num_envs=ENVS, learner=Prototypes())
    if case[0] == "rule":
        return RULES[case[1]](), make_streams(num_envs=ENVS)
    if case[0] == "table rule":
        return make_rule(case[1]), make_rows(num_envs=ENVS)
    if case[0] == "class strategy":
        return make_class_strategy(case[1]), make_classes(num_envs=ENVS)
    return make_actor(*case), make_problem(*case, num_envs=ENVS)


def make_rows(num_envs: int) -> TableStreamSimulation:
    """Return streams of twelve rows."""
    options = TableStreamOptions(pool_size=20, max_test=20, length=12)
    return TableStreamSimulation([load_dataset("iris")], options, num_envs, make_generator(0, "env"))


def make_classes(num_envs: int) -> ClassSimulation:
    """Return episodes of eight rows, in queries of three."""
    options = ClassOptions(pool_size=30, max_test=20, budget=8, query_size=3)
    datasets = [load_dataset("iris"), load_dataset("wine")]
    return ClassSimulation(datasets, options, num_envs, make_generator(0, "env"), Prototypes())


def shapes_in(memory):
    """Shapes of the tensors in a memory: none, a tensor, tuples of memories, or an object that holds some."""
    if isinstance(memory, torch.Tensor):
        return [tuple(memory.shape)]
    parts = memory if isinstance(memory, tuple) else getattr(memory, "__dict__", {}).values()
    return [shape for part in parts for shape in shapes_in(part)]


@every_actor
def test_it_begins_with_a_memory_and_steps_from_memory_to_memory(case):
    actor, problem = make(case)
    problem.reset()
    problem.show_to(actor)
    memory, shapes = actor.initial(ENVS), []
    for _ in range(2):
        state = problem.state()
        outputs, memory = actor.step(state, memory)
        assert type(outputs) is Outputs
        assert outputs.utilities.shape == state.action_mask.shape == (ENVS, state.action_mask.shape[1])
        assert outputs.utilities.dtype == torch.float32 and not outputs.utilities.isnan().any()
        assert outputs.value is None or (outputs.value.shape == (ENVS,) and outputs.value.dtype == torch.float32)
        shapes.append(shapes_in(memory))
        problem.step(outputs.utilities.masked_fill(~state.action_mask, -torch.inf).argmax(1))
    assert all(shape[0] == ENVS for step in shapes for shape in step)  # E comes first
    if case[0] == "strategy":
        assert outputs.value is None and outputs.view is None
    elif case[1] != "TransformerNetwork":  # which grows to its capacity, see tests/agents/test_networks.py
        assert shapes[0] == shapes[1]


@every_actor
def test_the_same_rollout_plays_them_all(case):
    actor, problem = make(case)
    steps = list(play(problem, actor, greedy(make_generator(0, "ties"))))
    assert len(steps) == problem.length and problem.finished
    for step in steps:
        assert step.state.action_mask.gather(1, step.actions[:, None]).all()
        assert step.outcome.reward.shape == (ENVS,)
