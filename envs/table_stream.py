"""A stream of a table's rows: let the learner's prediction stand, or ask for the label?

The setting is that of Zliobaite, Bifet, Pfahringer & Holmes, "Active Learning With Drifting Streaming Data", IEEE
Transactions on Neural Networks and Learning Systems 25(1), 2014; the rewards are those of the one-shot stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Share
from almeta.data.dataset import Dataset
from almeta.envs.batch import Autoreset, BatchEnv, Info, RenderMode, SingleEnv, check_for_classes, check_options
from almeta.envs.pool import load_datasets
from almeta.envs.render import draw_pool
from almeta.envs.scores import SCORES, ScoreName
from almeta.envs.simulation import Simulation, check_memory
from almeta.envs.stream import StreamOutcome, StreamRewards
from almeta.errors import AlmetaError
from almeta.geometry import rows_of
from almeta.learners import Learner, LogisticRegression, make_learner
from almeta.stream import TableStreamState
from almeta.tasks import PoolSampler, PoolTaskOptions, PoolTasks

ASK = 1
# The numbers that are observed, in this order; all lie in [0, 1].
NUMBERS = (
    "first_probability",
    "second_probability",
    "third_probability",
    "margin",
    "entropy",
    "spent",
    "progress",
    "class_share",
    "class_rarity",
)


@dataclass(frozen=True)
class TableStreamOutcome(StreamOutcome):
    """What one step brought: all tensors are `[E]`.

    Attributes:
        score: float32, the learner's on the test rows.
    """

    score: Tensor


@dataclass(frozen=True)
class TableStreamOptions(PoolTaskOptions):
    """The options of a stream of rows: those of `PoolTaskOptions`, whose pool is the stream, and the following.

    Args:
        length: rows that come T; None for as many as the smallest pool of a batch has beside its first labels.
        budget: share of the rows whose label may be asked for, rounded to whole rows; None for no limit.
        reward: `request`, `correct`, `incorrect`; the defaults of `StreamRewards` where left out.
        score: the measure on the test rows, one of `almeta.envs.scores`; for evaluation alone.
        group: episodes per task; they are neighbours and see the same stream.
        discount: how much the next step's reward counts now, for agents that learn here.
    """

    kind: ClassVar[str] = "table_stream"

    length: Count | None = None
    budget: Share | None = 0.2
    reward: dict[str, Any] | None = None
    score: ScoreName = "accuracy"
    group: Count = 1
    discount: Share = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rewards.drawn:
            raise AlmetaError(f"env.reward.incorrect={self.rewards.incorrect} is a range; on rows it is one number")

    @property
    def rewards(self) -> StreamRewards:
        """The rewards of a request, of a correct and of an incorrect prediction."""
        return StreamRewards.read(self.reward)


class TableStreamSimulation(Simulation):
    """E streams of rows at once, on tensors.

    Args:
        datasets: where tasks come from.
        options: None for the defaults.
        num_envs: episodes run in parallel E.
        generator: draws tasks; everything lies on its device.
        learner: how the classifier is fit; None for logistic regression.

    Attributes:
        tasks: the tasks being played.
        order: `[E, T]` int64, the pool rows in the order in which they come.
        max_requests: labels that may be asked for in an episode.
        score: `[E]`, the learner's on the test rows now.

    Raises:
        AlmetaError: for options that do not fit the data sets, or `num_envs`.
    """

    kind = "table_stream"

    def __init__(
        self,
        datasets: Sequence[Dataset],
        options: TableStreamOptions | None = None,
        num_envs: int = 1,
        generator: torch.Generator | None = None,
        learner: Learner | None = None,
    ) -> None:
        self.options = options = options or TableStreamOptions()
        super().__init__(num_envs, generator, options.group)
        self.learner = learner or LogisticRegression()
        check_for_classes(datasets, self.learner, "a stream")
        self.discount, self.rewards = options.discount, options.rewards
        self.sampler = PoolSampler(datasets, options, self.generator.device)
        check_memory(num_envs, self.sampler.bytes_per_task, self.generator.device)
        self.tasks: PoolTasks

    @property
    def identity(self) -> dict[str, Any]:
        """The names of the data sets, a digest of them, and sketches of their rows."""
        return self.sampler.identity

    def reset(
        self, tasks: PoolTasks | None = None, generators: Sequence[torch.Generator] | None = None
    ) -> TableStreamState:
        """Begin new episodes and return the first state; there are `num_envs / group` tasks.

        Raises:
            AlmetaError: if a pool has fewer rows to come than the stream's length.
        """
        number = self.num_envs // self.group
        if tasks is None:
            tasks = self.sampler.draw_by(generators or [self.generator], number)
        elif len(tasks) != number:
            raise ValueError(f"{len(tasks)} tasks are given; here they are {number}")
        self.length, self.time = self._checked_length(tasks), 0
        budget = self.options.budget
        self.max_requests = self.length if budget is None else round(budget * self.length)
        self.tasks = tasks = tasks.repeat(self.group)
        comes = tasks.exists.scatter_reduce(1, tasks.first.clamp_min(0), tasks.first < 0, "amin").byte()
        self.order = comes.argsort(dim=1, descending=True, stable=True)[:, : self.length]
        # The rows with a label, each episode's side by side; -1 pads.
        first = tasks.first.sort(1, descending=True).values
        self._known = torch.nn.functional.pad(first, (0, self.max_requests), value=-1)
        self._firsts = (first >= 0).sum(1)
        self._requests = torch.zeros_like(self._firsts)
        self._labels = _count_labels(tasks.y, first, tasks.max_classes)
        self._probabilities = tasks.x.new_zeros(*tasks.y.shape, tasks.max_classes)
        self.score = tasks.x.new_zeros(self.num_envs)
        self._model: Any = None
        self._fitted = torch.ones_like(self._requests, dtype=torch.bool)
        self._refit(self._fitted)
        return self.state()

    def _checked_length(self, tasks: PoolTasks) -> int:
        most, length = tasks.max_budget, self.options.length
        if max(1, length or 0) <= most:
            return length or most
        smallest = tasks.names[int((tasks.exists.sum(1) - (tasks.first >= 0).sum(1)).argmin())]
        has = f"the pool of data set '{smallest}' has {most} rows without a first label"
        if most < 1:
            raise AlmetaError(f"{has}: there is none to come; choose a larger pool or fewer first labels")
        raise AlmetaError(f"env.length={length}, but {has}; choose {most} or less, or null for all that come")

    def state(self) -> TableStreamState:
        """Return what may be known now; after the last step the last row stays."""
        row = self.order[:, min(self.time, self.length - 1)]
        each = torch.arange(self.num_envs, device=row.device)
        return TableStreamState(
            item=self.tasks.x[each, row],
            probabilities=self._probabilities[each, row],
            num_classes=self.tasks.num_classes,
            labels=self._labels,
            requests=self._requests,
            max_requests=self.max_requests,
            time=self.time,
            length=self.length,
        )

    def step(self, action: Tensor) -> TableStreamOutcome:
        """Let the prediction stand, or ask for the label: `action` `[E]` int64 is 0 or 1."""
        if self.finished:
            raise RuntimeError("the streams have ended; call reset() before the next step()")
        state, rewards, row = self.state(), self.rewards, self.order[:, self.time : self.time + 1]
        label = self.tasks.y.gather(1, row)
        asked, correct = action == ASK, state.probabilities.max(-1).indices == label.squeeze(1)
        requested = asked & state.action_mask[:, ASK]
        told = torch.where(correct, rewards.correct, rewards.bounds[0])
        reward = torch.where(asked, rewards.request, told).float()  # they may all be whole numbers
        self.time += 1
        if requested.any():
            place = (self._firsts + self._requests)[:, None].clamp_max(self._known.shape[1] - 1)
            self._known = self._known.scatter(1, place, row.where(requested[:, None], self._known.gather(1, place)))
            self._requests = self._requests + requested
            self._labels = self._labels.scatter_add(1, label, requested.long()[:, None])
            self._refit(requested)
        return TableStreamOutcome(reward, correct & ~asked, requested, asked & ~requested, self.score)

    def _refit(self, which: Tensor) -> None:
        """Fit the learner of the episodes `which` `[E]` bool to their labels; the others stay as they are.

        It starts from the last fit if that was of the same episodes, as always where there is but one.
        """
        tasks, start = self.tasks, self._model if torch.equal(which, self._fitted) else None
        known = self._known[which, : int((self._firsts + self._requests)[which].max())]
        x = tasks.x[which]
        told, weight = tasks.y[which].gather(1, known.clamp_min(0)), (known >= 0).float()
        labelled = rows_of(x, known)
        model = self.learner.fit(labelled, told, weight, tasks.max_classes, start=start, generator=self.generator)
        # Without any label the learner thinks all C classes likely, also those that pad.
        is_class = torch.arange(tasks.max_classes, device=x.device) < tasks.num_classes[which, None, None]
        self._probabilities[which], tested = (
            torch.nn.functional.normalize(model.probabilities(part) * is_class, p=1, dim=-1)
            for part in (x, tasks.test_x[which])
        )
        score = SCORES[self.options.score](tested, tasks.test_y[which], tasks.test_exists[which])
        self.score = self.score.masked_scatter(which, score)
        self._model, self._fitted = model, which.clone()

    def known(self, e: int) -> Tensor:
        """Return the rows of episode `e` whose label is known, `[L]` int64."""
        return self._known[e][self._known[e] >= 0]

    def scalars(self, rollout: Any) -> dict[str, Tensor]:
        """Return mean return, accuracy of the predictions that stood, request rate, and the score at the end."""
        asked = torch.stack([outcome.requested for outcome in rollout.outcomes])
        correct = torch.stack([outcome.correct for outcome in rollout.outcomes])
        return {
            "mean_return": rollout.rewards.sum(0).mean(),
            "accuracy": correct.sum() / (~asked).sum().clamp_min(1),
            "request_rate": asked.float().mean(),
            "score": rollout.outcomes[-1].score.mean(),
        }


def _count_labels(y: Tensor, rows: Tensor, num_classes: int) -> Tensor:
    """Return how many of the rows `[E, L]`, where -1 is none, have each class, `[E, C]` int64."""
    zeros = torch.zeros(len(y), num_classes, dtype=torch.int64, device=y.device)
    return zeros.scatter_add_(1, y.gather(1, rows.clamp_min(0)), (rows >= 0).long())


def row_numbers(state: TableStreamState) -> Tensor:
    """Return what is observed of a state: `[E, F]` float32 in [0, 1], the numbers that `NUMBERS` names.

    The three highest probabilities of the row, of classes that pad 0; the difference of the first two; the entropy, in
    units of that of equal probabilities; the shares of the budget that is spent and of the stream that is over; and of
    the predicted class, its share of the labels known so far, and 1 / (1 + its labels).
    """
    p = state.probabilities
    ordered = torch.nn.functional.pad(p, (0, max(0, 3 - p.shape[1]))).topk(3, -1).values
    entropy = -torch.xlogy(p, p).sum(-1) / state.num_classes.clamp_min(2).log()
    of_class = state.labels.gather(1, p.max(-1).indices[:, None]).squeeze(1)
    numbers = (
        *ordered.unbind(-1),
        ordered[:, 0] - ordered[:, 1],
        entropy,
        state.requests / max(1, state.max_requests),
        torch.full_like(entropy, state.time / state.length),
        of_class / state.labels.sum(1).clamp_min(1),
        1 / (1 + of_class),
    )
    return torch.stack(numbers, -1).clamp(0, 1)


class TableStreamVectorEnv(BatchEnv):
    """E streams of rows at once: `gym.make_vec("almeta:almeta/TableStream-v0", num_envs=64)`.

    Rows come one by one. Action 0 lets the learner's prediction stand: the reward is R_cor if it is right, else R_inc.
    Action 1 asks for the label: the reward is R_req, and the learner is refit. An observation is `[E, F]` float32 in
    [0, 1]: the numbers of `row_numbers`, named in `NUMBERS`, so many for every data set; after the last step they are
    of the last row again. Nothing is truncated: all episodes terminate together after T rows.

    `info["action_mask"]` `[E, 2]` int8 says whether the budget still allows to ask. A request that is not allowed
    brings a request's reward and reveals nothing. For evaluation, and not for the policy, `info` has `score` (float32,
    the learner's on test rows) and `labels` (int64, how many it has), and after a step `correct` (the prediction stood
    and was right), `requested` and `invalid_action` (bool), all `[E]`.

    A frame shows the first two principal components of the rows with the labels known so far and the row that has come,
    and the score after each label beside it.

    Args:
        num_envs: episodes run in parallel E.
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        learner: how the classifier is fit: a name of `conf/learner`, a mapping with `name` and options, a learner, or a
            classifier or pipeline of scikit-learn; None for logistic regression.
        render_mode: "rgb_array" lets `render` draw; None does not.
        autoreset_mode: "disabled", "next_step" or "same_step", see `BatchEnv`.
        **options: those of `TableStreamOptions`, such as `pool_size`, `budget`, `reward`, `score`.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    meaning = "0 lets the prediction stand, 1 asks for the label"

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str | Dataset | Sequence[str | Dataset] = "digits",
        learner: str | Mapping[str, Any] | Learner | None = None,
        render_mode: RenderMode | None = None,
        autoreset_mode: Autoreset = "disabled",
        **options: Any,
    ) -> None:
        check_options(TableStreamVectorEnv, TableStreamOptions, options)
        made = make_learner(learner or "logistic_regression")
        simulation = TableStreamSimulation(
            load_datasets(dataset), TableStreamOptions(**options), num_envs, learner=made
        )
        observed = gym.spaces.Box(0.0, 1.0, (len(NUMBERS),), np.float32)
        super().__init__(simulation, num_envs, observed, gym.spaces.Discrete(2), render_mode, autoreset_mode)

    def _begin(self, tasks: Any = None) -> tuple[Any, Info]:
        begun = super()._begin(tasks)
        self._first_score = self.simulation.score
        return begun

    def _observe(self) -> tuple[np.ndarray, Info]:
        state = self.simulation.state()
        mask, labels = state.action_mask.to(torch.int8).numpy(), state.labels.sum(1).numpy()
        info = {"action_mask": mask, "score": self.simulation.score.numpy().copy(), "labels": labels}
        return row_numbers(state).numpy(), info

    def _judge(self, outcome: TableStreamOutcome) -> Info:
        return {
            "correct": outcome.correct.numpy(),
            "requested": outcome.requested.numpy(),
            "invalid_action": outcome.invalid.numpy(),
        }

    def _draw(self, e: int) -> np.ndarray:
        simulation, tasks = self.simulation, self.simulation.tasks
        exists, known = tasks.exists[e], simulation.known(e)
        labels = torch.full_like(tasks.y[e], -1)
        labels[known] = tasks.y[e, known]
        told = [float(outcome.score[e]) for _, outcome in self._history if outcome.requested[e]]
        return draw_pool(
            tasks.x[e, exists].numpy(),
            labels[exists].numpy(),
            int(simulation.order[e, min(simulation.time, simulation.length - 1)]),
            [float(self._first_score[e]), *told],
            simulation.max_requests,
            f"{tasks.names[e]}: {simulation.time} of {simulation.length} rows",
            simulation.options.score,
        )


class TableStreamEnv(SingleEnv):
    """One stream of rows: `gym.make("almeta:almeta/TableStream-v0", dataset="digits")`.

    A thin view of `TableStreamVectorEnv` with one episode; everything is explained there. The leading axis is missing;
    rewards, `terminated`, `truncated` and most of `info` are Python values.

    Args:
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        **options: the others of `TableStreamVectorEnv`.
    """

    def __init__(self, dataset: str | Dataset | Sequence[str | Dataset] = "digits", **options: Any) -> None:
        super().__init__(TableStreamVectorEnv, dataset, options)

    def action_masks(self) -> np.ndarray:
        """Return which actions are allowed, `[2]` bool; sb3-contrib's agents call this."""
        return self.batch.simulation.state().action_mask[0].numpy().copy()
