"""Feature acquisition: which missing cell of a table should be bought?

The setting is that of Melville, Saar-Tsechansky, Provost & Mooney, "Active Feature-Value Acquisition for Classifier
Induction", ICDM 2004: training rows have labels and missing cells, test rows are complete.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from almeta.build import choose
from almeta.checks import Count, Share, Weight, Within, check_arguments
from almeta.data.dataset import Dataset
from almeta.envs.batch import Autoreset, BatchEnv, Info, RenderMode, SingleEnv, check_for_classes, check_options
from almeta.envs.pool import load_datasets, observed, observed_space
from almeta.envs.render import draw_pool
from almeta.envs.scores import SCORES, ScoreName
from almeta.envs.simulation import Simulation, check_memory
from almeta.errors import AlmetaError
from almeta.features import FeatureState
from almeta.imputation import GaussianBelief
from almeta.inputs import CellInputs
from almeta.learners import Learner, LogisticRegression, make_learner
from almeta.tasks import PoolSampler, PoolTaskOptions, PoolTasks

# Scaled cells are clipped to -WIDEST .. WIDEST: one odd cell must not dominate all others.
WIDEST = 10.0
# The measure that is compared: the score less all prices paid so far, which is the sum of rewards on top of the first.
NET = "score_less_price"


@dataclass(frozen=True)
class FeatureOutcome:
    """What one cell brought: all tensors are `[E]`.

    Attributes:
        reward: float32, the gain in the score less the price.
        score: float32, the learner's on the test rows.
        price: float32, what was paid.
        invalid: bool, whether the cell was known or does not exist; the step was spent, cost and brought nothing.
    """

    reward: Tensor
    score: Tensor
    price: Tensor
    invalid: Tensor


@dataclass(frozen=True)
class FeatureOptions:
    """The options of feature acquisition.

    A cell is one number of a row as it is prepared for learners: of a category, whether it is this one.

    Args:
        synthetic: share of tasks from small synthetic data sets, each drawn anew.
        pool_size: largest number of training rows N.
        test_share: share of a data set's rows for testing; of no effect on fixed test rows.
        max_test: largest number of test rows; None for no limit; of no effect on fixed test rows.
        max_classes: largest number of classes of a task, drawn anew for each task; None for no limit.
        max_features: largest number of columns D, drawn likewise; tables with fewer are padded.
        missing: share of each column's cells that is missing at the start, at random.
        price: mean price of a cell, in units of the reward.
        spread: standard deviation of the logarithm of the columns' prices, which are log-normal; 0 makes all equal.
        budget: cells asked for in an episode T; None for as many as complete the table of a batch that lacks fewest.
        score: the measure on the test rows, one of `almeta.envs.scores`.
        group: episodes per task; they are neighbours and begin with the same cells and prices.
        discount: how much the next step's reward counts now, for agents that learn here.

    Raises:
        AlmetaError: for an option out of range.
    """

    kind: ClassVar[str] = "features"

    synthetic: Share = 0.0
    pool_size: Annotated[int, Within(2)] = 30
    test_share: Annotated[float, Within(above=0, high=1)] = 0.4
    max_test: Count | None = 300
    max_classes: Annotated[int, Within(2)] | None = None
    max_features: Count = 8
    missing: Share = 0.7
    price: Weight = 0.001
    spread: Weight = 1.0
    budget: Count | None = 30
    score: ScoreName = "accuracy"
    group: Count = 1
    discount: Share = 0.9

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self), "env")
        self.tasks  # noqa: B018  # raises for a test share of 1

    @property
    def tasks(self) -> PoolTaskOptions:
        """How tasks are drawn: the pool is the training rows, and all its labels are known."""
        same = ("synthetic", "pool_size", "test_share", "max_test", "max_classes", "max_features")
        return PoolTaskOptions(**{name: getattr(self, name) for name in same})


class FeatureSimulation(Simulation):
    """E tables with missing cells at once, on tensors.

    The learner is fit to all rows, in which missing cells hold what a Gaussian belief expects of them.

    Args:
        datasets: where tasks come from.
        options: None for the defaults.
        num_envs: episodes run in parallel E.
        generator: draws tasks, missing cells and prices; everything lies on its device.
        learner: how the classifier is fit; None for logistic regression.

    Attributes:
        tasks: the tasks being played.
        values: `[E, N, D]` float32, all cells, scaled by those known at the start.
        known: `[E, N, D]` bool, the cells known now.
        score: `[E]`, the learner's on the test rows now.
        spent: `[E]` float32, what was paid so far.

    Raises:
        AlmetaError: for options that do not fit the data sets, or `num_envs`.
    """

    kind = "features"

    def __init__(
        self,
        datasets: Sequence[Dataset],
        options: FeatureOptions | None = None,
        num_envs: int = 1,
        generator: torch.Generator | None = None,
        learner: Learner | None = None,
    ) -> None:
        self.options = options = options or FeatureOptions()
        super().__init__(num_envs, generator, options.group)
        self.discount = options.discount
        self.sampler = PoolSampler(datasets, options.tasks, self.generator.device)
        check_memory(num_envs, self.sampler.bytes_per_task, self.generator.device)
        self.learner = learner or LogisticRegression()
        check_for_classes(datasets, self.learner, "feature acquisition")
        self.tasks: PoolTasks

    @property
    def identity(self) -> dict[str, Any]:
        """The names of the data sets, a digest of them, and sketches of their rows."""
        return self.sampler.identity

    @property
    def scores(self) -> dict[str, Tensor]:
        """The score now, and `NET`, `[E]` by name."""
        return {self.options.score: self.score, NET: self.score - self.spent}

    @property
    def num_cells(self) -> int:
        """The number of actions, N times D."""
        return self.sampler.num_rows * self.options.max_features

    def reset(
        self, tasks: PoolTasks | None = None, generators: Sequence[torch.Generator] | None = None
    ) -> FeatureState:
        """Begin new episodes and return the first state; there are `num_envs / group` tasks.

        The generators also draw which cells are missing, and the prices. From one state of the generator, more missing
        cells are those and others, and other prices are the same ones in other units.

        Raises:
            AlmetaError: if fewer cells are missing than may be asked for, or a task has more columns than D.
        """
        generators = generators or [self.generator]
        number = self.num_envs // self.group
        if tasks is None:
            tasks = self.sampler.draw_by(generators, number)
        elif len(tasks) != number:
            raise ValueError(f"{len(tasks)} tasks are given; here they are {number}")
        x, test_x, columns = self._padded(tasks)
        exists = tasks.exists[..., None] & columns[:, None]
        parts = [
            self._drawn(part, by) for part, by in zip(exists.split(number // len(generators)), generators, strict=True)
        ]
        known, prices = (torch.cat(part) for part in zip(*parts, strict=True))
        self.length, self.time = self._checked_budget(exists & ~known, tasks.names), 0
        x, test_x = _scaled(x, known, x, test_x)

        def each(part: Tensor) -> Tensor:
            return part.repeat_interleave(self.group, 0)

        self.tasks, self._test_x = tasks.repeat(self.group), each(test_x)
        self.values, self.known, self.exists, self.prices = map(each, (x.where(exists, 0.0), known, exists, prices))
        self.spent = torch.zeros(self.num_envs, device=x.device)
        self._model: Any = None
        self.score = self._refit()
        return self.state()

    def _padded(self, tasks: PoolTasks) -> tuple[Tensor, Tensor, Tensor]:
        """Return training rows `[E, N, D]`, test rows `[E, M, D]`, and which columns there are, `[E, D]` bool.

        A column that is the same in all training rows is none.
        """
        width, most = tasks.x.shape[2], self.options.max_features
        if width > most:
            raise AlmetaError(f"a task has {width} columns, and env.max_features={most}; choose {width} or more")
        x, test_x = (torch.nn.functional.pad(part, (0, most - width)) for part in (tasks.x, tasks.test_x))
        return x, test_x, (x != 0).any(1)

    def _drawn(self, exists: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw which cells `[E, N, D]` are known at the start, and their prices; a column has one price."""
        order = torch.rand(exists.shape, generator=generator, device=exists.device).masked_fill(~exists, 2.0)
        normal = torch.randn(exists[:, :1].shape, generator=generator, device=exists.device)
        rows = exists.sum(1, keepdim=True)
        kept = ((1 - self.options.missing) * rows).round().clamp_min(2)  # one known cell says nothing of its scale
        known = (order.argsort(1).argsort(1) < kept) & exists
        spread = self.options.spread
        prices = self.options.price * (spread * normal - spread**2 / 2).exp()
        return known, torch.where(exists, prices, 0.0)

    def _checked_budget(self, missing: Tensor, names: Sequence[str]) -> int:
        counts, budget = missing.sum((1, 2)), self.options.budget
        most = int(counts.min())
        if max(1, budget or 0) <= most:
            return budget or most
        has = f"{most} cells of data set '{names[int(counts.argmin())]}' are missing"
        if most < 1:
            raise AlmetaError(f"{has}: there is none to ask for; choose a larger env.missing or env.pool_size")
        raise AlmetaError(
            f"env.budget={budget}, but {has}; choose {most} or less, null for all, or a larger env.missing"
        )

    def state(self) -> FeatureState:
        """Return what may be known now."""
        return FeatureState(
            filled=self._filled,
            deviation=self._deviation,
            known=self.known,
            exists=self.exists,
            labels=self.tasks.y,
            num_classes=self.tasks.num_classes,
            prices=self.prices,
            probabilities=self._probabilities,
            time=self.time,
            length=self.length,
            belief=self._belief,
            learner=self.learner,
            model=self._model,
        )

    def step(self, actions: Tensor) -> FeatureOutcome:
        """Ask for one cell `[E]` int64, `row * D + column`, of each table."""
        if self.finished:
            raise RuntimeError("the episodes have ended; call reset() before the next step()")
        place = actions[:, None]
        asked = torch.zeros_like(self.known).flatten(1).scatter(1, place, True).view_as(self.known)
        heard = asked & self.exists & ~self.known
        valid, price = heard.flatten(1).any(1), self.prices.where(heard, 0.0).sum((1, 2))
        self.time += 1
        self.known = self.known | heard
        before, now = self.score, self._refit()
        self.score = now.where(valid, before)  # a refit to the same cells is no gain
        self.spent = self.spent + price
        return FeatureOutcome(self.score - before - price, self.score, price, ~valid)

    def _refit(self) -> Tensor:
        """Fill in what is not known, fit the learner, and return its score on the test rows `[E]`."""
        tasks = self.tasks
        self._belief = GaussianBelief.fit(self.values, self.known)
        filled, deviation = self._belief.fill(self.values, self.known)
        self._filled, self._deviation = filled.where(self.exists, 0.0), deviation.where(self.exists, 0.0)
        self._model = self.learner.fit(
            self._filled, tasks.y, tasks.exists.float(), tasks.max_classes, start=self._model, generator=self.generator
        )
        self._probabilities = self._model.probabilities(self._filled)
        return SCORES[self.options.score](self._model.probabilities(self._test_x), tasks.test_y, tasks.test_exists)

    def scalars(self, rollout: Any) -> dict[str, Tensor]:
        """Return the mean return, the last score, and what was paid."""
        paid = torch.stack([outcome.price for outcome in rollout.outcomes]).sum(0)
        return {
            "mean_return": rollout.rewards.sum(0).mean(),
            "score": rollout.outcomes[-1].score.mean(),
            "spent": paid.mean(),
        }


def _scaled(x: Tensor, known: Tensor, *parts: Tensor) -> list[Tensor]:
    """Return parts `[E, M, D]` less the mean of each column's known cells, in units of their standard deviation."""
    count = known.sum(1, keepdim=True).clamp_min(1)
    mean = x.where(known, 0.0).sum(1, keepdim=True) / count
    spread = ((x - mean).where(known, 0.0).square().sum(1, keepdim=True) / count).sqrt()
    scale = torch.where(spread > 1e-6, spread, 1.0)  # known cells that are alike give no unit
    return [((part - mean) / scale).clamp(-WIDEST, WIDEST) for part in parts]


class FeatureAcquisitionVectorEnv(BatchEnv):
    """E tables at once: `gym.make_vec("almeta:almeta/FeatureAcquisition-v0", num_envs=64)`.

    All training rows have labels, and some of their cells are missing. An action is a cell, `row * D + column`. The
    reward is the gain in the learner's score on complete test rows, less the cell's price; a cell that is known already
    spends the step, costs nothing and gains 0. An observation has `candidates` `[E, N * D, F]` float32, numbers about
    each cell (`inputs.candidate_names` names them), `pool` `[E, G]` float32, numbers about each table, and
    `action_mask` `[E, N * D]` int8, 1 for cells that may be asked for: nothing of test rows or missing cells. Nothing
    is truncated: all episodes terminate together when the budget is spent.

    `info["action_mask"]` is the mask again. For evaluation, and not for the policy, `info` has `score`, `spent` (both
    float32) and `known` (int64, how many cells are known), and after a step also `price` (float32) and `invalid_action`
    (bool), all `[E]`.

    A frame shows the first two principal components of the rows, missing cells filled in, with their labels and the row
    of the last cell, and the score after each cell beside it.

    Args:
        num_envs: episodes run in parallel E.
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        learner: how the classifier is fit: a name of `conf/learner`, a mapping with `name` and options, a learner, or a
            classifier or pipeline of scikit-learn; None for logistic regression.
        inputs: what is observed: a mapping, or a set of inputs; None for `Cells`.
        render_mode: "rgb_array" lets `render` draw; None does not.
        autoreset_mode: "disabled", "next_step" or "same_step", see `BatchEnv`.
        **options: those of `FeatureOptions`, such as `pool_size`, `missing`, `price`, `budget`.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    meaning = "a cell: its row times the number of columns, plus its column"

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str | Dataset | Sequence[str | Dataset] = "wine",
        learner: str | Mapping[str, Any] | Learner | None = None,
        inputs: str | Mapping[str, Any] | CellInputs | None = None,
        render_mode: RenderMode | None = None,
        autoreset_mode: Autoreset = "disabled",
        **options: Any,
    ) -> None:
        check_options(FeatureAcquisitionVectorEnv, FeatureOptions, options)
        self.inputs: CellInputs = choose(inputs or "cells", "inputs", CellInputs)
        made = make_learner(learner or "logistic_regression")
        simulation = FeatureSimulation(load_datasets(dataset), FeatureOptions(**options), num_envs, learner=made)
        cells = simulation.num_cells
        space = observed_space(cells, self.inputs)
        super().__init__(simulation, num_envs, space, gym.spaces.Discrete(cells), render_mode, autoreset_mode)

    def _begin(self, tasks: Any = None) -> tuple[Any, Info]:
        begun = super()._begin(tasks)
        self._first_score = self.simulation.score
        return begun

    def _observe(self) -> tuple[dict[str, np.ndarray], Info]:
        simulation = self.simulation
        observation = observed(simulation.state(), self.inputs)
        return observation, {
            "action_mask": observation["action_mask"].copy(),
            "score": simulation.score.numpy().copy(),
            "spent": simulation.spent.numpy().copy(),
            "known": simulation.known.sum((1, 2)).numpy(),
        }

    def _judge(self, outcome: FeatureOutcome) -> Info:
        return {"price": outcome.price.numpy(), "invalid_action": outcome.invalid.numpy()}

    def _draw(self, e: int) -> np.ndarray:
        simulation, state = self.simulation, self.simulation.state()
        rows = state.rows[e]
        scores = [self._first_score, *(outcome.score for _, outcome in self._history)]
        last = int(self._history[-1][0][e]) // simulation.options.max_features if self._history else None
        return draw_pool(
            state.filled[e, rows].numpy(),
            state.labels[e, rows].numpy(),
            last,
            [float(score[e]) for score in scores],
            simulation.length,
            f"{simulation.tasks.names[e]}: {simulation.time} of {simulation.length} cells",
            simulation.options.score,
        )


class FeatureAcquisitionEnv(SingleEnv):
    """One table: `gym.make("almeta:almeta/FeatureAcquisition-v0", dataset="wine")`.

    A thin view of `FeatureAcquisitionVectorEnv` with one episode; everything is explained there. The leading axis is
    missing; rewards, `terminated`, `truncated` and most of `info` are Python values.

    Args:
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        **options: the others of `FeatureAcquisitionVectorEnv`.
    """

    def __init__(self, dataset: str | Dataset | Sequence[str | Dataset] = "wine", **options: Any) -> None:
        super().__init__(FeatureAcquisitionVectorEnv, dataset, options)

    def action_masks(self) -> np.ndarray:
        """Return which cells may be asked for, `[N * D]` bool; sb3-contrib's agents call this."""
        return self.batch.simulation.state().available[0].numpy().copy()
