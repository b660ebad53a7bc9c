"""Adversarial examples: small moves of rows that change what a model says of them, for E episodes at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from almeta.learners.learner import Rng

# Rows `[E, B, D]` -> logits or log-probabilities `[E, B, C]`, each of its own row alone; -inf where a class is barred.
Logits = Callable[[Tensor], Tensor]
# The least and the largest value that a feature may have, both `[E, 1, 1]`.
Bounds = tuple[Tensor, Tensor]

# Numbers of the rows that are derived at once, so that memory stays bounded.
_BLOCK = 1 << 19
_OVERSHOOT = 0.02


def fgsm(logits: Logits, x: Tensor, y: Tensor, epsilon: float, bounds: Bounds | None = None) -> Tensor:
    """Return rows moved by the fast gradient sign method, `[E, M, D]`: x + epsilon * sign(dJ/dx).

    I. Goodfellow, J. Shlens & C. Szegedy, Explaining and harnessing adversarial examples, ICLR 2015, section 4.

    Args:
        logits: of the model; J is the cross-entropy of their softmax.
        x: `[E, M, D]` float32.
        y: `[E, M]` int64, the labels from which to move away.
        epsilon: the change of a feature.
        bounds: beyond which no feature goes; None for none.
    """
    return _bounded(x + epsilon * _loss_gradient(logits, x, y).sign(), bounds)


def pgd(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    steps: int,
    generator: Rng = None,
    bounds: Bounds | None = None,
) -> Tensor:
    """Return rows moved by projected gradient descent, `[E, M, D]`, each feature by at most epsilon.

    A. Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, section 2.1. It begins
    anywhere in the box of side 2 epsilon around a row; after each step along the sign of the gradient the row is put
    back into the box. A step is 2.5 epsilon / steps, so that it can reach any side of the box (their appendix).

    Args:
        logits: as in `fgsm`, and so are `x`, `y`, `epsilon` and `bounds`.
        x: see `logits`.
        y: see `logits`.
        epsilon: see `logits`.
        steps: at least 1.
        generator: draws the begin; None for one of seed 0.
        bounds: see `logits`.
    """
    generator = generator or torch.Generator(x.device).manual_seed(0)
    moved = x + epsilon * (2 * torch.rand(x.shape, generator=generator, device=x.device) - 1)
    for _ in range(steps):
        moved = moved + 2.5 * epsilon / steps * _loss_gradient(logits, moved, y).sign()
        moved = _bounded(moved.clamp(x - epsilon, x + epsilon), bounds)
    return moved


class Crossing(NamedTuple):
    """How rows get over the nearest decision boundary.

    Attributes:
        moves: `[E, M, D]` float32, from the rows to the boundary.
        crossed: `[E, M]` bool, whether a move that is 2 % longer changes the label; False where no way was found.
    """

    moves: Tensor
    crossed: Tensor


def deepfool(logits: Logits, x: Tensor, steps: int) -> Crossing:
    """Return short moves of rows to the decision boundary, found by linearising the logits again and again.

    S. Moosavi-Dezfooli, A. Fawzi & P. Frossard, DeepFool, CVPR 2016, algorithm 2 for the Euclidean norm, with the
    overshoot of 0.02 within the loop, as in the code of the authors. Of linear logits the move is the shortest one, and
    |f_k - f_l| / ||w_k - w_l|| long.

    Args:
        logits: of the model.
        x: `[E, M, D]` float32.
        steps: at most so many linearisations.
    """
    blocks = [_deepfool(logits, part, steps) for part in x.split(_rows_of_block(x), 1)]
    return Crossing(torch.cat([one.moves for one in blocks], 1), torch.cat([one.crossed for one in blocks], 1))


def _deepfool(logits: Logits, x: Tensor, steps: int) -> Crossing:
    moves, label = torch.zeros_like(x), logits(x).argmax(-1, keepdim=True)
    for _ in range(steps):
        values, gradients = _derived(logits, x + (1 + _OVERSHOOT) * moves)
        same = values.argmax(-1, keepdim=True) == label
        if not same.any():
            break
        # Each rival class's lead over the label, f_k - f_label, and its gradient.
        lead = values - values.gather(2, label)
        slope = gradients - gradients.take_along_dim(label[..., None], 2)
        length = slope.norm(dim=-1)
        distance = (lead.abs() / length).masked_fill(length == 0, torch.inf).scatter(2, label, torch.inf)
        least, nearest = distance.min(-1, keepdim=True)
        direction = slope.take_along_dim(nearest[..., None], 2).squeeze(2) / length.gather(2, nearest)
        moves = moves + (least * direction).where(same & least.isfinite(), 0.0)
    return Crossing(moves, (logits(x + (1 + _OVERSHOOT) * moves).argmax(-1, keepdim=True) != label).squeeze(2))


def range_of(x: Tensor, counted: Tensor) -> Bounds:
    """Return the least and the largest value of the rows that count, of `[E, M, D]` and `[E, M]` bool.

    They are those of all features together: pixels of images have one range. Where no row counts there are no bounds.
    """
    some = counted.any(1)[:, None, None]
    low = x.masked_fill(~counted[..., None], torch.inf).amin((1, 2), keepdim=True)
    high = x.masked_fill(~counted[..., None], -torch.inf).amax((1, 2), keepdim=True)
    return low.where(some, -torch.inf), high.where(some, torch.inf)


def _bounded(x: Tensor, bounds: Bounds | None) -> Tensor:
    return x if bounds is None else x.clamp(*bounds)


def _rows_of_block(x: Tensor) -> int:
    return max(1, _BLOCK // max(1, len(x) * x.shape[2]))


def _loss_gradient(logits: Logits, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient `[E, M, D]` of each row's cross-entropy by the row; it is computed block by block of rows."""
    size = _rows_of_block(x)
    gradients = []
    for rows, labels in zip(x.split(size, 1), y.split(size, 1), strict=True):
        with torch.enable_grad():
            rows = rows.detach().requires_grad_()
            loss = -logits(rows).log_softmax(-1).gather(2, labels[..., None]).sum()
            gradients.append(torch.autograd.grad(loss, rows)[0])
    return torch.cat(gradients, 1)


def _derived(logits: Logits, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits `[E, B, C]` of rows, and their gradients `[E, B, C, D]` by the row."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        values = logits(x)
        parts = [torch.autograd.grad(of.sum(), x, retain_graph=True)[0] for of in values.unbind(-1)]
    return values.detach(), torch.stack(parts, 2)
