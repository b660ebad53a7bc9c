"""Strategies for targets that are numbers: where the learner, or a committee of learners, is least sure of them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from almeta.checks import Within
from almeta.errors import AlmetaError
from almeta.learners import make_learner
from almeta.learners.learner import Learner, Predicts, check_learns
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies.committee import block_size, bootstrap_weights
from almeta.strategies.strategy import PoolStrategy


class PredictiveVariance(PoolStrategy):
    """Ask where the variance of the learner's prediction is highest, noise of the label included.

    Of a Gaussian process whose rows share one noise it asks where no label is near (MacKay, "Information-Based
    Objective Functions for Active Data Selection", Neural Computation 4, 1992). With noise by row it also asks where
    labels are noisy, and may stay there.
    """

    name = "predictive_variance"
    targets = ("numbers",)
    needs = (Predicts,)

    def score(self, state: PoolState) -> Tensor:
        return predicted(state)[1]


def expected_model_change(predictions: Tensor, committee: Tensor, length: Tensor) -> Tensor:
    """Return how far a step of gradient descent is expected to move the model: Cai, Zhang & Zhou, ICDM 2013.

    The gradient of half the squared error at a row is (f(x) - y) times the gradient of f, which for linear regression
    is the row itself. A committee stands for the labels y that are likely: the mean of |f(x) - f_k(x)| |grad f(x)|.

    Args:
        predictions: `[E, N]`, f(x).
        committee: `[E, K, N]`, f_k(x).
        length: `[E, N]`, that of the gradient of f.

    Returns:
        `[E, N]`, at least 0.
    """
    return (predictions[:, None] - committee).abs().mean(1) * length


class _NumberCommittee(PoolStrategy):
    """Fits the members anew for each query.

    Args:
        num_members: learners in a committee; a list of members has a number of its own.
        members: "bagging", the task's own learner, fit to bootstrap samples of the labels; or a list of learners, each
            fit to all labels.

    Raises:
        AlmetaError: if a list of learners has fewer than two, or one of classes.
    """

    targets = ("numbers",)
    needs = (Predicts,)

    def __init__(
        self,
        num_members: Annotated[int, Within(2)] = 5,
        members: Literal["bagging"] | Sequence[str | Mapping[str, Any] | Spec] = "bagging",
    ) -> None:
        self.num_members, self.members = num_members, members
        self._learners: list[Learner] = []
        if not isinstance(members, str):
            self.num_members, self._learners = len(members), [make_learner(member) for member in members]
            if len(members) < 2:
                raise AlmetaError(f"a committee needs at least 2 members; strategy {self.name} has {list(members)}")
            for member, learner in zip(members, self._learners, strict=True):
                check_learns("numbers", learner, f"strategy {self.name}: {member}")

    @property
    def depends_on(self) -> tuple[Learner, ...]:
        return tuple(self._learners)

    def committee(self, state: PoolState) -> Tensor:
        """Return the members' predictions `[E, K, N]`."""
        x, y, weight = state.labelled_rows()
        if self._learners:
            models = [learner.fit(x, y, weight, 0, generator=self.generator) for learner in self._learners]
            return torch.stack([model.predict(state.x).mean for model in models], 1)
        size = self.num_members
        samples = bootstrap_weights(torch.zeros_like(y, dtype=torch.int64), weight, size, 1, self.generator)
        x, y = (part.repeat_interleave(size, 0) for part in (x, y))
        model = state.learner.fit(x, y, samples.flatten(0, 1), 0, generator=self.generator)
        blocks = state.x.split(block_size(state, size), 1)
        found = torch.cat([model.predict(rows.repeat_interleave(size, 0)).mean for rows in blocks], 1)
        return found.unflatten(0, (-1, size))


class CommitteeVariance(_NumberCommittee):
    """Ask where the predictions of a committee vary most: Burbidge, Rowland & King, IDEAL 2007.

    It is query by committee for numbers (Krogh & Vedelsby, NIPS 1994). A committee differs where labels are few, and
    where noise makes those of its samples differ.
    """

    name = "committee_variance"

    def score(self, state: PoolState) -> Tensor:
        return self.committee(state).var(1, correction=0)


class ModelChange(_NumberCommittee):
    """Ask for the label that is expected to change the learner most, "EMCM", see `expected_model_change`."""

    name = "emcm"

    def score(self, state: PoolState) -> Tensor:
        length = state.model.gradient_length(state.x)
        return expected_model_change(predicted(state)[0], self.committee(state), length)


def predicted(state: PoolState) -> tuple[Tensor, Tensor]:
    """Return mean and variance `[E, N]` of the learner's prediction of every row."""
    assert state.prediction is not None
    return state.prediction.mean, state.prediction.variance
