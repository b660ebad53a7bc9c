"""What a trained policy reads of a pool: numbers per candidate and per pool, none tied to features or classes.

One function of `PoolState`, used by the environment, by training and for a user's own pool alike.
"""

import torch
from torch import Tensor

from almeta.strategies import uncertainty
from almeta.strategies.pool import PoolState

CANDIDATE_INPUTS = (
    "entropy",
    "margin",
    "top probability",
    "distance to the nearest pick",
    "density",
    "share of the predicted class among labels",
    "share of the predicted class among predictions",
    "top share of the neighbour vote",
    "entropy of the neighbour vote",
    "vote against learner",
    "vote for the predicted class",
    "mean entropy of the neighbours",
    "neighbours of the same prediction",
    "picked share of the neighbours",
    "open mass around",
    "picked mass around",
    "rank of margin",
    "rank of distance",
    "rank of density",
    "price",
    "unexplained share",
    "rank of unexplained share",
)
POOL_INPUTS = (
    "progress",
    "labels",
    "classes",
    "classes seen",
    "mean entropy",
    "mean margin",
    "mean distance",
    "mean vote against learner",
    "rows left",
    "mean unexplained share",
)


def candidate_inputs(state: PoolState) -> tuple[Tensor, Tensor]:
    """What a policy may look at.

    Args:
        state: of E pools.

    Returns:
        Numbers per candidate `[E, N, F]`, in the order of `CANDIDATE_INPUTS`, and per pool `[E, G]`, in that of
        `POOL_INPUTS`; float32, finite, mostly within [-3, 3] (prices as they are). Rows that are not available have
        zeros.
    """
    open_ = state.available
    probabilities, classes = state.probabilities, state.probabilities.shape[-1]
    top, predicted = probabilities.max(-1)
    margin = -uncertainty.margin(probabilities)
    log_classes = state.num_classes.clamp_min(2).log()[:, None]
    entropy = torch.special.entr(probabilities).sum(-1) / log_classes

    geometry = state.geometry
    nearest = geometry.nearest_pick(state.picks) / geometry.scale[:, None]
    distance = nearest.clamp_max(20.0).log1p()
    around, gap = geometry.neighbours
    reached = gap.isfinite()
    mean_gap = gap.where(reached, 0.0).sum(-1) / reached.sum(-1).clamp_min(1)
    density = -(mean_gap / geometry.scale[:, None] + 1e-3).log()

    labels = state.labels
    by_label = _shares(labels.clamp_min(0), labels >= 0, classes)
    by_prediction = _shares(predicted, state.exists, classes)

    votes = geometry.votes(state.picks[:, : state.answered], labels, classes)
    mass = votes.sum(-1)
    # A weak prior in place of a division by zero: far from all labels the vote is that of the labels as a whole.
    vote = (votes + 1e-3 * by_label[:, None]) / (mass + 1e-3)[..., None]
    against = 0.5 * (vote - probabilities).abs().sum(-1)
    vote_top = vote.amax(-1)
    vote_entropy = torch.special.entr(vote).sum(-1) / log_classes
    vote_same = _pick_class(vote, predicted)

    weight = geometry.kernel(gap) * reached
    reached_count = reached.sum(-1).clamp_min(1)
    around_entropy = (_of(entropy, around) * reached).sum(-1) / reached_count
    around_same = ((_of(predicted, around) == predicted[..., None]) & reached).sum(-1) / reached_count
    taken = (state.exists & ~open_).float()
    around_taken = (_of(taken, around) * reached).sum(-1) / reached_count
    open_mass = (weight * _of(open_.float(), around)).sum(-1) / reached_count

    unexplained = _unexplained(state)
    columns = (
        entropy,
        margin,
        top,
        distance - _mean(distance, open_)[:, None],
        (density - _mean(density, open_)[:, None]).clamp(-4.0, 4.0),
        by_label.gather(1, predicted),
        by_prediction.gather(1, predicted),
        vote_top,
        vote_entropy,
        against,
        vote_same,
        around_entropy,
        around_same,
        around_taken,
        open_mass,
        mass.log1p(),
        _ranks(margin, open_),
        _ranks(distance, open_),
        _ranks(density, open_),
        state.prices,
        unexplained - _mean(unexplained, open_)[:, None],
        _ranks(unexplained, open_),
    )
    candidates = torch.stack(columns, -1).masked_fill(~open_[..., None], 0.0)

    known = (labels >= 0).sum(1)
    pool = (
        torch.full_like(state.prices[:, 0], state.spent / max(1, state.budget)),
        known.float().log1p() / 3,
        state.num_classes.float().log(),
        (by_label > 0).sum(1) / state.num_classes,
        _mean(entropy, open_),
        _mean(margin, open_),
        _mean(distance, open_),
        _mean(against, open_),
        open_.sum(1).float().log1p() / 5,
        _mean(unexplained, open_),
    )
    return candidates, torch.stack(pool, -1)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of `[E, N]` values over the rows where it counts, `[E]`."""
    return values.where(where, 0.0).sum(1) / where.sum(1).clamp_min(1)


def _shares(labels: Tensor, where: Tensor, classes: int) -> Tensor:
    """Share of each class among rows `[E, N]`, `[E, C]`."""
    counts = torch.zeros(len(labels), classes, device=labels.device)
    counts.scatter_add_(1, labels, where.float())
    return counts / counts.sum(1, keepdim=True).clamp_min(1.0)


def _of(values: Tensor, rows: Tensor) -> Tensor:
    """`[E, N]` values at rows `[E, N, K]`."""
    return values.gather(1, rows.flatten(1)).view(rows.shape)


def _pick_class(shares: Tensor, classes: Tensor) -> Tensor:
    """`[E, N, C]` at classes `[E, N]`."""
    return shares.gather(-1, classes[..., None]).squeeze(-1)


def _ranks(values: Tensor, where: Tensor) -> Tensor:
    """Rank of each value among those that count, from 0 for the lowest to 1, equal ones share theirs; `[E, N]`."""
    ordered = values.masked_fill(~where, torch.inf).sort(1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return 0.5 * (below + up_to - 1) / (where.sum(1, keepdim=True) - 1).clamp_min(1)


def _unexplained(state: PoolState) -> Tensor:
    """How much of each row's squared length lies outside of what the labelled rows span, softly; `[E, N]` in [0, 1].

    It is the share of the variance that is left to a linear model with a unit Gaussian prior on its weights after it
    has seen those rows with unit noise.
    """
    x, _, known = state.labelled_rows()
    if not x.shape[1]:
        return torch.ones_like(state.prices)
    x = x * known[..., None]
    cross = state.x @ x.mT  # [E, N, L]
    gram = x.double() @ x.double().mT  # in float64: with features of thousands the noise would be lost to rounding
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal.add_(1.0 + 1e-7 * diagonal.amax(1, keepdim=True))
    factor = torch.linalg.cholesky(gram)
    # |factor^-1 cross|^2: one triangular system, and a sum of squares cannot come out negative
    spanned = torch.linalg.solve_triangular(factor, cross.mT.double(), upper=False).square().sum(1)
    length = torch.linalg.vector_norm(state.x, dim=-1, dtype=torch.float64).square().clamp_min(1e-6)
    return (1 - spanned / length).clamp(0.0, 1.0).float()
