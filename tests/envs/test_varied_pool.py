import pytest
import torch

from almeta.data import load_dataset
from almeta.envs.pool import PoolOptions
from almeta.envs.varied_pool import VariedPoolSimulation
from almeta.errors import AlmetaError
from almeta.learners import Prototype, Ridge
from almeta.seeding import make_generator

VARY = {"budget": [5, 20, 400], "pool_size": [50, 60], "learner": ["ridge", "prototype"], "num_first": [0, 2]}
IRIS = load_dataset("iris")


def varied(vary=VARY, seed=0, num_envs=20, group=2):
    options = PoolOptions(budget=10, pool_size=50, group=group, max_test=20)
    return VariedPoolSimulation([IRIS], options, num_envs, make_generator(seed, "env"), Ridge(), vary=vary)


def drawn(simulation):
    """Return what differs in the next batch."""
    simulation.reset()
    first = int((simulation.tasks.first >= 0).sum(1)[0])
    return simulation.length, simulation.tasks.x.shape[1], type(simulation.learner), first, simulation.num_envs


def test_options_differ_from_batch_to_batch():
    simulation = varied()
    batches = [drawn(simulation) for _ in range(40)]
    lengths, sizes, learners, firsts, episodes = map(set, zip(*batches, strict=True))
    assert sizes == {50, 60} and learners == {Ridge, Prototype} and firsts == {0, 6}
    assert lengths == {5, 20, 50 - 6, 60 - 6, 50, 60}  # a budget of 400 empties the pool
    # 20 episodes of 10 picks from 50 rows: twice the picks are half the episodes, in whole groups
    assert {row[4] for row in batches if row[:2] == (20, 50)} == {10}
    assert {row[4] for row in batches if row[0] == 5} == {20}
    assert min(episodes) == 2


def test_a_query_is_no_larger_than_the_budget():
    simulation = varied({"budget": [2, 20], "query_size": [1, 12]}, num_envs=2)
    drawn_sizes = set()
    for _ in range(40):
        simulation.reset()
        drawn_sizes.add((simulation.options.budget, simulation.options.query_size))
    assert drawn_sizes == {(2, 1), (2, 2), (20, 1), (20, 12)}


def test_pools_without_an_open_row_are_told():
    simulation = varied({"num_first": [100]})
    with pytest.raises(AlmetaError, match="none|0 of them without a label"):
        simulation.reset()


def test_as_many_episodes_as_take_about_the_same_time():
    # 51 of 150 rows are left to pick from, about as many picks from as many rows as the base has of 10 from 50
    simulation = varied({"budget": [None], "test_share": [0.9]})
    simulation.reset()
    assert simulation.tasks.x.shape[1] == simulation.length + 3 == 15
    assert simulation.num_envs == 20


def test_the_generator_draws_the_options():
    first, second = varied(seed=1), varied(seed=1)
    assert [drawn(first) for _ in range(10)] == [drawn(second) for _ in range(10)]


def test_a_value_that_stands_twice_is_twice_as_likely():
    simulation = varied({"budget": [5, 5, 10]}, num_envs=2)
    counts = torch.bincount(torch.tensor([drawn(simulation)[0] for _ in range(150)]))
    assert 80 < counts[5] < 120


def test_given_tasks_are_played_as_they_are():
    simulation = varied({"budget": [5, 20]}, num_envs=1, group=1)
    simulation.reset()
    tasks, length = simulation.tasks, simulation.length
    for _ in range(5):
        simulation.reset(tasks)
        assert simulation.length == length and torch.equal(simulation.tasks.x, tasks.x)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"bugdet": [5]}, "did you mean 'budget'"),
        ({"group": [2, 4]}, "unknown option to vary 'group'"),
        ({"budget": 5}, r"vary.budget is 5; give a list"),
        ({"budget": []}, r"vary.budget is \[\]; give a list"),
        ({"budget": [5, 0]}, "budget"),
        ({"learner": ["svm"]}, "learner 'svm'"),
        ({"oracle": ["nosy"]}, "noisy"),
        ({"first": ["per_class", "random"], "num_first": [1, 60], "pool_size": [20, 120]}, "the pool needs 60"),
    ],
)
def test_a_wrong_variation_is_refused_before_any_batch(vary, message):
    with pytest.raises(AlmetaError, match=message):
        varied(vary)
