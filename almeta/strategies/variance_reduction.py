"""Variance reduction: ask for the row that makes the learner's predictions of the pool vary least.

The variance of a prediction is the trace of the pool's Fisher information times the inverse of that of the labelled
rows: Zhang & Oles, ICML 2000; for multinomial logistic regression Schein & Ungar, Machine Learning 68, 2007
("A-optimality"), and Settles & Craven, EMNLP 2008, section 3.3 ("Fisher information").
"""

from typing import cast

import torch
from torch import Tensor

from almeta.checks import Count, Positive
from almeta.geometry import rows_of, slices
from almeta.learners.learner import Embeds
from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy

# Numbers held at once (32 MiB in float64).
_BLOCK = 1 << 22


def fisher_information(probabilities: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Return the Fisher information of a softmax regression, sum over rows of weight (diag(p) - p p^T) x (f f^T).

    Args:
        probabilities: p, `[E, M, C]` float64.
        features: f, `[E, M, H]` float64.
        weight: `[E, M]` float64.

    Returns:
        `[E, C * H, C * H]` float64, the weights of a class side by side.
    """
    pools, _, classes = probabilities.shape
    width = features.shape[-1]
    total = probabilities.new_zeros(pools, classes**2, width**2)
    for block in slices(features.shape[1], _BLOCK // (pools * (classes**2 + width**2))):
        f, p = features[:, block], probabilities[:, block]
        curvature = (p.diag_embed() - p[..., None] * p[..., None, :]) * weight[:, block, None, None]
        total += curvature.flatten(2).mT @ (f[..., None] * f[..., None, :]).flatten(2)
    return total.unflatten(2, (width, width)).unflatten(1, (classes, classes)).transpose(2, 3).flatten(3).flatten(1, 2)


def traces_reduced(inverse: Tensor, pool: Tensor, probabilities: Tensor, features: Tensor) -> Tensor:
    """Return tr(F_pool F^-1) - tr(F_pool (F + I(x))^-1) of rows x, `[E, M]` float64, at least 0.

    A row's information I(x) is U U^T of rank below C, with U = (diag(sqrt p) - p sqrt(p)^T) x f. By the identity of
    Woodbury the difference is tr((1 + U^T F^-1 U)^-1 U^T F^-1 F_pool F^-1 U).

    Args:
        inverse: F^-1, `[E, C * H, C * H]` float64.
        pool: F_pool, likewise.
        probabilities: `[E, M, C]` float64.
        features: `[E, M, H]` float64.
    """
    root = probabilities.sqrt()
    factor = root.diag_embed() - probabilities[..., None] * root[..., None, :]  # [E, M, C, C]
    kept, gained = (factor.mT @ _by_class(one, features) @ factor for one in (inverse, inverse @ pool @ inverse))
    kept.diagonal(dim1=2, dim2=3).add_(1)
    return torch.linalg.solve(kept, gained).diagonal(dim1=2, dim2=3).sum(-1)


def _by_class(matrix: Tensor, features: Tensor) -> Tensor:
    """Return f^T matrix[c, d] f for all pairs of classes, `[E, M, C, C]`, of a matrix `[E, C * H, C * H]`."""
    width = features.shape[-1]
    classes = matrix.shape[1] // width
    parts = matrix.unflatten(2, (classes, width)).unflatten(1, (classes, width)).permute(0, 2, 1, 3, 4)
    pushed = (features @ parts.flatten(2)).unflatten(2, (classes, classes, width))  # [E, M, C, C, H]
    return (pushed @ features[:, :, None, :, None]).squeeze(-1)


def principal_components(x: Tensor, exists: Tensor, num_components: int) -> Tensor:
    """Return the first principal components of rows `[E, M, H]`, `[E, M, K]` float64.

    There are H columns, those of x centred, if H <= K; and M if M < K and M < H.

    Args:
        x: float.
        exists: `[E, M]` bool, the rows that count.
        num_components: K.
    """
    parts = slices(len(x), _BLOCK // max(1, x.shape[1] * x.shape[2]))
    return torch.cat([_components(x[pools], exists[pools], num_components) for pools in parts])


def _components(x: Tensor, exists: Tensor, num_components: int) -> Tensor:
    """Return the principal components of a few pools; no copy of all their numbers is made in float64."""
    pools, rows, columns = x.shape
    counted = exists[..., None].double()
    blocks = list(slices(rows, _BLOCK // max(1, pools * columns)))
    total = torch.stack([(x[:, block].double() * counted[:, block]).sum(1) for block in blocks]).sum(0)
    mean = (total / counted.sum(1).clamp_min(1))[:, None]

    def centred(block: slice = slice(None), of: slice = slice(None)) -> Tensor:
        return (x[:, block, of].double() - mean[..., of]) * counted[:, block]

    if columns <= num_components:
        return centred()
    if rows < columns:  # the matrix of the rows' products is smaller, and has the same eigenvalues
        products = counted.new_zeros(pools, rows, rows)
        for of in slices(columns, _BLOCK // (pools * rows)):
            products.baddbmm_(part := centred(of=of), part.mT)
        values, vectors = torch.linalg.eigh(products)
        return vectors[..., -num_components:] * values[:, None, -num_components:].clamp_min(0).sqrt()
    products = counted.new_zeros(pools, columns, columns)
    for block in blocks:
        products.baddbmm_((part := centred(block)).mT, part)
    directions = torch.linalg.eigh(products).eigenvectors[..., -num_components:]
    return torch.cat([centred(block) @ directions for block in blocks], 1)


class VarianceReduction(PoolStrategy):
    """Ask for the row that lowers the variance of the predictions of the pool most, as far as the Fisher matrix tells.

    The learner's last layer is read as a softmax regression on its inputs, which are centred, with an intercept. The
    score is how much tr(F_pool F^-1) falls. F_pool is the mean Fisher information of the rows of the pool, or of 2048
    of a larger one; F is the sum over the labelled rows, plus the penalty. Labels do not matter beyond the learner's
    probabilities, so that picks count before they are answered.

    Args:
        num_components: the inputs are reduced to so many principal components, if they are more. Memory grows with the
            square of classes times components, the time of a query with the cube.
        penalty: added to the whole diagonal of F. For the weights this is the penalty of logistic regression with
            C = 1 / penalty, which leaves the intercept free; here the intercept has it, too, so that F has an inverse.
    """

    name = "variance_reduction"
    needs = (Embeds,)
    spreads = True

    def __init__(self, num_components: Count = 30, penalty: Positive = 1.0) -> None:
        self.num_components, self.penalty = num_components, penalty

    def score(self, state: PoolState) -> Tensor:
        features = self._features(state)
        classes, width = state.probabilities.shape[-1], features.shape[-1]
        scores = torch.empty_like(features[..., 0])
        for pools in slices(len(scores), _BLOCK // (classes * width) ** 2):
            scores[pools] = self._reduction(state, pools, features[pools])
        return scores.float()

    def _features(self, state: PoolState) -> Tensor:
        """Return the intercept's 1 and the components of what the last layer reads, `[E, N, 1 + K]` float64."""
        inputs = cast(Embeds, state.model).embed(state.x)

        def make() -> Tensor:
            components = principal_components(inputs, state.exists, self.num_components)
            return torch.cat((torch.ones_like(components[..., :1]), components), -1)

        if inputs is not state.x:  # a network reads other inputs after each fit
            return make()
        return state.geometry.keep((VarianceReduction, self.num_components), make)

    def _reduction(self, state: PoolState, pools: slice, features: Tensor) -> Tensor:
        """Return the scores `[E', N]` of some of the pools."""
        probabilities = state.probabilities[pools].double()
        reference = state.geometry.reference[pools]
        there = state.exists[pools].gather(1, reference).double()

        def information(rows: Tensor, weight: Tensor) -> Tensor:
            return fisher_information(rows_of(probabilities, rows), rows_of(features, rows), weight)

        pool = information(reference, there / there.sum(1, keepdim=True).clamp_min(1))
        labelled = information(state.picks[pools], state.counted_picks[pools].double())
        labelled.diagonal(dim1=1, dim2=2).add_(self.penalty)
        inverse = torch.linalg.inv(labelled)
        size = _BLOCK // (len(pool) * probabilities.shape[-1] ** 2 * features.shape[-1])
        parts = [
            traces_reduced(inverse, pool, probabilities[:, block], features[:, block])
            for block in slices(features.shape[1], size)
        ]
        return torch.cat(parts, 1)
