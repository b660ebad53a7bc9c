"""Pool selection whose options differ from batch to batch, so that one policy learns to serve many settings."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from almeta.build import choose
from almeta.data.dataset import Dataset
from almeta.envs.pool import PoolOptions, PoolSimulation, check_oracle
from almeta.envs.simulation import check_memory
from almeta.errors import AlmetaError, did_you_mean
from almeta.learners import Learner, make_learner
from almeta.oracles import Oracle
from almeta.pool import PoolState
from almeta.tasks import PoolSampler, PoolTasks

# Options that say how many tasks a batch has and what is learnt from them: the same in all batches.
_FIXED = ("group", "discount", "score", "reward_score", "reward_target")
# Those that say nothing of the tasks.
_PICKS = ("budget", "query_size")
_OPTIONS = tuple(field.name for field in fields(PoolOptions) if field.name not in _FIXED)


class VariedPoolSimulation(PoolSimulation):
    """Pool selection whose options are drawn anew at each reset without tasks.

    With more or longer pools than the options have, a batch has fewer episodes, so that it takes about the same time. A
    budget that is larger than a pool ends when the smallest pool is empty, and a query is no larger than the budget.

    Args:
        datasets: as for `PoolSimulation`, and so are the others.
        options: what does not vary.
        num_envs: the most episodes of a batch.
        generator: also draws the options.
        learner: of batches, unless it varies.
        oracle: of batches, unless it varies.
        vary: the values of each option that varies; "learner" and "oracle" by name or with options. Each is drawn by
            itself, and a value that stands twice is twice as likely.

    Raises:
        AlmetaError: for an option that is unknown or must not vary, or a wrong value.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        options: PoolOptions,
        num_envs: int,
        generator: torch.Generator,
        learner: Learner | None = None,
        oracle: Oracle | None = None,
        *,
        vary: Mapping[str, Sequence[Any]],
    ) -> None:
        super().__init__(datasets, options, num_envs, generator, learner, oracle)
        self._base, self._most, self._first = options, num_envs, self.sampler
        self._vary = {name: _read(name, values) for name, values in vary.items()}
        for one in self._vary.get("oracle", ()):
            check_oracle(one, max(self._vary.get("query_size", [options.query_size])), ())
        # Each combination is checked before the first batch, and keeps what it knows of the data sets.
        self._tasks = [name for name in self._vary if name in _OPTIONS and name not in _PICKS]
        self._samplers = {
            places: PoolSampler(datasets, self._changed(dict(zip(self._tasks, places, strict=True))), generator.device)
            for places in itertools.product(*(range(len(self._vary[name])) for name in self._tasks))
        }
        for name in _PICKS:
            for place in range(len(self._vary.get(name, ()))):
                self._changed({name: place})
        least = min((budget for budget in self._vary.get("budget", [options.budget]) if budget), default=None)
        for sampler in self._samplers.values():
            check_memory(self._episodes(sampler, least), sampler.bytes_per_task, generator.device)

    @property
    def identity(self) -> dict[str, Any]:
        return self._first.identity

    def reset(self, tasks: PoolTasks | None = None, generators: Sequence[torch.Generator] | None = None) -> PoolState:
        if tasks is None:
            self._change({name: self._draw(len(values)) for name, values in self._vary.items()})
        return super().reset(tasks, generators)

    def _draw(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator, device=self.generator.device))

    def _change(self, places: dict[str, int]) -> None:
        """Set what was drawn, and as many episodes as take about the time of a batch without it."""
        drawn = {name: self._vary[name][place] for name, place in places.items()}
        self.learner, self.oracle = drawn.get("learner", self.learner), drawn.get("oracle", self.oracle)
        self.options = self._changed(places)
        self.sampler = self._samplers[tuple(places[name] for name in self._tasks)]
        self.num_envs = self._episodes(self.sampler, self.options.budget)

    def _changed(self, places: dict[str, int]) -> PoolOptions:
        """Return the options with some of the values; a query is no larger than the budget."""
        changes = {name: self._vary[name][place] for name, place in places.items() if name in _OPTIONS}
        options = replace(self._base, **{"query_size": 1, **changes, "budget": None})  # checks all but the budget
        budget = changes.get("budget", self._base.budget)
        query_size = changes.get("query_size", self._base.query_size)
        if budget is None:
            return replace(options, query_size=query_size)
        options = replace(options, query_size=1, budget=budget)  # checks the budget
        return replace(options, query_size=min(query_size, budget))

    def _episodes(self, sampler: PoolSampler, budget: int | None) -> int:
        """Return how many episodes of a number of picks take about the time of a batch of the base options."""
        share = min(1.0, _work(self._first, self._base.budget) / _work(sampler, budget))
        return self.group * max(1, int(share * self._most) // self.group)

    def _checked_budget(self, tasks: PoolTasks) -> int:
        if tasks.max_budget < 1:
            return super()._checked_budget(tasks)  # raises
        return min(self.options.budget or tasks.max_budget, tasks.max_budget)


def _read(name: str, values: Any) -> list[Any]:
    """Return the values of an option that varies."""
    if name not in (*_OPTIONS, "learner", "oracle"):
        raise AlmetaError(did_you_mean(name, [*_OPTIONS, "learner", "oracle"], "option to vary"))
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise AlmetaError(f"vary.{name} is {values!r}; give a list of values, such as vary.{name}=[...]")
    if name == "learner":
        return [make_learner(value) for value in values]
    return [choose(value, "oracle", Oracle) for value in values] if name == "oracle" else list(values)


def _work(sampler: PoolSampler, budget: int | None) -> int:
    """Return what the time of an episode grows with: picks times rows."""
    rows = sampler.num_rows
    return min(budget or rows, rows) * rows
