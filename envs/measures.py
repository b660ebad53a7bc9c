"""What is recorded of pools beside the learner's scores, for E episodes at once.

A share of nothing, such as that of wrong answers before the first one, is NaN: means along curves leave it out.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from almeta.envs.scores import accuracy
from almeta.errors import AlmetaError
from almeta.learners.attacks import Bounds, fgsm, pgd, range_of
from almeta.learners.learner import ABILITIES, HasInputGradients
from almeta.oracles import Answers
from almeta.pool import Pool
from almeta.tasks import PoolTasks

MeasureName = Literal[
    "asked_again",
    "fgsm_accuracy",
    "money",
    "noisy_region",
    "pgd_accuracy",
    "pseudo_labels",
    "wrong_answers",
    "wrong_pseudo_labels",
]

# Measures that are NaN where there is nothing to share.
SHARES = frozenset({"asked_again", "noisy_region", "pseudo_labels", "wrong_answers", "wrong_pseudo_labels"})

# Measures that count queries, also those without an answer; the others, like scores, are about the fitted learner.
OF_QUERIES = frozenset({"asked_again", "money", "noisy_region", "wrong_answers"})

# Gradients by which a test row is moved for `pgd_accuracy`.
PGD_STEPS = 10


class Standing(NamedTuple):
    """How E episodes stand after some queries.

    Attributes:
        tasks: what is played.
        answers: what the oracle would answer for each row.
        pool: as the judge knows it.
        attack_size: the largest change of a feature of a test row, for accuracy under attack.
    """

    tasks: PoolTasks
    answers: Answers
    pool: Pool
    attack_size: float = 0.1

    @property
    def queried(self) -> Tensor:
        """`[E, N]` bool, the rows asked for whose answer has come or was declined, first labels left out."""
        state = self.pool.state()
        return self.marked(state.picks[:, self.tasks.first.shape[1] : state.answered])

    @property
    def asked(self) -> Tensor:
        """`[E, N]` bool, the rows asked for and answered, first labels left out."""
        return self.queried & self.pool.state().is_labelled

    def marked(self, rows: Tensor) -> Tensor:
        """Return where given rows `[E, K]` are, `[E, N]` bool; -1 is no row."""
        return torch.zeros_like(self.tasks.exists).scatter_reduce_(1, rows.clamp_min(0), rows >= 0, "amax")


def wrong_answers(standing: Standing) -> Tensor:
    """Return the share of the answers so far that were wrong, `[E]` float32 in [0, 1]; NaN before the first.

    Of numbers, an answer is wrong that has any noise.
    """
    wrong = standing.asked & (standing.pool.state().labels != standing.tasks.y)
    return wrong.sum(1) / standing.asked.sum(1)


def noisy_region(standing: Standing) -> Tensor:
    """Return the share of the queries so far in the oracle's region, `[E]` float32 in [0, 1]; NaN before the first."""
    queried = standing.queried
    return (queried & standing.answers.region).sum(1) / queried.sum(1)


def asked_again(standing: Standing) -> Tensor:
    """Return the share of the queries so far about rows that were asked before, `[E]` float32; NaN before the first.

    Rows with a first label were asked before, too.
    """
    queried = standing.queried
    asked, first = (
        questions.unflatten(1, (-1, standing.pool.annotators)).any(-1)
        for questions in (queried, standing.marked(standing.tasks.first))
    )
    return (queried.sum(1) - (asked & ~first).sum(1)) / queried.sum(1)


def money(standing: Standing) -> Tensor:
    """Return the sum of the prices of the queries so far, `[E]` float32."""
    return standing.pool.prices.where(standing.queried, 0.0).sum(1)


def pseudo_labels(standing: Standing) -> Tensor:
    """Return the share of the pool's unlabelled rows that the learner gave labels itself, `[E]` float32 in [0, 1].

    It is NaN where all rows have labels.
    """
    unlabelled = standing.pool.state().is_unlabelled
    return (standing.pool.assumed >= 0).sum(1) / unlabelled.sum(1)


def wrong_pseudo_labels(standing: Standing) -> Tensor:
    """Return the share of these labels that are wrong, `[E]` float32 in [0, 1]; NaN where there are none."""
    assumed = standing.pool.assumed
    wrong = (assumed >= 0) & (assumed != standing.tasks.y)
    return wrong.sum(1) / (assumed >= 0).sum(1)


def fgsm_accuracy(standing: Standing) -> Tensor:
    """Return the judge's accuracy, `[E]` float32, on test rows that `fgsm` moves by `attack_size` against it.

    Moved rows stay within the range of the pool's features.

    Raises:
        AlmetaError: if the judge's logits cannot be derived by the features; so does `pgd_accuracy`.
    """
    model, bounds = _attacked(standing, "fgsm_accuracy")
    moved = fgsm(model.logits, standing.tasks.test_x, standing.tasks.test_y, standing.attack_size, bounds)
    return _accuracy_on(standing, moved)


def pgd_accuracy(standing: Standing) -> Tensor:
    """Return the same for test rows that `pgd` moves with `PGD_STEPS` gradients; its begin is the same in each call."""
    model, bounds = _attacked(standing, "pgd_accuracy")
    rows = (standing.tasks.test_x, standing.tasks.test_y)
    return _accuracy_on(standing, pgd(model.logits, *rows, standing.attack_size, PGD_STEPS, bounds=bounds))


def _attacked(standing: Standing, measure: str) -> tuple[HasInputGradients, Bounds]:
    """Return the judge's model, and the range in which moved rows stay."""
    model, learner = standing.pool.model, type(standing.pool.learner).__name__
    if not isinstance(model, HasInputGradients):
        raise AlmetaError(
            f"measure {measure} needs a learner with {ABILITIES[HasInputGradients]}; {learner} has none: choose "
            "another learner, such as cnn or mlp, or leave the measure out of scores"
        )
    return model, range_of(standing.tasks.x, standing.tasks.exists)


def _accuracy_on(standing: Standing, test_x: Tensor) -> Tensor:
    return accuracy(standing.pool.probabilities(test_x), standing.tasks.test_y, standing.tasks.test_exists)


MEASURES: dict[MeasureName, Callable[[Standing], Tensor]] = {
    "asked_again": asked_again,
    "fgsm_accuracy": fgsm_accuracy,
    "money": money,
    "noisy_region": noisy_region,
    "pgd_accuracy": pgd_accuracy,
    "pseudo_labels": pseudo_labels,
    "wrong_answers": wrong_answers,
    "wrong_pseudo_labels": wrong_pseudo_labels,
}
