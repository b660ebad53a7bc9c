"""Bayesian active learning by dropout: ask where networks that leave out different units disagree.

Gal, Islam & Ghahramani, "Deep Bayesian Active Learning with Image Data", ICML 2017: a network with some of its units
left out is a sample of what its weights may be. The network with dropout off is the deterministic twin. It has
strategies of its own: `entropy` in place of `max_entropy`, `least_confident` in place of `dropout_variation_ratio`.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from almeta.checks import Count, Within
from almeta.learners.learner import Samples
from almeta.pool import PoolState
from almeta.strategies.actor import Memory, Outputs
from almeta.strategies.committee import (
    Members,
    block_size,
    dropout_members,
    mean_kl,
    measure_members,
    soft_vote_entropy,
    variation_ratio,
)
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.uncertainty import entropy

# Numbers that are computed at once, few enough for the cache; and numbers of a query that are kept (256 MiB).
_BLOCK = 1 << 20
_KEPT = 1 << 26
# Stands for a probability of 0, whose logarithm is not finite.
_TINY = 1e-30


def summed_variance(probabilities: Tensor) -> Tensor:
    """Return the variance over networks, summed over classes.

    Smith & Gal, "Understanding Measures of Uncertainty for Adversarial Example Detection", UAI 2018, section 3, divide
    it by the number of classes, which ranks rows alike.

    Args:
        probabilities: `[..., S, C]`, of C classes by each of S networks.

    Returns:
        `[...]` in [0, 1 - 1/C]; the variance divides by S.
    """
    return probabilities.var(-2, correction=0).sum(-1)


def summed_std(probabilities: Tensor) -> Tensor:
    """Return the standard deviation over networks, summed over classes: Gal et al. 2017, section 4, "mean STD".

    They divide it by the number of classes, which ranks rows alike. Arguments are those of `summed_variance`.
    """
    return probabilities.std(-2, correction=0).sum(-1)


class _Dropout(PoolStrategy):
    """Measures how networks disagree that leave out different units; they are drawn anew for each query.

    Args:
        num_samples: networks S.
    """

    needs = (Samples,)

    def __init__(self, num_samples: Annotated[int, Within(2)] = 20) -> None:
        self.num_samples = num_samples

    def score(self, state: PoolState) -> Tensor:
        networks = dropout_members(state, self.num_samples, self.generator)
        return measure_members(state, networks, self.num_samples, self.disagreement)

    def disagreement(self, probabilities: Tensor) -> Tensor:
        """Return the disagreement `[E, B]` of networks' probabilities `[E, B, S, C]`."""
        raise NotImplementedError


class DropoutVariance(_Dropout):
    """Ask where the probabilities vary most from network to network.

    Args:
        num_samples: networks S.
        std: add up standard deviations over the classes in place of variances.
    """

    name = "dropout_variance"

    def __init__(self, num_samples: Annotated[int, Within(2)] = 20, std: bool = False) -> None:
        super().__init__(num_samples)
        self.std = std

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return (summed_std if self.std else summed_variance)(probabilities)


class MaxEntropy(_Dropout):
    """Ask where the mean of the networks has the highest entropy."""

    name = "max_entropy"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return soft_vote_entropy(probabilities)


class DropoutVariationRatio(_Dropout):
    """Ask where the largest share of the networks votes against the most frequent class."""

    name = "dropout_variation_ratio"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return variation_ratio(probabilities.argmax(-1))


class Bald(_Dropout):
    """Ask for the label that tells most about the weights: Houlsby, Huszar, Ghahramani & Lengyel, arXiv 1112.5745.

    The mutual information of label and weights is the mean Kullback-Leibler divergence of the networks from their mean.
    """

    name = "bald"

    def disagreement(self, probabilities: Tensor) -> Tensor:
        return mean_kl(probabilities)


class Batch:
    """The rows of E batches, and the labels that they may have together, each combination a configuration.

    All configurations are enumerated while they are few. Then some are drawn: each network draws equally many from its
    own probabilities (Kirsch et al. 2019, section 3.3), and goes on drawing a label for each row that is added.

    Args:
        num_pools: E.
        num_samples: networks S.
        limit: the most configurations that are enumerated, and how many are drawn; at least one a network.
        generator: draws them, on the device of the pools.

    Attributes:
        num_rows: rows of each batch.
        log_joint: `[E, S, G]` float32, logarithm of the probability of each configuration by each network.
        drawn: whether the configurations are drawn.
    """

    def __init__(self, num_pools: int, num_samples: int, limit: int, generator: torch.Generator) -> None:
        self.limit, self.generator = limit, generator
        self.num_rows, self.drawn = 0, False
        self.log_joint = torch.zeros(num_pools, num_samples, 1, device=generator.device)

    def add(self, probabilities: Tensor) -> None:
        """Add a row to each batch, of class probabilities `[E, S, C]`."""
        self.num_rows += 1
        log = probabilities.clamp_min(_TINY).log()
        if self.drawn:
            self.log_joint += log.gather(2, self._draw(probabilities))
            return
        self.log_joint = (self.log_joint[..., None] + log[:, :, None]).flatten(2)
        if self.log_joint.shape[2] > self.limit:
            self.log_joint = self.log_joint.gather(2, self._draw(self.log_joint.exp()))
            self.drawn = True

    def _draw(self, probabilities: Tensor) -> Tensor:
        """Draw from each network's `[E, S, K]`, and return all that were drawn to each network, `[E, S, G]` int64."""
        pools, networks, size = probabilities.shape
        each = max(1, self.limit // networks)
        luck = torch.rand(pools, networks, each, generator=self.generator, device=probabilities.device)
        total = probabilities.cumsum(2)
        drawn = torch.searchsorted(total, luck * total[..., -1:], right=True).clamp_max(size - 1)
        return drawn.flatten(1)[:, None].expand(-1, networks, -1)

    def gain(self, probabilities: Tensor) -> Tensor:
        """Return how much more each row would tell about the weights, `[E, B]`, of `[E, S, B, C]`, in nats.

        It is the mutual information of the row's label and the weights, given the labels of the batch. Added to the
        gains of the rows before it, it is their joint mutual information, the score of BatchBALD.
        """
        pools, networks, count = self.log_joint.shape
        log_mass = self.log_joint.logsumexp(1, keepdim=True)  # of S networks together
        believed = (self.log_joint - log_mass).exp()  # [E, S, G], how likely each network is after a configuration
        mass = log_mass.exp() / networks if not self.drawn else torch.full_like(log_mass, 1 / count)  # [E, 1, G]
        weight = mass @ believed.mT  # [E, 1, S]; 1/S but for the luck of the draw
        gains = []
        for part in probabilities.split(max(1, _BLOCK // (pools * count * probabilities.shape[3])), 2):
            mean = believed.mT @ part.flatten(2)  # [E, G, B * C]
            jointly = (mass @ torch.special.entr(mean)).unflatten(2, part.shape[2:]).sum(3)
            gains.append(jointly - weight @ entropy(part))
        return torch.cat(gains, 2).squeeze(1)


class BatchBald(PoolStrategy):
    """Ask for the rows whose labels together tell most about the weights.

    Kirsch, van Amersfoort & Gal, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active
    Learning", NeurIPS 2019, algorithm 1. All rows of a query are scored by the same networks. The score is what a row
    adds to the mutual information of those picked before it, so that the first row of a query is that of BALD.

    Args:
        num_samples: networks S.
        num_configurations: the labels of a batch are enumerated up to so many; of more, so many are drawn. Here all
            pools have as many classes as the one with most.
    """

    name = "batch_bald"
    needs = (Samples,)
    spreads = True

    def __init__(self, num_samples: Annotated[int, Within(2)] = 20, num_configurations: Count = 1000) -> None:
        self.num_samples, self.num_configurations = num_samples, num_configurations

    def initial(self, num_envs: int) -> Memory:
        """Return the memory: the networks of a query, what they say of the rows if it is kept, and the batch so far."""
        return None

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        self.check(state)
        if memory is None or not state.pending.shape[1]:
            memory = self._begin(state)
        networks, kept, batch = memory
        for row in state.pending[:, batch.num_rows :].unbind(1):
            batch.add(_of_row(networks, state.x, row))
        parts = map(networks, self._blocks(state)) if kept is None else kept
        gains = torch.cat([batch.gain(part) for part in parts], 1)
        return Outputs(gains.masked_fill(~state.available, -torch.inf)), memory

    def _begin(self, state: PoolState) -> Memory:
        networks = dropout_members(state, self.num_samples, self.generator)
        fits = self.num_samples * state.probabilities.numel() <= _KEPT
        kept = [networks(block) for block in self._blocks(state)] if fits else None
        return networks, kept, Batch(len(state.x), self.num_samples, self.num_configurations, self.generator)

    def _blocks(self, state: PoolState) -> Sequence[Tensor]:
        return state.x.split(block_size(state, self.num_samples), 1)


def _of_row(networks: Members, x: Tensor, row: Tensor) -> Tensor:
    """Return the networks' probabilities `[E, S, C]` of one row `[E]` of each pool; of none (-1) all say class 0."""
    said = networks(x.gather(1, row.clamp_min(0)[:, None, None].expand(-1, 1, x.shape[2]))).squeeze(2)
    sure = torch.zeros_like(said)
    sure[..., 0] = 1
    return said.where(row[:, None, None] >= 0, sure)
