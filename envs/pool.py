"""Pool selection: which row of a pool should be labelled next?

The reward is the gain in the learner's score on test rows, or -1 for each query up to a goal.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from almeta.build import choose
from almeta.checks import Count, Positive, Share
from almeta.data import load_dataset
from almeta.data.catalogue import is_shipped
from almeta.data.dataset import Dataset
from almeta.envs.batch import Autoreset, BatchEnv, Info, RenderMode, SingleEnv, check_dataset, check_options
from almeta.envs.measures import MEASURES, OF_QUERIES, MeasureName, Standing
from almeta.envs.render import draw_pool
from almeta.envs.scores import NUMBER_SCORES, SCORES, NumberScoreName, Score, ScoreName
from almeta.envs.simulation import Simulation, check_memory
from almeta.errors import AlmetaError
from almeta.inputs import PoolInputs
from almeta.inputs.inputs import CandidateInputs
from almeta.learners import Learner, LogisticRegression, make_learner
from almeta.learners.learner import EXAMPLES, target_of
from almeta.oracles import Answers, Oracle
from almeta.pool import Pool, PoolState, has_label
from almeta.tasks import PoolSampler, PoolTaskOptions, PoolTasks

# Observed numbers are clamped to -LIMIT .. LIMIT. Of `Candidates` only prices can be beyond.
LIMIT = 1000.0

_ALL_SCORES: dict[str, Score] = dict([*SCORES.items(), *NUMBER_SCORES.items()])


@dataclass(frozen=True)
class PoolOutcome:
    """What one pick brought: all tensors are `[E]`.

    Attributes:
        reward: float32, the gain in the score, or what `reward_target` says, less the price.
        score: float32, the learner's on the test rows.
        price: float32, what was paid.
        declined: bool, whether the oracle gave no label.
        invalid: bool, whether the row could not be picked; the pick was spent and brought nothing.
        ended: bool, whether later picks are worth nothing: this was the last one or, where there is a `reward_target`,
            that was reached; an episode that does not reach it is cut.
    """

    reward: Tensor
    score: Tensor
    price: Tensor
    declined: Tensor
    invalid: Tensor
    ended: Tensor


@dataclass(frozen=True)
class PoolOptions(PoolTaskOptions):
    """The options of pool selection: those of `PoolTaskOptions`, and the following.

    Args:
        budget: picks in an episode T; None for as many as empty the smallest pool of a batch.
        query_size: picks of a query: they are made one after the other and answered together, then the learner is
            refit.
        score: the measure on the test rows, one of `almeta.envs.scores`; "neg_rmse" and "r2" are for targets that are
            numbers, the others for classes.
        reward_score: the measure whose gain is the reward; None for `score`. "true_probability" does not move in
            steps, but raising it is not the same as raising accuracy.
        reward_target: the reward is -1 for each pick, in place of the gain, until the learner has reached this share of
            what it scores with all labels of the pool, by the measure of the reward; after that it is 0. None for the
            gain. The first pick counts in any case.
        attack_size: the largest change of a feature of a test row in the measures "fgsm_accuracy" and "pgd_accuracy",
            in units of the features as they are scaled.
        group: episodes per task; they are neighbours, and share its first labels and its oracle's answers.
        discount: how much the next step's reward counts now, for agents that learn here.
    """

    kind: ClassVar[str] = "pool"

    budget: Count | None = 20
    query_size: Count = 1
    score: ScoreName | NumberScoreName = "accuracy"
    reward_score: ScoreName | NumberScoreName | None = None
    reward_target: Share | None = None
    attack_size: Positive = 0.1
    group: Count = 1
    discount: Share = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None and self.query_size > self.budget:
            raise AlmetaError(
                f"env.query_size={self.query_size} is more than env.budget={self.budget}, all that may be asked for; "
                "choose a larger budget or a smaller query"
            )
        if self.reward_target is not None and self.reward_measure.startswith("neg_"):
            raise AlmetaError(
                f"env.reward_target is a share of a score, and {self.reward_measure} is below 0; choose another "
                "env.reward_score"
            )

    @property
    def reward_measure(self) -> ScoreName | NumberScoreName:
        """The measure that the reward is made of."""
        return self.reward_score or self.score


class PoolSimulation(Simulation):
    """E pools at once, on tensors: a `Pool`, an oracle, a score and a price.

    Args:
        datasets: where tasks come from.
        options: None for the defaults.
        num_envs: episodes run in parallel E.
        generator: draws tasks and the oracle's answers; everything lies on its device.
        learner: how the classifier is fit; None for logistic regression.
        oracle: answers queries; None for one that is always right and free.
        measures: further measures that `scores` holds, of `almeta.envs.scores` and `almeta.envs.measures`.
        judge: how the classifier that is scored is fit to the labels of each pool; None for `learner`, by which rows
            are chosen (Lowell, Lipton & Wallace, EMNLP 2019, fit another one to them).

    Attributes:
        pool: what may be known, without test rows and hidden labels.
        tasks: the tasks being played; where A annotators may be asked, each row of a pool stands A times.
        answers: what the oracle would answer for each row; with several annotators, to each question.
        judged: the pool as the judge knows it: the same rows and labels; `pool` itself without a judge.
        scores: the judge's on the test rows now, and further measures, `[E]` by name.

    Raises:
        AlmetaError: for options that do not fit the data sets, or `num_envs`.
    """

    kind = "pool"

    def __init__(
        self,
        datasets: Sequence[Dataset],
        options: PoolOptions | None = None,
        num_envs: int = 1,
        generator: torch.Generator | None = None,
        learner: Learner | None = None,
        oracle: Oracle | None = None,
        measures: Sequence[ScoreName | NumberScoreName | MeasureName] = (),
        judge: Learner | None = None,
    ) -> None:
        self.options = options = options or PoolOptions()
        super().__init__(num_envs, generator, options.group)
        self.discount = options.discount
        self.sampler = PoolSampler(datasets, options, self.generator.device)
        self.learner, self.oracle = learner or LogisticRegression(), oracle or Oracle()
        each = self.sampler.bytes_per_task * self.oracle.num_annotators
        check_memory(num_envs, each, self.generator.device)
        self.judge = judge or self.learner
        self._worth = options.reward_measure
        self._measures = dict.fromkeys((options.score, self._worth, *measures))
        check_oracle(self.oracle, options.query_size, measures)
        self._check_targets()
        self.scores: dict[Any, Tensor]
        self.tasks: PoolTasks
        self.pool: Pool
        self.judged: Pool
        self.answers: Answers

    def _check_targets(self) -> None:
        """Raise AlmetaError unless learners and measures are for what is to be predicted."""
        target = self.sampler.target
        others = NUMBER_SCORES if target == "classes" else SCORES
        wrong = [f"{name} scores" for name in self._measures if name in others]
        wrong += [f"{type(one).__name__} learns" for one in (self.learner, self.judge) if target_of(one) != target]
        if wrong:
            name = self.sampler.names[0] if self.sampler.names else "synthetic"
            other = "numbers" if target == "classes" else "classes"
            score = "accuracy" if target == "classes" else "neg_rmse"
            raise AlmetaError(
                f"data set {name!r} has {target} as targets; {wrong[0]} {other}: choose learner={EXAMPLES[target]} "
                f"and scores such as env.score={score}, or others for {target}"
            )

    @property
    def score(self) -> Tensor:
        """The learner's now, `[E]`, by the measure of the options."""
        return self.scores[self.options.score]

    @property
    def identity(self) -> dict[str, Any]:
        """The names of the data sets, a digest of them, and sketches of their rows."""
        return self.sampler.identity

    def reset(self, tasks: PoolTasks | None = None, generators: Sequence[torch.Generator] | None = None) -> PoolState:
        """Begin new episodes and return the first state; there are `num_envs / group` tasks.

        The generators also draw the oracle's answers; a learner with chance in it draws from `generator` in any case.

        Raises:
            AlmetaError: if a pool is smaller than the budget.
        """
        generators = generators or [self.generator]
        number = self.num_envs // self.group
        each = number // len(generators)
        if tasks is None:
            tasks = self.sampler.draw_by(generators, number)
        elif len(tasks) != number:
            raise ValueError(f"{len(tasks)} tasks are given; here they are {number}")
        parts = [part.split(each) for part in (tasks.x, tasks.y, tasks.exists, tasks.num_classes)]
        drawn = [self.oracle.answer(*part) for part in zip(*parts, generators, strict=True)]
        answers = (torch.cat(part).repeat_interleave(self.group, 0) for part in zip(*drawn, strict=True))
        self.answers, self._tired = Answers(*answers), 0.0
        self._target = self._reward_target(tasks)
        self.tasks = tasks = tasks.asked_of(self.oracle.num_annotators).repeat(self.group)
        self.length, self.time = self._checked_budget(tasks), 0
        self._ended = torch.zeros(self.num_envs, dtype=torch.bool, device=tasks.y.device)
        first = tasks.y.gather(1, tasks.first.clamp_min(0))  # what is known at the start is known for sure
        known = (tasks.x, tasks.exists, tasks.first, first, tasks.num_classes)
        given: dict[str, Any] = {"prices": self.answers.prices, "budget": self.length}
        given |= {"query_size": self.options.query_size, "annotators": self.oracle.num_annotators}
        self.pool = self.judged = Pool(*known, self.learner, generator=self.generator, **given)
        if self.judge is not self.learner:
            self.judged = Pool(*known, self.judge, generator=self.generator, **given)
        self.scores = self._scores()
        return self.state()

    def _reward_target(self, tasks: PoolTasks) -> Tensor | None:
        """Return the score to be reached `[E]`, for which the learner is fit to all labels; None without one."""
        if self.options.reward_target is None:
            return None
        rows = torch.arange(tasks.y.shape[1], device=tasks.y.device).where(tasks.exists, -1)
        full = Pool(tasks.x, tasks.exists, rows, tasks.y, tasks.num_classes, self.judge, generator=self.generator)
        score = _ALL_SCORES[self._worth](full.outputs(tasks.test_x), tasks.test_y, tasks.test_exists)
        return self.options.reward_target * score.repeat_interleave(self.group)

    def _checked_budget(self, tasks: PoolTasks) -> int:
        most, budget = tasks.max_budget, self.options.budget
        if max(1, budget or 0) <= most:
            return budget or most
        left = tasks.exists.sum(1) - (tasks.first >= 0).sum(1)
        name, rows = tasks.names[int(left.argmin())], int(tasks.exists.sum(1)[left.argmin()])
        has = f"the pool of data set '{name}' has {rows} rows, {most} of them without a label"
        if most < 1:
            raise AlmetaError(f"{has}: there is nothing to ask; choose a larger pool or fewer first labels")
        raise AlmetaError(f"env.budget={budget}, but {has}; choose {most} or less, or null to label them all")

    def state(self) -> PoolState:
        """Return what may be known now."""
        return self.pool.state()

    def step(self, rows: Tensor) -> PoolOutcome:
        """Pick one row `[E]` int64 in each pool."""
        if self.finished:
            raise RuntimeError("the episodes have ended; call reset() before the next step()")
        valid = self.pool.pick(rows)
        if self.judged is not self.pool:
            self.judged.pick(rows)
        self.time += 1
        before = self.scores
        if self.time % self.options.query_size == 0 or self.finished:
            labels = self._hear(self.pool.pending)
            heard = has_label(labels).any(1)
            self.pool.answer(labels)
            if self.judged is not self.pool:
                self.judged.answer(labels)
            # A refit to the same labels, with other random numbers or further than before, is no gain.
            self.scores = {
                name: now if name in OF_QUERIES else now.where(heard, before[name])
                for name, now in self._scores().items()
            }
        price = self.pool.prices.gather(1, rows[:, None]).squeeze(1).where(valid, 0.0)
        declined = valid & ~has_label(self.answers.labels.gather(1, rows[:, None]).squeeze(1))
        gain, ended = self._gain(before[self._worth])
        return PoolOutcome(gain - price, self.score, price, declined, ~valid, ended)

    def _hear(self, asked: Tensor) -> Tensor:
        """Return the oracle's answers `[E, K]` about the rows of a query, -1 for none; the oracle tires and rests."""
        tired, self._tired = self.oracle.tired(self._tired, asked.shape[1])
        return self.answers.told(asked, tired.to(asked.device))

    def _gain(self, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the pick is worth, and whether later ones are worth nothing, both `[E]`.

        `before` `[E]` is the score before the pick.
        """
        score = self.scores[self._worth]
        if self._target is None:
            return score - before, torch.full_like(self._ended, self.finished)
        worth = torch.where(self._ended, 0.0, -1.0)
        self._ended = self._ended | (score >= self._target)
        return worth, self._ended

    def _scores(self) -> dict[ScoreName | NumberScoreName | MeasureName, Tensor]:
        """Return the measures, each `[E]`: scores on the test rows, and what else is recorded."""
        tasks = self.tasks
        tested = (self.judged.outputs(tasks.test_x), tasks.test_y, tasks.test_exists)
        standing = Standing(tasks, self.answers, self.judged, self.options.attack_size)
        known: dict[Any, Callable[[], Tensor]] = {name: partial(score, *tested) for name, score in _ALL_SCORES.items()}
        known |= {name: partial(measure, standing) for name, measure in MEASURES.items()}
        return {name: known[name]() for name in self._measures}

    def scalars(self, rollout: Any) -> dict[str, Tensor]:
        """Return the mean return and the mean of the learning curves."""
        scores = torch.stack([outcome.score for outcome in rollout.outcomes])
        return {"mean_return": rollout.rewards.sum(0).mean(), "aulc": scores.mean()}


def check_oracle(oracle: Oracle, query_size: int, measures: Sequence[str]) -> None:
    """Raise AlmetaError for an oracle that never tires though it should, and for a share of queries in no region."""
    oracle.check_effect(query_size)
    if "noisy_region" in measures and oracle.region is None:
        raise AlmetaError(
            "noisy_region is the share of queries in oracle.region, and there is none; set oracle.region=dense or "
            "random, where oracle.region_noise=0 (of numbers oracle.region_deviation=0) leaves answers right"
        )


@functools.lru_cache(maxsize=8)
def _load_once(name: str) -> Dataset:
    """Return a data set that almeta ships, loaded once for all environments that show it."""
    return load_dataset(name)


def _load(name: str) -> Dataset:
    """Return a data set; the rows of a user's own may be others the next time."""
    return _load_once(name) if is_shipped(name) else load_dataset(name)


def load_datasets(given: str | Dataset | Sequence[str | Dataset]) -> list[Dataset]:
    """Return data sets of names, data sets, or several of either; what is neither is an AlmetaError."""
    several: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
    for one in several:
        check_dataset(one)
    return [_load(one) if isinstance(one, str) else one for one in several]


def observed(state: Any, inputs: CandidateInputs) -> dict[str, np.ndarray]:
    """Return what the environment shows of a state: see `PoolSelectionVectorEnv`."""
    view = inputs(state)
    numbers = {"candidates": view.candidates, "pool": view.pool}
    observation = {name: value.clamp(-LIMIT, LIMIT).cpu().numpy() for name, value in numbers.items()}
    return observation | {"action_mask": state.action_mask.to(torch.int8).cpu().numpy()}


def observed_space(candidates: int, inputs: CandidateInputs) -> gym.spaces.Dict:
    """Return the space of what `observed` returns, with so many candidates, for one episode."""
    return gym.spaces.Dict(
        {
            "candidates": gym.spaces.Box(-LIMIT, LIMIT, (candidates, len(inputs.candidate_names)), np.float32),
            "pool": gym.spaces.Box(-LIMIT, LIMIT, (len(inputs.pool_names),), np.float32),
            "action_mask": gym.spaces.MultiBinary(candidates),
        }
    )


class PoolSelectionVectorEnv(BatchEnv):
    """E pools at once: `gym.make_vec("almeta:almeta/PoolSelection-v0", num_envs=64)`.

    An action is the index of the pool row to be labelled. The reward is the gain in the learner's score on test rows
    less the query's price. A row that was picked before spends the pick and gains 0. An observation has `candidates`
    `[E, N, F]` float32, numbers about each row (`inputs` names them), `pool` `[E, G]` float32, numbers about each pool,
    and `action_mask` `[E, N]` int8, 1 for rows that may be picked: nothing of test rows or hidden labels. Rows that pad
    a smaller pool have zeros. Numbers are clamped to [-1000, 1000]; of `Candidates` only a price can be beyond, the
    others lie within [-20, 20]. Nothing is truncated: all episodes terminate together when the budget is spent.

    `info["action_mask"]` is the mask again. For evaluation, and not for the policy, `info` has `score` (float32) and
    `labels` (int64, how many labels the learner has), and after a step also `price` (float32), `declined` and
    `invalid_action` (bool), all `[E]`. `declined` is true at once, though the learner is told of it at the end of the
    query (`query_size`).

    A frame shows the first two principal components of the pool with the labels known so far and the last pick, and
    the learning curve beside it.

    Args:
        num_envs: episodes run in parallel E.
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        learner: how the classifier is fit: a name of `conf/learner`, a mapping with `name` and options, a learner, or a
            classifier or pipeline of scikit-learn; None for logistic regression.
        oracle: answers queries: a name of `conf/oracle`, a mapping, or an `Oracle`; None for one that is always right.
        inputs: what is observed: a name of `conf/inputs`, a mapping, or a set of inputs; None for `Candidates`.
        render_mode: "rgb_array" lets `render` draw; None does not.
        autoreset_mode: "disabled", "next_step" or "same_step", see `BatchEnv`.
        **options: those of `PoolOptions`, such as `pool_size`, `budget`, `query_size`, `score`.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    meaning = "the index of a row of the pool"

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str | Dataset | Sequence[str | Dataset] = "digits",
        learner: str | Mapping[str, Any] | Learner | None = None,
        oracle: str | Mapping[str, Any] | Oracle | None = None,
        inputs: str | Mapping[str, Any] | PoolInputs | None = None,
        render_mode: RenderMode | None = None,
        autoreset_mode: Autoreset = "disabled",
        **options: Any,
    ) -> None:
        check_options(PoolSelectionVectorEnv, PoolOptions, options)
        self.inputs: PoolInputs = choose(inputs or "candidates", "inputs", PoolInputs)
        simulation = PoolSimulation(
            load_datasets(dataset),
            PoolOptions(**options),
            num_envs,
            learner=make_learner(learner or "logistic_regression"),
            oracle=choose(oracle or "perfect", "oracle", Oracle),
        )
        rows = simulation.sampler.num_rows * simulation.oracle.num_annotators
        space = observed_space(rows, self.inputs)
        super().__init__(simulation, num_envs, space, gym.spaces.Discrete(rows), render_mode, autoreset_mode)

    def _begin(self, tasks: Any = None) -> tuple[Any, Info]:
        begun = super()._begin(tasks)
        self._first_score = self.simulation.score
        return begun

    def _observe(self) -> tuple[dict[str, np.ndarray], Info]:
        state = self.simulation.state()
        observation = observed(state, self.inputs)
        mask = observation["action_mask"]
        score, labels = self.simulation.score.numpy().copy(), state.is_labelled.sum(1).numpy()
        return observation, {"action_mask": mask.copy(), "score": score, "labels": labels}

    def _judge(self, outcome: PoolOutcome) -> Info:
        return {
            "price": outcome.price.numpy(),
            "declined": outcome.declined.numpy(),
            "invalid_action": outcome.invalid.numpy(),
        }

    def _draw(self, e: int) -> np.ndarray:
        simulation, state = self.simulation, self.simulation.state()
        scores = [self._first_score, *(outcome.score for _, outcome in self._history)]
        exists = state.exists[e]
        return draw_pool(
            state.x[e, exists].numpy(),
            state.labels[e, exists].numpy(),
            int(self._history[-1][0][e]) if self._history else None,
            [float(score[e]) for score in scores],
            simulation.length,
            f"{simulation.tasks.names[e]}: {simulation.time} of {simulation.length} labels",
            simulation.options.score,
        )


class PoolSelectionEnv(SingleEnv):
    """One pool: `gym.make("almeta:almeta/PoolSelection-v0", dataset="digits")`.

    A thin view of `PoolSelectionVectorEnv` with one episode; everything is explained there. The leading axis is
    missing; rewards, `terminated`, `truncated` and most of `info` are Python values.

    Args:
        dataset: a name for `load_dataset`, a data set, or several of either, from which tasks are drawn.
        **options: the others of `PoolSelectionVectorEnv`.
    """

    def __init__(self, dataset: str | Dataset | Sequence[str | Dataset] = "digits", **options: Any) -> None:
        super().__init__(PoolSelectionVectorEnv, dataset, options)

    def action_masks(self) -> np.ndarray:
        """Return which rows may be picked, `[N]` bool; sb3-contrib's agents call this."""
        return self.batch.simulation.state().action_mask[0].numpy().copy()
