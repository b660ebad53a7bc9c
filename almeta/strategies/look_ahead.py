"""Look ahead: ask for the row whose label promises the most right predictions in the whole pool, one label ahead.

After Zhu, Lafferty & Ghahramani, "Combining Active Learning and Semi-Supervised Learning Using Gaussian Fields and
Harmonic Functions" (ICML 2003 workshop), with Gaussian-process regression on one-hot labels in place of the harmonic
function, as in Kapoor et al., "Active Learning with Gaussian Processes for Object Categorization" (ICCV 2007). A label
moves the mean of every other row in closed form, so that no learner is refit.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from almeta.checks import Count, Share, Weight, Within
from almeta.geometry import Geometry, rows_of, slices
from almeta.pool import PoolState
from almeta.strategies.choosing import z_scores
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.uncertainty import margin

# Far less, and rows that are alike could not be told from a singular matrix.
Noise = Annotated[float, Within(1e-4)]
# Pairs of rows at once: few enough for the cache.
_BLOCK = 1 << 18
# A kernel matrix of more numbers (128 MiB) is computed anew for each query, block by block.
_MATRIX = 1 << 25
# No class is believed to be less probable, up to a common factor.
_LEAST_BELIEF = 1e-3


def kernel(first: Tensor, second: Tensor, weight: float, spread: Tensor, length: Tensor) -> Tensor:
    """Return w exp(-|u - v|^2 / m) + (1 - w) u.v / s for all pairs of rows, `[E, A, B]` float64.

    Args:
        first: rows u, `[E, A, D]`.
        second: rows v, `[E, B, D]`.
        weight: w in [0, 1].
        spread: m, `[E]` above 0.
        length: s, `[E]` above 0.
    """
    first, second = first.double(), second.double()
    product = first @ second.mT
    lengths = first.square().sum(-1)[..., None] + second.square().sum(-1)[:, None]
    square = (lengths - 2 * product).clamp_min(0)
    return weight * (-square / spread[:, None, None]).exp_() + (1 - weight) * product / length[:, None, None]


def scales(geometry: Geometry) -> tuple[Tensor, ...]:
    """Return the median squared distance between two rows of a pool, and their mean squared length, `[E]` float64.

    Of a pool with more rows than `geometry.reference`, the median is that of the reference rows. Both are 1 where they
    would be 0.
    """
    x, exists, reference = geometry.x, geometry.exists, geometry.reference
    length = (x.square().sum(-1, dtype=torch.float64) * exists).sum(1) / exists.sum(1).clamp_min(1)
    spread = torch.empty_like(length)
    own = torch.eye(reference.shape[1], dtype=torch.bool, device=x.device)
    for pools in slices(len(x), _MATRIX // reference.shape[1] ** 2):
        rows = rows_of(x[pools], reference[pools]).double()
        there = exists[pools].gather(1, reference[pools])
        square = torch.cdist(rows, rows).square()
        counted = there[:, :, None] & there[:, None] & ~own
        spread[pools] = square.masked_fill(~counted, torch.nan).flatten(1).nanmedian(1).values
    return tuple(part.where(part > 0, 1.0) for part in (spread, length))  # of a single row the median is NaN


@dataclass(frozen=True)
class Posterior:
    """What a Gaussian process knows after the labels of P rows.

    Attributes:
        known: `[E, P]` bool, rows that count.
        factor: `[E, P, P]` float64, the lower Cholesky factor of their covariance with noise.
        innovations: `[E, P, C]` float64, how far each label is from what the rows before it made expected, in units of
            its standard deviation.
        prior: `[E, 1, C]` float64, the mean without any neighbour.
    """

    known: Tensor
    factor: Tensor
    innovations: Tensor
    prior: Tensor

    def at(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return what M other rows get, for their prior covariance with the P rows, `[E, P, M]`.

        Returns:
            Solved covariances V `[E, P, M]` float32: the posterior covariance of two rows is the prior one less V^T V.
            The posterior mean `[E, M, C]` float32.
        """
        solved = torch.linalg.solve_triangular(self.factor, covariance * self.known[..., None], upper=False)
        return solved.float(), (self.prior + solved.mT @ self.innovations).float()

    def left_out(self, labels: Tensor) -> Tensor:
        """Return the share of the labels `[E, P]` that the others would predict, `[E]` float32; 0 without labels.

        What a Gaussian process expects of a label that is left out is that label less its weight over the diagonal of
        the inverse covariance (Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, equation 5.12). The
        mean without any neighbour stays that of all labels, so that a single label counts as predicted.
        """
        labelled = self.known & (labels >= 0)
        # Rows that wait stand behind the labelled ones, so that the factor of these alone is a part of it.
        own = torch.eye(labels.shape[1], dtype=torch.float64, device=labels.device)
        inverse = torch.linalg.solve_triangular(self.factor, own, upper=False) * labelled[..., None]
        precision = inverse.square().sum(1)[..., None]
        target = torch.nn.functional.one_hot(labels.clamp_min(0), self.prior.shape[-1])
        expected = target - inverse.mT @ self.innovations / precision.clamp_min(1e-12)
        right = (expected.argmax(-1) == labels) & labelled
        return (right.sum(1) / labelled.sum(1).clamp_min(1)).float()


def condition(covariance: Tensor, labels: Tensor, known: Tensor, classes: int, noise: float) -> Posterior:
    """Condition a Gaussian process on one-hot labels.

    The prior mean of a class is (its labels + 1) / (P + C). A row that waits for its answer is taken to have the label
    that is expected: it leaves the mean as it is, and lowers the covariance. Such rows stand behind the labelled ones.

    Args:
        covariance: `[E, P, P]`, prior covariance of the rows.
        labels: `[E, P]` int64, -1 for rows that wait for their answer.
        known: `[E, P]` bool, False for rows that do not count.
        classes: C.
        noise: variance of the labels, above 0.
    """
    labelled = (known & (labels >= 0))[..., None]
    target = torch.nn.functional.one_hot(labels.clamp_min(0), classes).double() * labelled
    count = target.sum(1, keepdim=True) + 1
    prior = count / count.sum(-1, keepdim=True)
    matrix = covariance.double() * (known[:, :, None] & known[:, None])
    matrix.diagonal(dim1=1, dim2=2).add_(noise)
    factor = torch.linalg.cholesky(matrix)
    innovations = torch.linalg.solve_triangular(factor, (target - prior) * labelled, upper=False) * labelled
    return Posterior(known, factor, innovations, prior)


def expected_accuracy(mean: Tensor, own: Tensor, gain: Tensor, classes: int | None = None) -> Tensor:
    """Return the sum over rows u of the largest mean after the label of row x, expected over that label, `[E, B]`.

    It is sum_y q(y | x) sum_u max_c [f(u, c) + g(u, x) (1[c = y] - f(x, c))]. The belief q is f(x, .), clipped at
    0.001 from below and normalised. The maximum for each y needs but the two largest of f(u, .) - g(u, x) f(x, .).

    Args:
        mean: f of rows u, `[E, R, C]`; of two classes, they sum to 1.
        own: f of candidates x, `[E, B, C]`, likewise.
        gain: g, how much of the surprise at x passes to u, `[E, B, R]`.
        classes: how many of the likeliest labels of x count; None for all.
    """
    belief = own.clamp_min(_LEAST_BELIEF)
    if classes is not None and classes < own.shape[-1]:
        likeliest = belief.topk(classes)
        belief = torch.zeros_like(belief).scatter_(-1, likeliest.indices, likeliest.values)
    belief = belief / belief.sum(-1, keepdim=True)
    if mean.shape[-1] == 2:
        return _expected_of_two(mean, own, gain, belief)
    # Class by class, and twice, so that what is computed at once stays in the cache.
    after, lower = torch.empty_like(gain), torch.empty_like(gain)
    first, second = torch.full_like(gain, -torch.inf), torch.full_like(gain, -torch.inf)
    for one in range(mean.shape[-1]):
        _surprised(mean, own, gain, one, out=after)
        torch.maximum(second, torch.minimum(first, after, out=lower), out=second)
        torch.maximum(first, after, out=first)
    expected = torch.zeros_like(own[..., 0])
    for one in range(mean.shape[-1]):
        _surprised(mean, own, gain, one, out=after)
        others = torch.where(after == first, second, first)  # the largest of the other classes
        largest = torch.maximum(others, after.add_(gain), out=others)
        expected += belief[..., one] * largest.sum(-1)
    return expected


def _surprised(mean: Tensor, own: Tensor, gain: Tensor, one: int, out: Tensor) -> None:
    """Write the mean of a class after any other label, f(u, c) - g(u, x) f(x, c), `[E, B, R]`."""
    torch.addcmul(mean[:, None, :, one], gain, own[..., one, None], value=-1, out=out)


def _expected_of_two(mean: Tensor, own: Tensor, gain: Tensor, belief: Tensor) -> Tensor:
    """Return `expected_accuracy` for two classes: the larger of two means is half of their sum and their distance.

    A label moves the distance f(u, 1) - f(u, 0) to either side, and leaves the sum as it is, which is 1.
    """
    apart = (mean[..., 1] - mean[..., 0])[:, None]
    settled = torch.addcmul(apart, gain, (own[..., 1] - own[..., 0])[..., None], value=-1)  # [E, B, R]
    second = (settled + gain).abs_().sum(-1)
    first = settled.sub_(gain).abs_().sum(-1)
    return 0.5 * (mean.sum((1, 2))[:, None] + belief[..., 0] * first + belief[..., 1] * second)


@dataclass(frozen=True)
class Outlook:
    """What a Gaussian process believes of the rows of E pools, and what it expects of one more label.

    Attributes:
        expected: `[E, N]` float32, the pool's expected accuracy after the label of each row; 0 for rows that pad.
        mean: `[E, N, C]` float32, the posterior mean of each class; 0 for classes that a pool does not have.
        variance: `[E, N]` float32, the posterior variance.
        left_out: `[E]` float32, the share of the labels that the others would predict, see `Posterior.left_out`; 0
            unless it was asked for.
    """

    expected: Tensor
    mean: Tensor
    variance: Tensor
    left_out: Tensor


def shares(mean: Tensor, num_classes: Tensor) -> Tensor:
    """Return means `[E, N, C]` as probabilities of the classes of each pool: at least 0.001 each, then normalised."""
    possible = torch.arange(mean.shape[-1], device=mean.device) < num_classes[:, None, None]
    belief = mean.clamp_min(_LEAST_BELIEF) * possible
    return belief / belief.sum(-1, keepdim=True)


class LookAhead(PoolStrategy):
    """Ask for the row that raises most the pool's expected accuracy one label ahead, under a Gaussian-process belief.

    The kernel is w exp(-|u - v|^2 / m) + (1 - w) u.v / s, with m the median squared distance of rows and s their mean
    squared length. Picks that wait for their answer are taken to be labelled as expected, so that a batch spreads out.

    Args:
        weight: w; with 0 the kernel is linear, with 1 it is that of distances alone.
        noise: variance of the labels, with 0 and 1 for a class: the larger, the less a single label says.
        classes: how many of the likeliest labels of each row are looked at; None for all.
        margin: how much the learner's margin counts beside, both as `z_scores` of the rows that may be picked.
        rows: in a larger pool, expected accuracy is that of so many of its rows, drawn at random.
    """

    name = "look_ahead"
    uses_learner = False
    spreads = True

    def __init__(
        self,
        weight: Share = 0.5,
        noise: Noise = 1.0,
        classes: Count | None = None,
        margin: Weight = 0.0,
        rows: Count = 2048,
    ) -> None:
        self.weight, self.noise, self.classes, self.margin, self.rows = weight, noise, classes, margin, rows

    def score(self, state: PoolState) -> Tensor:
        scores = self.look(state).expected
        if not self.margin:
            return scores
        ahead, near = (z_scores(part, state.available) for part in (scores, margin(state.probabilities)))
        return ahead + self.margin * near

    def look(self, state: PoolState, leave_out: bool = False) -> Outlook:
        """Return what the Gaussian process believes of all rows, and expects of the label of each.

        Args:
            state: what may be known.
            leave_out: also find which labels the others would predict.
        """
        key = (LookAhead, self.weight, self.rows)
        kernels = state.geometry.keep(key, lambda: _Kernels(state.geometry, self.weight, self.rows))
        numbers, means = torch.zeros_like(state.prices), torch.zeros_like(state.probabilities)
        outlook = Outlook(numbers, means, torch.zeros_like(numbers), numbers.new_zeros(len(numbers)))
        size = max(1, _BLOCK // kernels.reference.shape[1])  # candidates of a block
        for classes in state.num_classes.unique().tolist():
            alike = (state.num_classes == classes).nonzero().squeeze(1)
            for pools in alike.split(max(1, size // numbers.shape[1])):
                # A slice is a view: the features of a large pool are not copied for each block.
                part = slice(int(pools), int(pools) + 1) if len(pools) == 1 else pools
                labels, posterior = self._look(state, kernels, part, classes, size, outlook)
                if leave_out:
                    outlook.left_out[part] = posterior.left_out(labels)
        return outlook

    def _look(
        self, state: PoolState, kernels: "_Kernels", pools: slice | Tensor, classes: int, size: int, outlook: Outlook
    ) -> tuple[Tensor, Posterior]:
        """Write what is believed of some of the pools, all of C classes, into `outlook`; `size` candidates at once.

        Returns:
            Labels of the picks `[E', P]`, -1 for those that wait, and what the process knows after them.
        """
        rows, known = state.picks[pools].clamp_min(0), state.counted_picks[pools]
        labels = state.labels[pools].gather(1, rows)
        posterior = condition(kernels.between(pools, rows, rows), labels, known, classes, self.noise)
        reference = kernels.reference[pools]
        solved, mean = posterior.at(kernels.of_picks(pools, rows))
        there = state.exists[pools].gather(1, reference)[..., None]
        mean = mean * there  # rows that pad gain nothing, and add 0
        number = state.exists.shape[1]
        everyone = torch.arange(number, device=rows.device).expand(len(rows), -1)
        for block in slices(number, size):
            own_solved, own = solved[..., block], mean[:, block]
            if number > reference.shape[1]:  # else the reference rows are the candidates
                own_solved, own = posterior.at(kernels.between(pools, rows, everyone[:, block]))
            variance = kernels.variance[pools, block] - own_solved.square().sum(1)
            covariance = torch.baddbmm(kernels.to_reference(pools, block), own_solved.mT, solved, alpha=-1)
            gain = covariance / (variance + self.noise)[..., None]
            expected = expected_accuracy(mean, own, gain, self.classes) / there.sum(1).clamp_min(1)
            outlook.expected[pools, block] = expected.where(state.exists[pools, block], 0.0)
            outlook.mean[pools, block, :classes] = own
            outlook.variance[pools, block] = variance
        return labels, posterior


class _Kernels:
    """Prior covariances of the rows of E pools; 0 with rows that pad."""

    def __init__(self, geometry: Geometry, weight: float, most: int) -> None:
        self.x, self.exists, self.reference = geometry.x, geometry.exists, geometry.drawn(most)
        self.weight = weight
        self.spread, self.length = scales(geometry)
        linear = self.x.square().sum(-1, dtype=torch.float64) / self.length[:, None]
        self.variance = (weight + (1 - weight) * linear).float()  # [E, N]
        self.matrix: Tensor | None = None
        pools, rows = self.exists.shape
        if self.exists.numel() * self.reference.shape[1] <= _MATRIX:
            size = _BLOCK // (rows * self.reference.shape[1])
            self.matrix = torch.cat([self.to_reference(part, slice(rows)) for part in slices(pools, size)])

    def to_reference(self, pools: slice | Tensor, block: slice) -> Tensor:
        """Return the covariances of a block of rows with the reference rows, `[E', B, R]` float32."""
        if self.matrix is not None:
            return self.matrix[pools, block]
        reference = self.reference[pools]
        rows = torch.arange(self.x.shape[1], device=self.x.device)[block].expand(len(reference), -1)
        return self.between(pools, rows, reference).float()

    def of_picks(self, pools: slice | Tensor, picks: Tensor) -> Tensor:
        """Return the covariances of picks `[E', P]` with the reference rows, `[E', P, R]`."""
        if self.matrix is None:
            return self.between(pools, picks, self.reference[pools])
        return self.matrix[pools].gather(1, picks[..., None].expand(-1, -1, self.matrix.shape[2]))

    def between(self, pools: slice | Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the covariances of rows `[E', A]` with rows `[E', B]`, `[E', A, B]` float64."""
        x, exists = self.x[pools], self.exists[pools]
        found = kernel(rows_of(x, first), rows_of(x, second), self.weight, self.spread[pools], self.length[pools])
        return found.mul_(exists.gather(1, second)[:, None])
