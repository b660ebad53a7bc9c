"""What is recorded of pools beside the learner's scores, for E episodes at once."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from almeta.oracles import Answers
from almeta.pool import Pool
from almeta.tasks import PoolTasks

MeasureName = Literal["asked_again", "money", "noisy_region", "pseudo_labels", "wrong_answers", "wrong_pseudo_labels"]


class Standing(NamedTuple):
    """How E episodes stand after some queries.

    Attributes:
        tasks: what is played.
        answers: what the oracle would answer for each row.
        pool: as the judge knows it.
    """

    tasks: PoolTasks
    answers: Answers
    pool: Pool

    @property
    def queried(self) -> Tensor:
        """`[E, N]` bool, the rows asked for whose answer has come or was declined, first labels left out."""
        state = self.pool.state()
        rows = state.picks[:, self.tasks.first.shape[1] : state.answered]
        return torch.zeros_like(self.tasks.exists).scatter_reduce_(1, rows.clamp_min(0), rows >= 0, "amax")

    @property
    def asked(self) -> Tensor:
        """`[E, N]` bool, the rows asked for and answered, first labels left out."""
        return self.queried & self.pool.state().is_labelled


def wrong_answers(standing: Standing) -> Tensor:
    """Return the share of the answers so far that were wrong, `[E]` float32 in [0, 1]; 0 before the first.

    Of numbers, an answer is wrong that has any noise.
    """
    wrong = standing.asked & (standing.pool.state().labels != standing.tasks.y)
    return wrong.sum(1) / standing.asked.sum(1).clamp_min(1)


def noisy_region(standing: Standing) -> Tensor:
    """Return the share of the queries so far in the oracle's region, `[E]` float32 in [0, 1]; 0 before the first."""
    queried = standing.queried
    return (queried & standing.answers.region).sum(1) / queried.sum(1).clamp_min(1)


def asked_again(standing: Standing) -> Tensor:
    """Return the share of the queries so far about rows that were asked before, `[E]` float32; 0 before the first."""
    queried = standing.queried
    rows = queried.unflatten(1, (-1, standing.pool.annotators)).any(-1).sum(1)
    return (queried.sum(1) - rows) / queried.sum(1).clamp_min(1)


def money(standing: Standing) -> Tensor:
    """Return the sum of the prices of the queries so far, `[E]` float32."""
    return standing.pool.prices.where(standing.queried, 0.0).sum(1)


def pseudo_labels(standing: Standing) -> Tensor:
    """Return the share of the pool's unlabelled rows that the learner gave labels itself, `[E]` float32 in [0, 1]."""
    unlabelled = standing.tasks.exists & ~standing.pool.state().is_labelled
    return (standing.pool.assumed >= 0).sum(1) / unlabelled.sum(1).clamp_min(1)


def wrong_pseudo_labels(standing: Standing) -> Tensor:
    """Return the share of these labels that are wrong, `[E]` float32 in [0, 1]; 0 where there are none."""
    assumed = standing.pool.assumed
    wrong = (assumed >= 0) & (assumed != standing.tasks.y)
    return wrong.sum(1) / (assumed >= 0).sum(1).clamp_min(1)


MEASURES: dict[MeasureName, Callable[[Standing], Tensor]] = {
    "asked_again": asked_again,
    "money": money,
    "noisy_region": noisy_region,
    "pseudo_labels": pseudo_labels,
    "wrong_answers": wrong_answers,
    "wrong_pseudo_labels": wrong_pseudo_labels,
}
