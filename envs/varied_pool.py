"""Pool selection whose options differ from batch to batch, so that one policy learns to serve many settings."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from almeta.build import choose
from almeta.data.dataset import Dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError, did_you_mean
from almeta.learners import Learner, make_learner
from almeta.oracles import Oracle
from almeta.pool import PoolState
from almeta.tasks import PoolSampler, PoolTasks

# Options that say how many tasks a batch has and what is learnt from them: the same in all batches.
_FIXED = ("group", "discount", "score", "reward_score", "reward_target")
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
        self._base, self._most = options, num_envs
        self._vary = {name: _read(name, values) for name, values in vary.items()}
        for name, values in self._vary.items():
            for value in values if name in _OPTIONS else ():
                alone: dict[str, Any] = {"budget": None, "query_size": 1, name: value}
                PoolSampler(datasets, replace(options, **alone), generator.device)

    def reset(self, tasks: PoolTasks | None = None, generators: Sequence[torch.Generator] | None = None) -> PoolState:
        if tasks is None:
            self._change({name: values[self._draw(len(values))] for name, values in self._vary.items()})
        return super().reset(tasks, generators)

    def _draw(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator, device=self.generator.device))

    def _change(self, drawn: dict[str, Any]) -> None:
        """Set what was drawn, and as many episodes as take about the time of a batch without it."""
        self.learner, self.oracle = drawn.get("learner", self.learner), drawn.get("oracle", self.oracle)
        changes = {name: value for name, value in drawn.items() if name in _OPTIONS}
        budget, query_size = (changes.get(name, getattr(self._base, name)) for name in ("budget", "query_size"))
        changes["query_size"] = query_size if budget is None else min(query_size, budget)
        self.options = replace(self._base, **changes)
        self.sampler = PoolSampler(self.sampler.datasets, self.options, self.generator.device)
        share = min(1.0, _work(self._base) / _work(self.options))
        self.num_envs = self.group * max(1, int(share * self._most) // self.group)

    def _checked_budget(self, tasks: PoolTasks) -> int:
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


def _work(options: PoolOptions) -> int:
    """Return what the time of an episode grows with; pools without a limit count as 1,000 rows."""
    return (options.budget or 1000) * (options.pool_size or 1000)
