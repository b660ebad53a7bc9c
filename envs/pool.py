"""Pool selection: which row of a pool should be labelled next?

Rewarded by the gain in the learner's score on test rows. It exists once, as `PoolSimulation` on tensors with a leading
axis E; `PoolSelectionVectorEnv` is that batch as a Gymnasium VectorEnv, `PoolSelectionEnv` a batch of one as a
Gymnasium Env.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Share
from almeta.data import load_dataset
from almeta.data.dataset import Dataset
from almeta.data.preparation import Scale
from almeta.envs.batch import BatchEnv, Info, SingleEnv
from almeta.envs.scores import SCORES, ScoreName
from almeta.errors import AlmetaError, did_you_mean
from almeta.learners import Learner, LogisticRegression
from almeta.oracles import Oracle
from almeta.seeding import make_generator
from almeta.strategies.geometry import Geometry
from almeta.strategies.inputs import CANDIDATE_INPUTS, POOL_INPUTS, candidate_inputs
from almeta.strategies.pool import PoolState
from almeta.tasks import PoolSampler, PoolTasks
from almeta.tasks.pool import First


@dataclass(frozen=True)
class PoolOutcome:
    """What one pick brought, for whoever judges: all tensors `[E]`.

    Attributes:
        reward: float32, the gain in the score less the price.
        score: float32, the learner's on the test rows.
        price: float32, what was paid.
        declined: bool, the oracle gave no label.
        invalid: bool, the row could not be picked: the pick was spent and brought nothing.
    """

    reward: Tensor
    score: Tensor
    price: Tensor
    declined: Tensor
    invalid: Tensor


class PoolSimulation:
    """E pools at once, on tensors.

    Args:
        sampler: draws the tasks.
        num_envs: episodes run in parallel E.
        generator: draws tasks and the oracle's answers; on the sampler's device.
        learner: how the classifier is fit.
        oracle: who answers.
        budget: picks in an episode T; None for as many as empty the smallest pool of a batch.
        query_size: picks of a query: they are made one after the other, answered together, and the learner is refit
            after the last of them.
        score: "accuracy", "balanced_accuracy", "macro_f1", "neg_log_loss" or "true_probability", on the test rows.
        reward_score: the one whose gain is the reward, where that is another: "true_probability" does not move in
            steps, but to raise it is not the same as to raise accuracy.
        group: so many neighbouring episodes share one task, its first labels and its oracle's answers.
        discount: how much the next step's reward counts now, for agents that learn here; in [0, 1].

    Attributes:
        tasks: the tasks being played.
        score: `[E]`, the learner's now.

    Raises:
        AlmetaError: for an option that is out of range.
    """

    def __init__(
        self,
        sampler: PoolSampler,
        num_envs: int,
        generator: torch.Generator,
        learner: Learner | None = None,
        oracle: Oracle | None = None,
        budget: int | None = 20,
        query_size: int = 1,
        score: ScoreName = "accuracy",
        group: int = 1,
        discount: float = 0.9,
        reward_score: ScoreName | None = None,
    ) -> None:
        for measure in (score, reward_score or score):
            if measure not in SCORES:
                raise AlmetaError(did_you_mean(str(measure), SCORES, "score"))
        if not 0.0 <= discount <= 1.0:
            raise AlmetaError(f"env.discount is {discount}; it lies in [0, 1]")
        for name, value in (("budget", budget), ("query_size", query_size), ("group", group), ("num_envs", num_envs)):
            if value is not None and value < 1:
                raise AlmetaError(f"{name} is {value}; it must be at least 1")
        if num_envs % group:
            raise AlmetaError(f"num_envs={num_envs} is no multiple of group={group}, the episodes that share a task")
        self.sampler, self.num_envs, self.generator = sampler, num_envs, generator
        self.learner, self.oracle = learner or LogisticRegression(), oracle or Oracle()
        self.budget, self.query_size, self.group, self.discount = budget, query_size, group, discount
        self._measure, self._reward_measure = SCORES[score], SCORES[reward_score or score]
        self.length = self.time = 0
        self.tasks: PoolTasks

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps of the tasks it was trained on: the names of the data sets, and a digest of them."""
        names = sorted(self.sampler.names)
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        return {"dataset": "pools", "classes": digest, "datasets": names, "inputs": [*CANDIDATE_INPUTS, *POOL_INPUTS]}

    def reset(self, tasks: PoolTasks | None = None) -> PoolState:
        """Begin new episodes and return what is known at the first step.

        Args:
            tasks: `num_envs / group` of them; None to draw them.

        Raises:
            AlmetaError: if a pool is smaller than the budget.
        """
        if tasks is None:
            tasks = self.sampler.draw(self.num_envs // self.group, self.generator)
        elif len(tasks) * self.group != self.num_envs:
            raise ValueError(f"{len(tasks)} tasks are given; here they are {self.num_envs // self.group}")
        self.length = self._checked_budget(tasks)
        answers = self.oracle.answer(tasks.y, tasks.exists, tasks.num_classes, self.generator)
        self._answers = answers.labels.repeat_interleave(self.group, 0)
        self._prices = answers.prices.repeat_interleave(self.group, 0)
        self.tasks = tasks = tasks.repeat(self.group)
        self.time, self._num_classes = 0, tasks.max_classes
        self._begin(tasks)
        self._refit()
        return self.state()

    def _checked_budget(self, tasks: PoolTasks) -> int:
        most = tasks.max_budget
        if max(1, self.budget or 0) <= most:
            return self.budget or most
        left = tasks.exists.sum(1) - (tasks.first >= 0).sum(1)
        name, rows = tasks.names[int(left.argmin())], int(tasks.exists.sum(1)[left.argmin()])
        has = f"the pool of data set '{name}' has {rows} rows, {most} of them without a label"
        if most < 1:
            raise AlmetaError(f"{has}: there is nothing to ask; choose a larger pool or fewer first labels")
        raise AlmetaError(f"env.budget={self.budget}, but {has}; choose {most} or less, or null to label them all")

    def _begin(self, tasks: PoolTasks) -> None:
        """Lay out what is known: the first labels."""
        firsts = tasks.first.shape[1]
        self._picks = torch.full((self.num_envs, firsts + self.length), -1, device=tasks.x.device)
        self._picks[:, :firsts] = tasks.first
        self._filled = self._answered = firsts
        given = _mark(tasks.exists & False, tasks.first)
        self._labels = torch.where(given, tasks.y, -1)  # what is known at the start is known for sure
        self._available = tasks.exists & ~given
        self._geometry = Geometry(tasks.x, tasks.exists)
        self._model: Any = None

    def _refit(self) -> None:
        """Fit the learner to all labels that have arrived, and score it."""
        tasks = self.tasks
        rows = self._picks[:, : self._answered]
        x = tasks.x.gather(1, rows.clamp_min(0)[..., None].expand(-1, -1, tasks.x.shape[-1]))
        labels = self._labels.gather(1, rows.clamp_min(0))
        weight = ((rows >= 0) & (labels >= 0)).float()
        self._model = self.learner.fit(
            x, labels.clamp_min(0), weight, self._num_classes, start=self._model, generator=self.generator
        )
        self._probabilities = self._model.probabilities(tasks.x)
        tested = (self._model.probabilities(tasks.test_x), tasks.test_y, tasks.test_exists)
        self.score = self._measure(*tested)
        same = self._reward_measure is self._measure
        self._worth = self.score if same else self._reward_measure(*tested)

    def state(self) -> PoolState:
        """Return what may be known now."""
        return PoolState(
            x=self.tasks.x,
            exists=self.tasks.exists,
            available=self._available,
            labels=self._labels,
            picks=self._picks[:, : self._filled],
            answered=self._answered,
            probabilities=self._probabilities,
            num_classes=self.tasks.num_classes,
            prices=self._prices,
            budget=self.length,
            spent=self.time,
            learner=self.learner,
            geometry=self._geometry,
        )

    @property
    def finished(self) -> bool:
        """Whether the episodes have ended (all at once: they have equal lengths)."""
        return self.time >= self.length

    def step(self, rows: Tensor) -> PoolOutcome:
        """Pick one row `[E]` int64 in each pool."""
        if self.finished:
            raise RuntimeError("the episodes have ended; call reset() before the next step()")
        valid = self._available.gather(1, rows[:, None]).squeeze(1)
        picked = torch.where(valid, rows, -1)
        self._picks[:, self._filled] = picked
        self._available = self._available & ~_mark(torch.zeros_like(self._available), picked[:, None])
        self._filled += 1
        self.time += 1
        score, before = self.score, self._worth
        if self.time % self.query_size == 0 or self.finished:
            heard = self._answer()
            self._refit()
            # To fit the same labels again, by chance or further than before, is no gain.
            self.score, self._worth = self.score.where(heard, score), self._worth.where(heard, before)
        price = self._prices.gather(1, rows[:, None]).squeeze(1).where(valid, 0.0)
        declined = valid & (self._answers.gather(1, rows[:, None]).squeeze(1) < 0)
        return PoolOutcome(self._worth - before - price, self.score, price, declined, ~valid)

    def _answer(self) -> Tensor:
        """Let the oracle answer the picks of this query, and return to whom it gave a label, `[E]` bool."""
        asked = _mark(torch.zeros_like(self._available), self._picks[:, self._answered : self._filled])
        self._labels = torch.where(asked, self._answers, self._labels)
        self._answered = self._filled
        return (asked & (self._answers >= 0)).any(1)


def _mark(mask: Tensor, rows: Tensor) -> Tensor:
    """Set a mask `[E, N]` True at rows `[E, P]`, where -1 is none; changes the mask."""
    return mask.scatter_reduce_(1, rows.clamp_min(0), rows >= 0, "amax")


def make_pool_simulation(
    datasets: Sequence[Dataset],
    num_envs: int,
    generator: torch.Generator,
    learner: Learner | None = None,
    oracle: Oracle | None = None,
    synthetic: Share = 0.0,
    pool_size: Count | None = 120,
    test_share: Share = 0.4,
    max_test: Count | None = 300,
    first: First = "per_class",
    num_first: Count = 1,
    max_classes: Count | None = None,
    max_features: Count | None = None,
    scale: Scale = "standard",
    components: Count | None = None,
    budget: Count | None = 20,
    query_size: Count = 1,
    score: ScoreName = "accuracy",
    group: Count = 1,
    discount: Share = 0.9,
    reward_score: ScoreName | None = None,
) -> PoolSimulation:
    """Build the simulation from the plain values that `conf/env/pool.yaml` explains.

    Args:
        datasets: where tasks come from.
        num_envs: episodes run in parallel E.
        generator: draws tasks and answers; everything lies on its device.
        learner: how the classifier is fit; None for logistic regression.
        oracle: who answers; None for one who is always right.
        synthetic: share of tasks from synthetic data sets.
        pool_size: see `PoolSampler`, as the following down to `components`.
        test_share: of a data set's rows.
        max_test: rows.
        first: "per_class" or "random".
        num_first: labels at the start, per class or in all.
        max_classes: of a task.
        max_features: of a task.
        scale: of the features.
        components: of the features.
        budget: see `PoolSimulation`, as the following.
        query_size: picks between refits.
        score: of the learner on test rows.
        group: episodes that share a task.
        discount: for agents that learn here.
        reward_score: the score whose gain is the reward; None for `score`.

    Raises:
        AlmetaError: for values that do not fit the data sets or each other.
    """
    sampler = PoolSampler(
        datasets,
        pool_size=pool_size,
        test_share=test_share,
        max_test=max_test,
        first=first,
        num_first=num_first,
        synthetic=synthetic,
        max_classes=max_classes,
        max_features=max_features,
        scale=scale,
        components=components,
        device=generator.device,
    )
    return PoolSimulation(
        sampler, num_envs, generator, learner, oracle, budget, query_size, score, group, discount, reward_score
    )


@functools.lru_cache(maxsize=8)
def _load(name: str) -> Dataset:
    """A data set, loaded once for all environments that show it."""
    return load_dataset(name)


class PoolSelectionVectorEnv(BatchEnv):
    """E pools at once: `gym.make_vec("almeta:almeta/PoolSelection-v0", num_envs=64)`.

    An action is the index of the pool row to be labelled. The reward is the gain in the learner's score on test rows
    less the query's price. An observation has `candidates` `[E, N, F]` float32, numbers about each row
    (`almeta.strategies.inputs.CANDIDATE_INPUTS`), `pool` `[E, G]` float32, numbers about each pool (`POOL_INPUTS`), and
    `action_mask` `[E, N]` int8, 1 for rows that may be picked: nothing of the test rows or of labels not asked for.
    Rows that pad a smaller pool have zeros. Nothing is truncated: all episodes terminate together when the budget is
    spent, and the next call must be `reset`.

    A row that was labelled before spends the pick and gains 0. `info["action_mask"]` is the mask again; for the judge,
    and not for the policy, `info` has `score` (float32) and `labels` (labels the learner has, int64), and after a step
    also `price` (float32), `declined` and `invalid_action` (bool), all `[E]`. A pick of an unfinished query
    (`query_size`) is told to be declined at once, though its learner hears of it at the end of the query.

    Args:
        num_envs: episodes run in parallel E.
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        learner: how the classifier is fit; None for logistic regression.
        oracle: who answers; None for one who is always right and free.
        **pool: options of `make_pool_simulation`, such as `pool_size`, `budget`, `query_size`, `score`.

    Attributes:
        simulation: what this is a view of.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    meaning = "the index of a row of the pool"

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str | Dataset | Sequence[str | Dataset] = "digits",
        learner: Learner | None = None,
        oracle: Oracle | None = None,
        **pool: Any,
    ) -> None:
        several = [dataset] if isinstance(dataset, str | Dataset) else dataset
        datasets = [_load(one) if isinstance(one, str) else one for one in several]
        simulation = make_pool_simulation(datasets, num_envs, make_generator(0, "env"), learner, oracle, **pool)
        rows = simulation.sampler.num_rows
        observed = gym.spaces.Dict(
            {
                "candidates": gym.spaces.Box(-np.inf, np.inf, (rows, len(CANDIDATE_INPUTS)), np.float32),
                "pool": gym.spaces.Box(-np.inf, np.inf, (len(POOL_INPUTS),), np.float32),
                "action_mask": gym.spaces.MultiBinary(rows),
            }
        )
        super().__init__(simulation, num_envs, observed, gym.spaces.Discrete(rows))

    def _observe(self) -> tuple[dict[str, np.ndarray], Info]:
        state = self.simulation.state()
        candidates, pool = candidate_inputs(state)
        mask = state.available.to(torch.int8).numpy()
        observation = {"candidates": candidates.numpy(), "pool": pool.numpy(), "action_mask": mask}
        labels = (state.labels >= 0).sum(1).numpy()
        return observation, {
            "action_mask": mask.copy(),
            "score": self.simulation.score.numpy().copy(),
            "labels": labels,
        }

    def _judge(self, outcome: PoolOutcome) -> Info:
        return {
            "price": outcome.price.numpy(),
            "declined": outcome.declined.numpy(),
            "invalid_action": outcome.invalid.numpy(),
        }


class PoolSelectionEnv(SingleEnv):
    """One pool: `gym.make("almeta:almeta/PoolSelection-v0", dataset="digits")`.

    A thin view of `PoolSelectionVectorEnv` with one episode; everything is explained there.

    Args:
        dataset: a name for `load_dataset`, a data set, or several of either.
        learner: how the classifier is fit; None for logistic regression.
        oracle: who answers; None for one who is always right and free.
        **pool: options of `make_pool_simulation`.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    def __init__(
        self,
        dataset: str | Dataset | Sequence[str | Dataset] = "digits",
        learner: Learner | None = None,
        oracle: Oracle | None = None,
        **pool: Any,
    ) -> None:
        super().__init__(PoolSelectionVectorEnv(1, dataset, learner, oracle, **pool))

    def action_masks(self) -> np.ndarray:
        """`[N]` bool, the rows that may be picked: where agents that know masks (sb3-contrib's) look for them."""
        return self.batch.simulation.state().available[0].numpy().copy()
