"""An image encoder as a classifier on its own: n-way k-shot accuracy by the nearest mean code."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from almeta.envs.codes import kept_codes
from almeta.evaluation.report import Table
from almeta.evaluation.statistics import Estimate, mean_interval
from almeta.seeding import make_generator
from almeta.stream import Encodes
from almeta.tasks import StreamSampler

# Classes and labelled images of each, as papers report them.
SETTINGS = ((3, 1), (5, 1), (5, 5), (20, 1), (20, 5))
QUERIES = 5


def few_shot_accuracy(
    encoder: Encodes, sampler: StreamSampler, ways: int, shots: int, episodes: int, generator: torch.Generator
) -> Estimate:
    """Return the mean accuracy over episodes, with its 95 % interval.

    In each episode, 5 further images of each class are classified by the nearest of the classes' mean codes (Snell et
    al. 2017, arXiv 1703.05175). Each class is rotated as in a stream.

    Args:
        encoder: an actor with an encoder that is frozen.
        sampler: of classes that it was not trained on.
        ways: classes of an episode.
        shots: labelled images of each.
        episodes: number of episodes.
        generator: draws them.
    """
    right = []
    for _ in range(episodes):
        rows = sampler.draw_classes(ways, shots + QUERIES, generator)
        codes = kept_codes(encoder, sampler.images, rows)  # [W, K + Q, F]
        right.append(_accuracy(codes[:, :shots].mean(1), codes[:, shots:]))
    return mean_interval(torch.stack(right).tolist())


def _accuracy(means: Tensor, queries: Tensor) -> Tensor:
    """Return the share of queries `[W, Q, F]` whose nearest mean `[W, F]` is that of their class, a scalar."""
    nearest = torch.cdist(queries, means.expand(len(queries), -1, -1)).argmin(-1)
    return (nearest == torch.arange(len(means), device=means.device)[:, None]).float().mean()


def few_shot_table(encoder: Encodes, sampler: StreamSampler, episodes: int, seed: int) -> Table | None:
    """Return the accuracy of an encoder in the usual settings for which there are classes and images enough, if any."""
    rows: list[Sequence[object]] = []
    for ways, shots in SETTINGS:
        if ways > sampler.num_all_classes or shots + QUERIES > sampler.fewest_images:
            continue
        found = few_shot_accuracy(
            encoder, sampler, ways, shots, episodes, make_generator(seed, "few shots", sampler.images.device)
        )
        rows.append((ways, shots, found.mean, found.half_width))
    if not rows:
        return None
    numbers = pd.DataFrame(rows, columns=["classes", "labelled images of each", "accuracy", "interval"])
    shown = numbers.astype(str).copy()
    shown["accuracy"] = [f"{100 * mean:.1f} ± {100 * (half or 0):.1f}" for mean, half in numbers.iloc[:, 2:].to_numpy()]
    shown = shown.drop(columns="interval")
    note = (
        "Accuracy, %, by the nearest mean code, on classes never trained on. ±: half of a 95 % interval over episodes."
    )
    return Table("few_shot", numbers, shown, title="The image encoder as a classifier", note=note)
