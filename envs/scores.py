"""How good a learner is on test rows, for E episodes at once: higher is better for every score.

`SCORES` are of classes; `NUMBER_SCORES` of targets that are numbers.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

ScoreName = Literal[
    "accuracy", "balanced_accuracy", "macro_f1", "neg_log_loss", "roc_auc", "true_probability", "weighted_f1"
]
NumberScoreName = Literal["neg_rmse", "r2"]
# (probabilities [E, M, C], true classes [E, M], which rows exist [E, M]) -> [E]; of numbers the
# first two are predicted and true ones, [E, M] each.
Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def accuracy(probabilities: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the share of rows whose most probable class is the true one, `[E]` float32 in [0, 1].

    Args:
        probabilities: `[E, M, C]`; of equally probable classes the first counts.
        y: `[E, M]` int64.
        exists: `[E, M]` bool, False for rows that pad.
    """
    right = (_predicted(probabilities) == y) & exists
    return right.sum(1) / exists.sum(1)


def balanced_accuracy(probabilities: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the mean recall of the classes among the test rows, `[E]` in [0, 1]; arguments as `accuracy`."""
    hits, _, actual = _confusion(probabilities, y, exists)
    there = actual > 0
    return (hits / actual.clamp_min(1)).sum(1) / there.sum(1)


def macro_f1(probabilities: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the mean F1 of the classes that occur or are predicted, `[E]` in [0, 1]; arguments as `accuracy`."""
    f1, predicted, actual = _f1(probabilities, y, exists)
    return f1.sum(1) / (predicted + actual > 0).sum(1)


def weighted_f1(probabilities: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the mean F1 of the classes by their number of rows, `[E]` in [0, 1]; arguments as `accuracy`."""
    f1, _, actual = _f1(probabilities, y, exists)
    return (f1 * actual).sum(1) / actual.sum(1)


def roc_auc(probabilities: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the area under the ROC curve of a class against the others, its mean over classes: `[E]` in [0, 1].

    It is the chance that a row of the class has a higher probability of it than a row of another class; equal ones
    count half (Hanley & McNeil, Radiology 143, 1982). Classes that are not among the rows are left out; rows of a
    single class have 0.5, as they tell nothing. Arguments as `accuracy`.
    """
    of_class = probabilities.movedim(-1, 1).masked_fill(~exists[:, None], torch.inf).contiguous()  # [E, C, M]
    ordered = of_class.sort(-1).values
    below, up_to = (torch.searchsorted(ordered, of_class, right=right) for right in (False, True))
    is_own = torch.nn.functional.one_hot(y, of_class.shape[1]).movedim(-1, 1) * exists[:, None]
    own = is_own.sum(-1).double()  # [E, C]; float32 cannot count the pairs
    others = exists.sum(1, keepdim=True) - own
    rank_sum = ((below + up_to + 1) * is_own).sum(-1) / 2.0  # of equal ones each has the mean of their ranks
    areas = (rank_sum - own * (own + 1) / 2) / (own * others).clamp_min(1)
    there = (own > 0) & (others > 0)
    return torch.where(there.any(1), (areas * there).sum(1) / there.sum(1).clamp_min(1), 0.5).float()


def neg_log_loss(probabilities: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the mean log-probability of the true class, `[E]`, at most 0; probabilities below 1e-7 count as 1e-7."""
    log_p = probabilities.gather(-1, y[..., None]).squeeze(-1).clamp_min(1e-7).log()
    return log_p.where(exists, 0.0).sum(1) / exists.sum(1)


def true_probability(probabilities: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the mean probability of the true class, `[E]` in [0, 1]: accuracy without its steps."""
    return probabilities.gather(-1, y[..., None]).squeeze(-1).where(exists, 0.0).sum(1) / exists.sum(1)


SCORES: dict[ScoreName, Score] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "neg_log_loss": neg_log_loss,
    "roc_auc": roc_auc,
    "true_probability": true_probability,
    "weighted_f1": weighted_f1,
}


def neg_rmse(predicted: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return minus the root of the mean squared error, `[E]` float32, at most 0, in the unit of the targets.

    Args:
        predicted: `[E, M]` float32.
        y: `[E, M]` float32.
        exists: `[E, M]` bool, False for rows that pad.
    """
    return -(_sum_of_squares(predicted - y, exists) / exists.sum(1)).sqrt().float()


def r2(predicted: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return the coefficient of determination, `[E]` float32, at most 1; arguments as `neg_rmse`.

    It is 1 less the squared error over that of the mean of y; below 0 for predictions that are worse than this mean,
    and 0 where all y are equal.
    """
    mean = y.double().where(exists, 0.0).sum(1, keepdim=True) / exists.sum(1, keepdim=True)
    whole = _sum_of_squares(y - mean, exists)
    missed = _sum_of_squares(predicted - y, exists)
    return torch.where(whole > 0, 1 - missed / whole.where(whole > 0, 1.0), 0.0).float()


def _sum_of_squares(errors: Tensor, exists: Tensor) -> Tensor:
    """Return `[E]` float64, the sum of squared errors `[E, M]`."""
    return errors.double().where(exists, 0.0).square().sum(1)


NUMBER_SCORES: dict[NumberScoreName, Score] = {"neg_rmse": neg_rmse, "r2": r2}


def _predicted(probabilities: Tensor) -> Tensor:
    """Return the most probable class, `[E, M]`."""
    return probabilities.max(-1).indices  # unlike argmax as fast where classes are not side by side


def _f1(probabilities: Tensor, y: Tensor, exists: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the F1 of each class, 0 for one that does not occur, and its predicted and actual rows, all `[E, C]`."""
    hits, predicted, actual = _confusion(probabilities, y, exists)
    return 2 * hits / (predicted + actual).clamp_min(1), predicted, actual


def _confusion(probabilities: Tensor, y: Tensor, exists: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number of rows of each class, `[E, C]` float32: found, predicted, and actual ones."""
    classes = probabilities.shape[-1]
    found = _predicted(probabilities)

    def count(labels: Tensor, which: Tensor) -> Tensor:
        zeros = torch.zeros(len(labels), classes, device=labels.device)
        return zeros.scatter_add_(1, labels, which.float())

    return count(y, (found == y) & exists), count(found, exists), count(y, exists)
