"""The contract of learners: classifiers, or regressors, that are refit, for E episodes at once, as labels arrive."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from almeta.errors import AlmetaError

Rng = torch.Generator | None
# Learners to name in messages, by what they learn.
EXAMPLES = {"classes": "logistic_regression", "numbers": "gaussian_process"}


class Model(Protocol):
    """A learner after a fit."""

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows `[E, M, D]` float32; 0 for classes not seen."""
        ...


class Prediction(NamedTuple):
    """What a model of numbers says of rows.

    Attributes:
        mean: `[E, M]` float32.
        variance: `[E, M]` float32, at least 0, of a label of the row: what is not known of its mean, and noise.
    """

    mean: Tensor
    variance: Tensor


@runtime_checkable
class Predicts(Protocol):
    """The model of a learner of numbers, which has no `probabilities`."""

    def predict(self, x: Tensor) -> Prediction:
        """Return the predictions of rows `[E, M, D]` float32; before the first label the mean is 0 everywhere."""
        ...

    def gradient_length(self, x: Tensor) -> Tensor:
        """Return `[E, M]` float32: the length of the gradient of the mean of each row by all parameters."""
        ...


# What some models can do beside, and what strategies may ask of them.


@runtime_checkable
class Samples(Model, Protocol):
    """A network whose dropout can stay on."""

    def sample(self, x: Tensor, num_samples: int, generator: Rng = None) -> Tensor:
        """Return class probabilities `[E, S, M, C]` float32 of rows `[E, M, D]` by S networks with units left out.

        A sample is one network: it leaves out the same units for all rows, and in all calls with generators of the same
        state, however the rows are split over the calls.
        """
        ...


@runtime_checkable
class Embeds(Model, Protocol):
    """A model that ends in a softmax of linear functions."""

    def embed(self, x: Tensor) -> Tensor:
        """Return what the last linear layer reads, `[E, M, H]` float32, of rows `[E, M, D]`; no dropout."""
        ...


@runtime_checkable
class HasGradients(Model, Protocol):
    """A model that was trained by gradients of the cross-entropy."""

    def gradient_lengths(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32: the length of the loss's gradient by all parameters if a row had each label."""
        ...


@runtime_checkable
class HasInputGradients(Model, Protocol):
    """A model whose answer can be derived by the features of a row."""

    def logits(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32, whose softmax are the probabilities of rows `[E, M, D]`, ready for autograd.

        They are -inf for classes not seen. Each row's depend on this row alone.
        """
        ...


@runtime_checkable
class EmbedsWords(Model, Protocol):
    """A model of texts that looks words up in an embedding."""

    def word_gradient_lengths(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32: for each label, the longest gradient by the embedding of a word of the row."""
        ...

    def word_swaps(self, x: Tensor, num_neighbours: int) -> Tensor:
        """Return `[E, M]` float32: how many words must be swapped until a row has another label; inf if all do not do.

        Each word may become one of its nearest words by their embeddings. 2.3 is two swaps and 0.3 of a third one, so
        that three are needed.
        """
        ...


# How messages name what a model lacks.
ABILITIES: dict[type, str] = {
    Samples: "dropout, which it can leave on",
    Embeds: "a last linear layer",
    HasGradients: "gradients of its loss",
    HasInputGradients: "logits that can be derived by the features",
    EmbedsWords: "an embedding of words",
    Predicts: "predictions of numbers",
}


@runtime_checkable
class Learner(Protocol):
    """The settings of a fit. A learner holds no data, so that one learner serves any number of pools.

    A learner of numbers has `target = "numbers"`, and its models are `Predicts`; others are of classes.
    """

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> Any:
        """Fit E classifiers.

        Args:
            x: `[E, L, D]` float32, the labelled rows; columns that an episode lacks are 0.
            y: `[E, L]` int64 in 0 .. C-1, or of a learner of numbers float32; any number where the weight is 0.
            weight: `[E, L]` float32; 0 for padding, 1 for a row that counts once.
            num_classes: C, the largest number of classes of an episode; 0 for a learner of numbers.
            start: a model to begin from, fitted to the first of these rows; None to begin anew. It changes the time of
                the fit and, beyond rounding, not the result.
            generator: for learners that draw random numbers.

        Returns:
            The model: a `Model`, or of a learner of numbers one that `Predicts`. Without any label all classes have the
            same probability; a single class has probability 1.
        """
        ...


class PoolFit(NamedTuple):
    """What a learner made of a pool.

    Attributes:
        model: the fitted model.
        assumed: `[E, N]` int64, the labels that it gave to unlabelled rows itself; -1 for none.
    """

    model: Model
    assumed: Tensor


@runtime_checkable
class ReadsPool(Learner, Protocol):
    """A learner that also learns from rows without a label; its `fit` is for where there are none."""

    def fit_with_pool(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        num_classes: int,
        pool: Tensor,
        unlabelled: Tensor,
        start: Any = None,
        generator: Rng = None,
    ) -> PoolFit:
        """Fit E classifiers to labelled and unlabelled rows.

        Args:
            x: as in `Learner.fit`, and so are `y`, `weight`, `num_classes`, `start` and `generator`.
            y: see `x`.
            weight: see `x`.
            num_classes: see `x`.
            pool: `[E, N, D]` float32, all rows of the pools.
            unlabelled: `[E, N]` bool, the rows of the pools that exist and have no label.
            start: see `x`.
            generator: see `x`.

        Returns:
            The model, and the labels that it assumed. Without any label all classes have the same probability.
        """
        ...


def fit_to_pool(
    learner: Learner,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    num_classes: int,
    pool: Tensor,
    unlabelled: Tensor,
    start: Any = None,
    generator: Rng = None,
) -> PoolFit:
    """Fit a learner as `ReadsPool.fit_with_pool` says, or to the labelled rows alone if it does not read the pool."""
    if isinstance(learner, ReadsPool):
        return learner.fit_with_pool(x, y, weight, num_classes, pool, unlabelled, start, generator)
    model = learner.fit(x, y, weight, num_classes, start, generator)
    return PoolFit(model, torch.full_like(unlabelled, -1, dtype=torch.int64))


def target_of(learner: Learner) -> str:
    """Return what a learner learns: "classes", or "numbers"."""
    return getattr(learner, "target", "classes")


def check_learns(target: str, learner: Learner, what: str) -> None:
    """Raise AlmetaError unless a learner learns the target, "classes" or "numbers"; `what` names it in the message."""
    found = target_of(learner)
    if found != target:
        raise AlmetaError(f"{what} learns {found}; name a learner of {target}, such as {EXAMPLES[target]}")


def seen_classes(y: Tensor, weight: Tensor, num_classes: int) -> Tensor:
    """Return `[E, C]` bool: the classes that occur among the rows `[E, L]` of positive weight."""
    counts = torch.zeros(len(y), num_classes, dtype=weight.dtype, device=weight.device)
    return counts.scatter_add_(1, y, weight) > 0


def possible_classes(seen: Tensor) -> Tensor:
    """Return `[E, C]` bool: the classes that a model may predict: those seen, or all where none was seen."""
    return seen | ~seen.any(1, keepdim=True)


def counted_labels(y: Tensor, weight: Tensor) -> Tensor:
    """Return `[E, L]`: the labels of rows that count, and 0 for the others, whose label may be anything."""
    return y.where(weight > 0, 0)


def rows_of(x: Tensor, rows: Tensor) -> Tensor:
    """Return the columns `[E, P, D]` of rows `[E, P]` of x `[E, N, D]`; those of row 0 for -1."""
    return x.gather(1, rows.clamp_min(0)[..., None].expand(-1, -1, x.shape[-1]))
