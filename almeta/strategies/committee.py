"""Query by committee: ask where learners that were fit to different samples of the labels disagree.

Seung, Opper & Sompolinsky, COLT 1992; with bootstrap samples as in Abe & Mamitsuka, "Query Learning Strategies Using
Boosting and Bagging", ICML 1998.
"""

from typing import Annotated

import torch
from torch import Tensor

from almeta.checks import Within
from almeta.learners.learner import seen_classes
from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.uncertainty import entropy

# Numbers of the members' inputs or outputs that are held at once (16 MiB in float32).
_BLOCK = 1 << 22


def vote_entropy(votes: Tensor) -> Tensor:
    """Return the entropy of the shares of votes: Dagan & Engelson, ICML 1995, in nats and not divided by a logarithm.

    Args:
        votes: `[..., M]` int64, the class that each of M members predicts.

    Returns:
        `[...]` float32 in [0, log M]; 0 where all agree.
    """
    # -sum over classes of s log s is the mean over members of -log s, where s is the share of the member's class.
    share = (votes[..., None] == votes[..., None, :]).float().mean(-1)
    return -share.log().mean(-1)


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


class _Committee(PoolStrategy):
    """Fits the members anew for each pick, with the task's own learner, and measures their disagreement.

    Args:
        num_members: learners in a committee, M.
    """

    def __init__(self, num_members: Annotated[int, Within(2)] = 5) -> None:
        self.num_members = num_members

    def score(self, state: PoolState) -> Tensor:
        x, labels, weight = state.labelled_rows()
        members, num_classes = self.num_members, state.probabilities.shape[-1]
        samples = bootstrap_weights(labels, weight, members, num_classes, self.generator).flatten(0, 1)
        x, labels = x.repeat_interleave(members, 0), labels.repeat_interleave(members, 0)
        committee = state.learner.fit(x, labels, samples, num_classes, generator=self.generator)
        size = max(1, _BLOCK // max(1, len(x) * max(num_classes, x.shape[-1], members)))
        scores = state.x.new_empty(state.exists.shape)
        for block, part in zip(state.x.split(size, 1), scores.split(size, 1), strict=True):
            probabilities = committee.probabilities(block.repeat_interleave(members, 0))  # [E * M, B, C]
            part.copy_(self.disagreement(probabilities.unflatten(0, (-1, members)).transpose(1, 2)))
        return scores

    def disagreement(self, probabilities: Tensor) -> Tensor:
        """Return the disagreement `[E, B]` of members' probabilities `[E, B, M, C]`."""
        raise NotImplementedError


class VoteEntropy(_Committee):
    """Ask where the votes of a committee differ most."""

    name = "vote_entropy"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return vote_entropy(probabilities.argmax(-1))


class MeanKL(_Committee):
    """Ask where the probabilities of a committee are farthest from their mean."""

    name = "mean_kl"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return mean_kl(probabilities)
