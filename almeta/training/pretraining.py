"""Training an image encoder before the agent: codes of one class close together, of two classes far apart."""

from collections.abc import Callable, Iterable
from typing import Annotated

import torch
from torch import Tensor, nn

from almeta.checks import Count, Positive, Within
from almeta.errors import AlmetaError
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


def pretrain_encoder(
    encoder: nn.Module,
    sampler: StreamSampler,
    generator: torch.Generator,
    batches: Count,
    ways: Annotated[int, Within(2)] = 60,
    shots: Annotated[int, Within(2)] = 4,
    learning_rate: Positive = 2e-3,
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
        images = sampler.draw_classes(ways, shots, generator)  # [W, M, P]
        loss = prototypical_loss(encoder(images.flatten(0, 1)).view(*images.shape[:2], -1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    encoder.eval().requires_grad_(False)
    return torch.stack(losses).tolist()
