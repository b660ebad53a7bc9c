"""What is recorded of pools beside the learner's scores, for E episodes at once."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

from almeta.oracles import Answers
from almeta.pool import Pool
from almeta.tasks import PoolTasks

MeasureName = Literal["wrong_answers"]


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
    def asked(self) -> Tensor:
        """`[E, N]` bool, the rows asked for and answered, first labels left out."""
        first = self.tasks.first
        return self.pool.state().is_labelled.scatter_reduce(1, first.clamp_min(0), first < 0, "amin")


def wrong_answers(standing: Standing) -> Tensor:
    """Return the share of the answers so far that were wrong, `[E]` float32 in [0, 1]; 0 before the first.

    Of numbers, an answer is wrong that has any noise.
    """
    wrong = standing.asked & (standing.answers.labels != standing.tasks.y)
    return wrong.sum(1) / standing.asked.sum(1).clamp_min(1)


MEASURES: dict[MeasureName, Callable[[Standing], Tensor]] = {"wrong_answers": wrong_answers}
