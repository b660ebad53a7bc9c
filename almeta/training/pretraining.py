"""Training an image encoder before the agent: codes of one class close together, of two classes far apart."""

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from almeta.checks import Count, Positive, Share, Within
from almeta.errors import AlmetaError
from almeta.learners.images import changed_at_random, distorted, thickened
from almeta.learners.siamese import contrastive_loss
from almeta.tasks import StreamSampler


def prototypical_loss(codes: Tensor) -> Tensor:
    """Return the mean cross-entropy of one-shot classification by nearest code (Snell et al. 2017, equation 2).

    Each image in turn represents its class; all images at other places are classified by squared distance.

    Args:
        codes: `[W, M, F]`, M >= 2 images of each of W classes.
    """
    ways, shots, size = codes.shape
    flat = codes.reshape(-1, size)
    logits = -torch.cdist(flat, flat).square().view(ways, shots, ways, shots)
    # [query class, query place, support class, support place] -> classes last
    logits = logits.permute(0, 1, 3, 2)
    log_probs = logits.log_softmax(-1)
    own = torch.arange(ways, device=codes.device)
    right = log_probs[own, :, :, own]  # [W, query place, support place]
    different = ~torch.eye(shots, dtype=torch.bool, device=codes.device)
    return -right[:, different].mean()


def siamese_loss(codes: Tensor, margin: float) -> Tensor:
    """Return the contrastive loss of all pairs (Hadsell, Chopra & LeCun 2006, equation 4), half for pairs of each kind.

    Two images of one class cost their squared distance, two of different classes the square of what their distance is
    short of the margin.

    Args:
        codes: `[W, M, F]`, M >= 2 images of each of W classes.
        margin: distance that different classes should have.
    """
    ways, shots, _ = codes.shape
    own = torch.arange(ways, device=codes.device).repeat_interleave(shots)[None]
    return contrastive_loss(codes.flatten(0, 1)[None], own, torch.ones_like(own, dtype=torch.bool), margin)[0]


def triplet_loss(codes: Tensor, margin: float) -> Tensor:
    """Return the triplet loss with semi-hard negatives (Schroff, Kalenichenko & Philbin 2015, arXiv 1503.03832).

    Each pair of one class is compared with one image of another class (equation 1 and section 3.2): of those that are
    farther from the first image than the second is, the nearest; the farthest of all if none is.

    Args:
        codes: `[W, M, F]`, M >= 2 images of each of W classes.
        margin: by how much the squared distance to another class should be larger.
    """
    distances, alike, different = _pairs(codes)
    square = distances.square()
    anchor, positive = alike.nonzero(as_tuple=True)
    near, others = square[anchor, positive], square[anchor]  # [P], [P, W M]
    other_class = different[anchor]
    semi_hard = others.where(other_class & (others > near[:, None]), torch.inf).amin(1)
    farthest = others.where(other_class, -torch.inf).amax(1)
    negative = torch.where(semi_hard.isfinite(), semi_hard, farthest)
    return (near - negative + margin).clamp_min(0).mean()


def _pairs(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances of all pairs of images, and which pairs are of one class and of two, all `[W M, W M]`."""
    ways, shots, size = codes.shape
    flat = codes.reshape(-1, size)
    same = (
        torch.eye(ways, dtype=torch.bool, device=codes.device).repeat_interleave(shots, 0).repeat_interleave(shots, 1)
    )
    itself = torch.eye(len(flat), dtype=torch.bool, device=codes.device)
    return torch.cdist(flat, flat), same & ~itself, ~same


def pretrain_encoder(
    encoder: nn.Module,
    sampler: StreamSampler,
    generator: torch.Generator,
    batches: Count,
    ways: Annotated[int, Within(2)] = 60,
    shots: Annotated[int, Within(2)] = 4,
    learning_rate: Positive = 2e-3,
    loss: Literal["prototypical", "siamese", "triplet"] = "prototypical",
    margin: Positive = 1.0,
    distort: Share = 0.0,
    thicken: Share = 0.0,
    track: Callable[[range], Iterable[int]] = iter,
) -> list[float]:
    """Train an encoder on the classes of a sampler, each rotated at random, freeze it, and return the batches' losses.

    Args:
        encoder: `[n, P]` images -> `[n, F]` codes; trained in place.
        sampler: the training classes.
        generator: draws the batches.
        batches: number of batches.
        ways: classes in a batch W.
        shots: images of each M.
        learning_rate: of Adam, falling linearly to zero.
        loss: `prototypical_loss`, `siamese_loss` or `triplet_loss`.
        margin: of `siamese_loss` or `triplet_loss`.
        distort: share of the images that are `distorted`, anew in each batch.
        thicken: share of the images that are `thickened`, anew in each batch.
        track: wraps the range of batches, to show progress.

    Raises:
        AlmetaError: if a class has fewer than 2 images.
    """
    if min(shots, sampler.fewest_images) < 2:
        raise AlmetaError(
            f"pretraining.shots={shots}, and the smallest class of data set '{sampler.name}' has "
            f"{sampler.fewest_images} image(s); the loss compares images of one class: use at least 2"
        )
    shots = min(shots, sampler.fewest_images)
    encoder.train().requires_grad_(True)
    optimizer = torch.optim.Adam(encoder.parameters(), learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, batches)
    losses = []
    for _ in track(range(batches)):
        rows = sampler.draw_classes(ways, shots, generator)  # [W, M]
        images = sampler.images[rows.flatten()]
        for share, change in ((thicken, thickened), (distort, distorted)):
            images = changed_at_random(images, share, change, generator)
        cost = _cost(loss, encoder(images).view(*rows.shape, -1), margin)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        schedule.step()
        losses.append(cost.detach())
    encoder.eval().requires_grad_(False)
    return torch.stack(losses).tolist()


def _cost(loss: str, codes: Tensor, margin: float) -> Tensor:
    if loss == "prototypical":
        return prototypical_loss(codes)
    return (siamese_loss if loss == "siamese" else triplet_loss)(codes, margin)
