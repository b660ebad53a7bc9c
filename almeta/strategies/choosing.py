"""Choosing actions by their utilities, for strategies and policies alike."""

import torch
from torch import Tensor


def best_action(utilities: Tensor, action_mask: Tensor, generator: torch.Generator) -> Tensor:
    """Return the allowed action of highest utility, `[E]` int64.

    Args:
        utilities: `[E, A]` float; higher is better, `-inf` cannot be picked.
        action_mask: `[E, A]` bool, at least one True a row.
        generator: breaks ties, on the device of `utilities`.
    """
    allowed = utilities.masked_fill(~action_mask, -torch.inf)
    is_best = (allowed == allowed.amax(-1, keepdim=True)) & action_mask
    drawn = torch.rand(utilities.shape, generator=generator, device=utilities.device)
    return drawn.masked_fill(~is_best, -1.0).argmax(-1)


def best_actions(utilities: Tensor, action_mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the `count` allowed actions of highest utility, the best first, `[E, count]` int64; -1 where none is left.

    Args are those of `best_action`, but that a row without any True is allowed.
    """
    shuffled = torch.rand(utilities.shape, generator=generator, device=utilities.device).argsort(1)
    allowed = utilities.masked_fill(~action_mask, -torch.inf).gather(1, shuffled)
    order = shuffled.gather(1, allowed.argsort(dim=1, descending=True, stable=True))[:, :count]
    order = order.where(action_mask.gather(1, order), -1)
    return torch.nn.functional.pad(order, (0, count - order.shape[1]), value=-1)


def z_scores(utilities: Tensor, available: Tensor) -> Tensor:
    """Return (u - mean) / standard deviation over the available rows of each pool, `[E, N]`; 0 where all are alike.

    Args:
        utilities: `[E, N]`, finite for available rows.
        available: `[E, N]` bool.
    """
    values = utilities.double().where(available, 0.0)
    count = available.sum(1, keepdim=True).clamp_min(1)
    centred = (values - values.sum(1, keepdim=True) / count).where(available, 0.0)
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    alike = deviation <= 1e-9 * values.abs().amax(1, keepdim=True)
    return torch.where(alike, 0.0, centred / deviation).float()


# Finite, so that a masked action has no gradient and no nan: 0 * -1e8 is 0 where 0 * -inf is nan.
NEVER = -1e8


def sample_action(logits: Tensor, action_mask: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an allowed action with probability proportional to exp(logit), by Gumbel's trick: `[E]` int64.

    Args are those of `best_action`.
    """
    allowed = logits.masked_fill(~action_mask, NEVER)
    uniform = torch.rand(allowed.shape, generator=generator, device=allowed.device)
    return (allowed - (-uniform.clamp_min(1e-20).log()).log()).argmax(-1)


def draw_row(weight: Tensor, uniform: Tensor) -> Tensor:
    """Draw a row with probability proportional to its weight: `[E]` int64, -1 where all weights are 0.

    One random number a pool decides, so that rows that pad, of weight 0 at the end, do not change what is drawn.

    Args:
        weight: `[E, N]` float64, at least 0.
        uniform: `[E]` float64, random numbers in [0, 1).
    """
    sums = weight.cumsum(1)
    total = sums[:, -1]
    mark = torch.minimum(uniform * total, total.nextafter(-total))  # a product may be rounded up to the sum
    return torch.searchsorted(sums, mark[:, None], right=True)[:, 0].where(total > 0, -1)
