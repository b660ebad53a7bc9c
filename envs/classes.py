"""Class sampling: of which class should the next rows be generated?

There is no pool: the setting is that of R. Lomasky, C. E. Brodley, M. Aernecke, D. Walt and M. Friedl, "Active Class
Selection", ECML 2007 (LNCS 4701, pages 640-647). Rows of a class come from the data set, each once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from almeta.build import choose
from almeta.checks import Count, Share, Within
from almeta.classes import ClassState, folds_of, members
from almeta.data.dataset import Dataset
from almeta.envs.batch import Autoreset, BatchEnv, Info, RenderMode, SingleEnv, check_for_classes, check_options
from almeta.envs.measures import MeasureName
from almeta.envs.pool import load_datasets, observed, observed_space
from almeta.envs.render import draw_pool
from almeta.envs.scores import SCORES, ScoreName
from almeta.envs.simulation import Simulation, check_memory
from almeta.errors import AlmetaError
from almeta.geometry import rows_of
from almeta.inputs import ClassInputs
from almeta.learners import Learner, LogisticRegression, make_learner
from almeta.learners.learner import Model
from almeta.tasks import PoolSampler, PoolTaskOptions, PoolTasks


@dataclass(frozen=True)
class ClassOutcome:
    """What one row brought: all tensors are `[E]`.

    Attributes:
        reward: float32, the gain in the score; 0 for a row after which the learner is not refit yet.
        score: float32, the learner's on the test rows.
        invalid: bool, whether the class had no row left; the row was spent and brought nothing.
    """

    reward: Tensor
    score: Tensor
    invalid: Tensor


@dataclass(frozen=True)
class ClassOptions(PoolTaskOptions):
    """The options of class sampling: those of `PoolTaskOptions`, whose pool is what rows are taken from, and these.

    Args:
        budget: rows that are generated in an episode T; None for as many as empty the smallest supply of a batch.
        query_size: rows that are generated before the learner is refit and cross-validated.
        num_folds: of the cross-validation.
        score: the measure on the test rows, one of `almeta.envs.scores`.
        reward_score: the measure whose gain is the reward; None for `score`.
        group: episodes per task; they are neighbours, and share first rows and the order of each class's rows.
        discount: how much the next step's reward counts now, for agents that learn here.
    """

    kind: ClassVar[str] = "classes"

    pool_size: Count | None = 1000
    num_first: Annotated[int, Within(0)] = 2
    budget: Count | None = 50
    query_size: Count = 5
    num_folds: Annotated[int, Within(2)] = 3
    score: ScoreName = "accuracy"
    reward_score: ScoreName | None = None
    group: Count = 1
    discount: Share = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None and self.query_size > self.budget:
            raise AlmetaError(
                f"env.query_size={self.query_size} is more than env.budget={self.budget}, all rows that come; choose a "
                "larger budget or a smaller query"
            )


class ClassSimulation(Simulation):
    """E episodes of class sampling at once, on tensors.

    Args:
        datasets: where tasks come from.
        options: None for the defaults.
        num_envs: episodes run in parallel E.
        generator: draws tasks; everything lies on its device.
        learner: how the classifier is fit; None for logistic regression.
        measures: further scores that `scores` holds.

    Attributes:
        num_classes: C, the number of actions: the most classes that a task may have.
        tasks: the tasks being played.
        scores: the learner's on the test rows now, `[E]` by name.

    Raises:
        AlmetaError: for options that do not fit the data sets, or `num_envs`.
    """

    kind = "classes"

    def __init__(
        self,
        datasets: Sequence[Dataset],
        options: ClassOptions | None = None,
        num_envs: int = 1,
        generator: torch.Generator | None = None,
        learner: Learner | None = None,
        measures: Sequence[ScoreName] = (),
    ) -> None:
        self.options = options = options or ClassOptions()
        super().__init__(num_envs, generator, options.group)
        self.discount = options.discount
        self.sampler = PoolSampler(datasets, options, self.generator.device)
        check_memory(num_envs, self.sampler.bytes_per_task, self.generator.device)
        self.learner, self.num_classes = learner or LogisticRegression(), self.sampler.num_classes
        check_for_classes(datasets, self.learner, "class sampling")
        self._worth = options.reward_score or options.score
        self._measures = dict.fromkeys((options.score, self._worth, *measures))
        self.scores: dict[Any, Tensor]
        self.tasks: PoolTasks

    @property
    def score(self) -> Tensor:
        """The learner's now, `[E]`, by the measure of the options."""
        return self.scores[self.options.score]

    @property
    def identity(self) -> dict[str, Any]:
        """The names of the data sets, a digest of them, and sketches of their rows."""
        return self.sampler.identity

    def reset(self, tasks: PoolTasks | None = None, generators: Sequence[torch.Generator] | None = None) -> ClassState:
        """Begin new episodes and return the first state; there are `num_envs / group` tasks.

        Raises:
            AlmetaError: if a data set has fewer rows to give than the budget.
        """
        number = self.num_envs // self.group
        if tasks is None:
            tasks = self.sampler.draw_by(generators or [self.generator], number)
        elif len(tasks) != number:
            raise ValueError(f"{len(tasks)} tasks are given; here they are {number}")
        self.length, self.time = self._checked_budget(tasks), 0
        self.tasks = tasks = tasks.repeat(self.group)
        classes = torch.arange(self.num_classes, device=tasks.y.device)
        self._is_class = classes < tasks.num_classes[:, None]
        known = members(tasks.y.where(tasks.exists, -1), self.num_classes).sum(1)
        self._shares = known / known.sum(1, keepdim=True)
        comes = tasks.exists.scatter_reduce(1, tasks.first.clamp_min(0), tasks.first < 0, "amin")
        to_come = tasks.y.where(comes, self.num_classes)
        # The rows that come, class after class, each class's in the order of the task, which is random.
        self._order = to_come.argsort(dim=1, stable=True)
        self._left = members(to_come, self.num_classes).sum(1)
        self._next = self._left.cumsum(1) - self._left  # the place in that order of each class's next row
        self._drawn = torch.zeros_like(self._left)
        self._picks = torch.nn.functional.pad(tasks.first, (0, self.length), value=-1)
        self._filled = tasks.first.shape[1]
        self._model: Model | None = None
        self._fold_model: Model | None = None
        self._held_out = tasks.x.new_zeros(self.num_envs, 0, self.num_classes)
        self.scores = self._refit()
        self._held_out_before = self._held_out[:, :0]
        return self.state()

    def _checked_budget(self, tasks: PoolTasks) -> int:
        most, budget = tasks.max_budget, self.options.budget
        if max(1, budget or 0) <= most:
            return budget or most
        left = tasks.exists.sum(1) - (tasks.first >= 0).sum(1)
        has = f"data set '{tasks.names[int(left.argmin())]}' has {most} rows to give beside first and test rows"
        if most < 1:
            raise AlmetaError(f"{has}: there is none to ask for; choose a larger env.pool_size or fewer first rows")
        raise AlmetaError(f"env.budget={budget}, but {has}; choose {most} or less, or null for all")

    def state(self) -> ClassState:
        """Return what may be known now."""
        query = self.options.query_size
        begun = self.time - self.time % query
        return ClassState(
            available=self._left > 0,
            num_classes=self.tasks.num_classes,
            shares=self._shares,
            labels=self._labels,
            held_out=self._held_out,
            held_out_before=self._held_out_before,
            drawn=self._drawn,
            picks=self._picks[:, : self._filled],
            budget=self.length,
            spent=self.time,
            query_size=max(1, min(query, self.length - begun)),
        )

    def step(self, classes: Tensor) -> ClassOutcome:
        """Generate a row of a class `[E]` int64 in each episode."""
        if self.finished:
            raise RuntimeError("the episodes have ended; call reset() before the next step()")
        asked = classes[:, None]
        valid = self._left.gather(1, asked) > 0
        place = self._next.gather(1, asked).clamp_max(self._order.shape[1] - 1)
        self._picks[:, self._filled] = self._order.gather(1, place).where(valid, -1).squeeze(1)
        taken = torch.zeros_like(self._left).scatter_(1, asked, valid.long())
        self._next, self._left, self._drawn = self._next + taken, self._left - taken, self._drawn + taken
        self._filled += 1
        self.time += 1
        before = self.scores
        if self.time % self.options.query_size == 0 or self.finished:
            heard = self._drawn.any(1)
            # A refit to the same rows, with other random numbers or further than before, is no gain.
            self.scores = {name: now.where(heard, before[name]) for name, now in self._refit().items()}
            self._drawn = torch.zeros_like(self._drawn)
        return ClassOutcome(self.scores[self._worth] - before[self._worth], self.score, ~valid.squeeze(1))

    def _refit(self) -> dict[ScoreName | MeasureName, Tensor]:
        """Fit the learner to all rows, and cross-validate it on them; return its scores on the test rows."""
        tasks, rows = self.tasks, self._picks[:, : self._filled]
        x, weight = rows_of(tasks.x, rows), (rows >= 0).float()
        y = tasks.y.gather(1, rows.clamp_min(0))
        self._model = self.learner.fit(x, y, weight, self.num_classes, start=self._model, generator=self.generator)
        self._labels = y.where(rows >= 0, -1)
        self._held_out_before, self._held_out = self._held_out, self._cross_validate(x, y, weight)
        tested = self._probabilities(self._model, tasks.test_x, self._is_class)
        return {name: SCORES[name](tested, tasks.test_y, tasks.test_exists) for name in self._measures}

    def _cross_validate(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Return the probabilities `[E, L, C]` of each row by a learner that is fit to the other folds."""
        folds = self.options.num_folds
        fold = folds_of(self._labels, self.num_classes, folds)
        kept = fold[:, None] != torch.arange(folds, device=x.device)[:, None]  # [E, K, L]
        all_x, all_y, is_class = (part.repeat_interleave(folds, 0) for part in (x, y, self._is_class))
        weights = (weight[:, None] * kept).flatten(0, 1)
        self._fold_model = self.learner.fit(
            all_x, all_y, weights, self.num_classes, start=self._fold_model, generator=self.generator
        )
        found = self._probabilities(self._fold_model, all_x, is_class).unflatten(0, (-1, folds))  # [E, K, L, C]
        return found.gather(1, fold[:, None, :, None].expand(-1, 1, -1, self.num_classes)).squeeze(1)

    def _probabilities(self, model: Model, x: Tensor, is_class: Tensor) -> Tensor:
        """Return `[B, M, C]` probabilities of rows `[B, M, D]`, 0 for classes that pad, `is_class` `[B, C]` False.

        Without any label the learner thinks all C classes likely, also those that pad.
        """
        return torch.nn.functional.normalize(model.probabilities(x) * is_class[:, None], p=1, dim=-1)

    def scalars(self, rollout: Any) -> dict[str, Tensor]:
        """Return the mean return and the mean of the learning curves."""
        scores = torch.stack([outcome.score for outcome in rollout.outcomes])
        return {"mean_return": rollout.rewards.sum(0).mean(), "aulc": scores.mean()}


class ClassSamplingVectorEnv(BatchEnv):
    """E episodes of class sampling at once: `gym.make_vec("almeta:almeta/ClassSampling-v0", num_envs=64)`.

    An action is the class of which the next row is generated. After each `query_size` rows the learner is refit, and
    the reward is the gain in its score on test rows; for the rows between it is 0. A class without rows left spends the
    row and gains 0. An observation has `candidates` `[E, C, F]` float32, numbers about each class (`inputs` names
    them), `pool` `[E, G]` float32, numbers about each episode, and `action_mask` `[E, C]` int8, 1 for classes that have
    rows left: nothing of test rows, or of rows that have not come. C is the most classes of the data sets; classes that
    pad have zeros and cannot be asked for. Nothing is truncated: all episodes terminate together after T rows.

    `info["action_mask"]` is the mask again. For evaluation, and not for the policy, `info` has `score` (float32) and
    `labels` (int64, how many rows the learner is fit to), and after a step also `invalid_action` (bool), all `[E]`.

    A frame shows the first two principal components of the rows that have come with their classes, and the learning
    curve beside it.

    Args:
        num_envs: episodes run in parallel E.
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        learner: how the classifier is fit: a name of `conf/learner`, a mapping with `name` and options, a learner, or a
            classifier or pipeline of scikit-learn; None for logistic regression.
        inputs: what is observed: "classes", or a set of inputs derived from `ClassInputs`; None for `ClassInputs`.
        render_mode: "rgb_array" lets `render` draw; None does not.
        autoreset_mode: "disabled", "next_step" or "same_step", see `BatchEnv`.
        **options: those of `ClassOptions`, such as `budget`, `query_size`, `score`.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    meaning = "the class of the next row"

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str | Dataset | Sequence[str | Dataset] = "digits",
        learner: str | Mapping[str, Any] | Learner | None = None,
        inputs: str | Mapping[str, Any] | ClassInputs | None = None,
        render_mode: RenderMode | None = None,
        autoreset_mode: Autoreset = "disabled",
        **options: Any,
    ) -> None:
        check_options(ClassSamplingVectorEnv, ClassOptions, options)
        self.inputs: ClassInputs = choose(inputs or "classes", "inputs", ClassInputs)
        made = make_learner(learner or "logistic_regression")
        simulation = ClassSimulation(load_datasets(dataset), ClassOptions(**options), num_envs, learner=made)
        classes = simulation.num_classes
        space = observed_space(classes, self.inputs)
        super().__init__(simulation, num_envs, space, gym.spaces.Discrete(classes), render_mode, autoreset_mode)

    def _begin(self, tasks: Any = None) -> tuple[Any, Info]:
        begun = super()._begin(tasks)
        self._first_score = self.simulation.score
        return begun

    def _observe(self) -> tuple[dict[str, np.ndarray], Info]:
        state = self.simulation.state()
        observation = observed(state, self.inputs)
        mask = observation["action_mask"]
        score, labels = self.simulation.score.numpy().copy(), (state.labels >= 0).sum(1).numpy()
        return observation, {"action_mask": mask.copy(), "score": score, "labels": labels}

    def _judge(self, outcome: ClassOutcome) -> Info:
        return {"invalid_action": outcome.invalid.numpy()}

    def _draw(self, e: int) -> np.ndarray:
        simulation, tasks = self.simulation, self.simulation.tasks
        had = simulation.state().picks[e]
        last = len(had[had >= 0]) - 1 if self._history and had[-1] >= 0 else None
        scores = [self._first_score, *(outcome.score for _, outcome in self._history)]
        return draw_pool(
            tasks.x[e, had[had >= 0]].numpy(),
            tasks.y[e, had[had >= 0]].numpy(),
            last,
            [float(score[e]) for score in scores],
            simulation.length,
            f"{tasks.names[e]}: {simulation.time} of {simulation.length} rows",
            simulation.options.score,
        )


class ClassSamplingEnv(SingleEnv):
    """One episode of class sampling: `gym.make("almeta:almeta/ClassSampling-v0", dataset="digits")`.

    A thin view of `ClassSamplingVectorEnv` with one episode; everything is explained there. The leading axis is
    missing; rewards, `terminated`, `truncated` and most of `info` are Python values.

    Args:
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        **options: the others of `ClassSamplingVectorEnv`.
    """

    def __init__(self, dataset: str | Dataset | Sequence[str | Dataset] = "digits", **options: Any) -> None:
        super().__init__(ClassSamplingVectorEnv, dataset, options)

    def action_masks(self) -> np.ndarray:
        """Return which classes may be asked for, `[C]` bool; sb3-contrib's agents call this."""
        return self.batch.simulation.state().available[0].numpy().copy()
