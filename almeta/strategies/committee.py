"""Query by committee: ask where several learners disagree.

Seung, Opper & Sompolinsky, COLT 1992; with bootstrap samples as in Abe & Mamitsuka, "Query Learning Strategies Using
Boosting and Bagging", ICML 1998. Measures of disagreement take members that have seen different classes: a class that a
member has not seen has probability 0 for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor

from almeta.checks import Within
from almeta.errors import AlmetaError
from almeta.learners import make_learner
from almeta.learners.learner import Learner, Samples, check_learns, seen_classes
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.uncertainty import entropy

# Numbers of the members' inputs or outputs that are held at once (16 MiB in float32).
_BLOCK = 1 << 22

# What M members say: class probabilities `[E, M, B, C]` of rows `[E, B, D]`.
Members = Callable[[Tensor], Tensor]


def vote_entropy(votes: Tensor) -> Tensor:
    """Return the entropy of the shares of votes: Dagan & Engelson, ICML 1995, in nats and not divided by a logarithm.

    Args:
        votes: `[..., M]` int64, the class that each of M members predicts.

    Returns:
        `[...]` float32 in [0, log M]; 0 where all agree.
    """
    # -sum over classes of s log s is the mean over members of -log s, where s is the share of the member's class.
    return -_shares(votes).log().mean(-1)


def variation_ratio(votes: Tensor) -> Tensor:
    """Return the share of members that do not vote for the most frequent class: Freeman, "Elementary Applied
    Statistics", 1965.

    Args:
        votes: `[..., M]` int64, the class that each of M members predicts.

    Returns:
        `[...]` float32 in [0, 1 - 1/M]; 0 where all agree.
    """
    return 1 - _shares(votes).amax(-1)


def soft_vote_entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of the members' mean, in nats: Settles, "Active Learning", 2012, section 3.4.

    It is also called consensus entropy.

    Args:
        probabilities: `[..., M, C]`, of C classes by each of M members.

    Returns:
        `[...]` in [0, log C].
    """
    return entropy(probabilities.mean(-2))


def mean_kl(probabilities: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence of members from their mean: McCallum & Nigam, ICML 1998, in nats.

    Args:
        probabilities: `[..., M, C]`, of C classes by each of M members.

    Returns:
        `[...]` in [0, log M].
    """
    # The mean of sum p log(p / mean), without 0 / 0.
    return (entropy(probabilities.mean(-2)) - entropy(probabilities).mean(-1)).clamp_min(0)


def bootstrap_weights(
    labels: Tensor, weight: Tensor, num_members: int, num_classes: int, generator: torch.Generator
) -> Tensor:
    """Return how often each labelled row is drawn into each member's bootstrap sample.

    Where a draw leaves out all rows of a class, each of them counts once: a member that does not know a class would
    disagree about it everywhere, and with one or two labels a class nothing else would count.

    Args:
        labels: `[E, P]` int64 in 0 .. C-1.
        weight: `[E, P]` float32, 1 for rows with a label and 0 for others.
        num_members: M.
        num_classes: C.
        generator: draws the samples.

    Returns:
        `[E, M, P]` float32, whole numbers; 0 where the weight is 0.
    """
    pools, rows = labels.shape
    if rows == 0:
        return weight.new_zeros(pools, num_members, 0)
    known = weight.repeat_interleave(num_members, 0)
    # Each pool draws as many rows as the largest; draws beyond its own number of rows do not count.
    drawn = torch.multinomial(known + (known.sum(1, keepdim=True) == 0), rows, replacement=True, generator=generator)
    counted = torch.arange(rows, device=weight.device) < known.sum(1, keepdim=True)
    counts = torch.zeros_like(known).scatter_add_(1, drawn, counted.to(known.dtype))
    labels = labels.repeat_interleave(num_members, 0)
    kept = seen_classes(labels, counts, num_classes).gather(1, labels)
    return counts.where(kept, known).unflatten(0, (pools, num_members))


def dropout_members(state: PoolState, num_members: int, generator: torch.Generator) -> Members:
    """Return M networks that differ by the units that they leave out, and are the same at each call of the result."""
    model, start = cast(Samples, state.model), generator.clone_state()
    model.sample(state.x[:, :1], num_members, generator)  # later draws are others than those of these networks
    return lambda rows: model.sample(rows, num_members, start.clone_state())


def block_size(state: PoolState, num_members: int) -> int:
    """Return how many rows of each pool M members predict at once, so that memory stays bounded."""
    width = max(state.probabilities.shape[-1], state.x.shape[-1], num_members)
    return max(1, _BLOCK // max(1, len(state.x) * num_members * width))


def measure_members(
    state: PoolState, members: Members, num_members: int, measure: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return a measure of what M members say of each row, `[E, N]`, block by block.

    Args:
        state: of the pools.
        members: predict rows.
        num_members: M.
        measure: takes class probabilities `[E, B, M, C]` to `[E, B]`.
    """
    size, scores = block_size(state, num_members), state.x.new_empty(state.exists.shape)
    for block, part in zip(state.x.split(size, 1), scores.split(size, 1), strict=True):
        part.copy_(measure(members(block).transpose(1, 2)))
    return scores


class _Committee(PoolStrategy):
    """Fits the members anew for each query, to the labels of the task, and measures their disagreement.

    Args:
        num_members: learners in a committee, M; a list of members has a number of its own.
        members: "bagging", the task's own learner, fit to bootstrap samples of the labels; "dropout", the task's own
            network, sampled with units left out; or a list of learners, each fit to all labels.

    Raises:
        AlmetaError: if a list of learners has fewer than two, an unknown one, or one of numbers.
    """

    def __init__(
        self,
        num_members: Annotated[int, Within(2)] = 5,
        members: Literal["bagging", "dropout"] | Sequence[str | Mapping[str, Any] | Spec] = "bagging",
    ) -> None:
        self.num_members, self.members = num_members, members
        if members == "dropout":
            self.needs = (Samples,)
        elif not isinstance(members, str):
            self.num_members, self._learners = len(members), [make_learner(member) for member in members]
            if len(members) < 2:
                raise AlmetaError(f"a committee needs at least 2 members; strategy {self.name} has {list(members)}")
            for member, learner in zip(members, self._learners, strict=True):
                check_learns("classes", learner, f"strategy {self.name}: {member}")

    @property
    def depends_on(self) -> tuple[Learner, ...]:
        return () if isinstance(self.members, str) else tuple(self._learners)

    def score(self, state: PoolState) -> Tensor:
        if self.members == "dropout":
            members = dropout_members(state, self.num_members, self.generator)
        else:
            members = self._bag(state) if self.members == "bagging" else self._fit_each(state)
        return measure_members(state, members, self.num_members, self.disagreement)

    def _bag(self, state: PoolState) -> Members:
        x, labels, weight = state.labelled_rows()
        size, num_classes = self.num_members, state.probabilities.shape[-1]
        samples = bootstrap_weights(labels, weight, size, num_classes, self.generator).flatten(0, 1)
        x, labels = x.repeat_interleave(size, 0), labels.repeat_interleave(size, 0)
        model = state.learner.fit(x, labels, samples, num_classes, generator=self.generator)
        return lambda rows: model.probabilities(rows.repeat_interleave(size, 0)).unflatten(0, (-1, size))

    def _fit_each(self, state: PoolState) -> Members:
        labelled, num_classes = state.labelled_rows(), state.probabilities.shape[-1]
        models = [learner.fit(*labelled, num_classes, generator=self.generator) for learner in self._learners]
        return lambda rows: torch.stack([model.probabilities(rows) for model in models], 1)

    def disagreement(self, probabilities: Tensor) -> Tensor:
        """Return the disagreement `[E, B]` of members' probabilities `[E, B, M, C]`."""
        raise NotImplementedError


class VoteEntropy(_Committee):
    """Ask where the votes of a committee differ most."""

    name = "vote_entropy"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return vote_entropy(probabilities.argmax(-1))


class SoftVoteEntropy(_Committee):
    """Ask where the mean of a committee has the highest entropy, because members disagree or all are unsure."""

    name = "soft_vote_entropy"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return soft_vote_entropy(probabilities)


class VariationRatio(_Committee):
    """Ask where the largest share of a committee votes against the most frequent class."""

    name = "variation_ratio"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return variation_ratio(probabilities.argmax(-1))


class MeanKL(_Committee):
    """Ask where the probabilities of a committee are farthest from their mean."""

    name = "mean_kl"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return mean_kl(probabilities)


def _shares(votes: Tensor) -> Tensor:
    """Return the share `[..., M]` of the members that vote as each member does."""
    return (votes[..., None] == votes[..., None, :]).float().mean(-1)
