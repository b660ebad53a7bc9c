"""A pool that only an agent with memory can solve: who is said to remember solves it, who cannot remember fails.

At the first query a number about the pool says which of two kinds of rows is worth a reward. Later queries show rows of
both kinds, all of them anew, and the number no more: whoever has forgotten it can only guess.
"""

import functools
from typing import Any

import pytest
import torch

from almeta.envs.simulation import Simulation
from almeta.inputs import PoolInputs, PoolView
from almeta.seeding import make_generator
from tests.agents.kinds import AGENTS_OF_KINDS
from tests.agents.pools import POOL_NETWORKS, make_pool_agent, small_scorer
from tests.agents.streams import AGENTS, play_greedily
from tests.agents.test_pool_learning import descend

LENGTH, ROWS, EPISODES = 4, 6, 1000
# Without memory, each later query is a guess among two kinds of rows, whatever the rule is.
WITHOUT, BEST = (LENGTH - 1) / 2, LENGTH - 1.0


class Shown(PoolInputs):
    """What the toy shows is read as it is."""

    candidate_names = ("kind",)
    pool_names = ("cue", "first")

    def __call__(self, state: PoolView) -> PoolView:
        return state


class Outcome:
    def __init__(self, reward):
        self.reward = reward


class Cue(Simulation):
    """The toy, `group` episodes of each task."""

    kind = "pool"
    length = LENGTH

    def __init__(self, num_envs, generator, group):
        super().__init__(num_envs, generator)
        self.group = group

    @property
    def identity(self):
        return {"datasets": [], "digest": ""}

    def reset(self, tasks=None, generators=None):
        count = self.num_envs // self.group
        kinds = torch.randint(2, (count, LENGTH, ROWS), generator=self.generator)
        kinds[..., 0], kinds[..., 1] = 0, 1  # both kinds are there
        order = torch.rand(kinds.shape, generator=self.generator).argsort(-1)
        self.rows = kinds.gather(-1, order).repeat_interleave(self.group, 0)
        self.cue = torch.randint(2, (count,), generator=self.generator).repeat_interleave(self.group, 0)
        self.time = 0
        return self.state()

    def state(self):
        kinds = self.rows[:, min(self.time, LENGTH - 1), :, None] * 2.0 - 1
        first = torch.full((self.num_envs,), float(self.time == 0))
        start = torch.full((self.num_envs,), True) if self.time == 0 else None
        pool = torch.stack(((self.cue * 2.0 - 1) * first, first), -1)
        return PoolView(kinds, pool, torch.ones(self.num_envs, ROWS, dtype=torch.bool), start)

    def step(self, actions):
        right = self.rows[:, self.time].gather(1, actions[:, None]).squeeze(1) == self.cue
        self.time += 1
        return Outcome(right.float() * (self.time > 1))


# To go on exploring until both kinds of rows have been tried with either cue. A pick brings its reward at once.
SEARCH: dict[str, Any] = {"gamma": 0.0, "ent_coef": 0.2}
OPTIONS: dict[str, dict[str, Any]] = {
    "QLearning": {"gamma": 0.0, "epsilon": 0.2, "last_step": "terminal"},
    "GroupReinforce": SEARCH | {"returns": "rewards"},
}
BATCHES = 250


def learn(name, network, seed=0):
    """Train an agent; return what it then earns on new pools, and two standard errors."""
    make_network = functools.partial(small_scorer(network), hidden_size=16, prior="none")
    agent = make_pool_agent(name, make_network, seed, Shown(), **OPTIONS.get(name, SEARCH))
    group = max(4, AGENTS[name].min_group)
    descend(agent, Cue(64, make_generator(seed, "env"), group), BATCHES, 0.01, seed)
    judged = Cue(EPISODES, make_generator(seed + 1, "env"), 1)
    with torch.no_grad():
        returns = torch.stack([step.outcome.reward for step in play_greedily(judged, agent)]).sum(0)
    return returns.mean().item(), 2 * returns.std().item() / EPISODES**0.5


def test_all_networks_are_here():
    assert set(POOL_NETWORKS) == {"MetaScorer", "PoolScorer", "RecurrentPoolScorer", "StateActionNetwork"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in AGENTS_OF_KINDS if kind == "pool"])
def test_memory_earns_nearly_the_best_and_without_it_there_is_little(name):
    solved, _ = learn(name, "RecurrentPoolScorer")
    assert solved > 0.92 * BEST
    cut, error = learn(name, "PoolScorer")
    assert cut < WITHOUT + error
