"""An image encoder as a classifier on its own: n-way k-shot accuracy by the nearest mean code."""

from collections.abc import Mapping, Sequence

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
COLUMNS = ["classes", "labelled images of each", "accuracy", "interval"]


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
    return _shown(pd.DataFrame(rows, columns=COLUMNS), "episodes")


def few_shot_table_of_runs(runs: Mapping[str, Sequence[pd.DataFrame]]) -> Table | None:
    """Return the table of the encoders of several runs, None without any.

    Args:
        runs: by label, the numbers of `few_shot_table` of each seed. The accuracy is the mean over seeds, with its
            interval; that of a single seed has the interval over episodes. A label whose encoders are those of an
            earlier one has no rows.
    """
    found: dict[str, pd.DataFrame] = {}
    for label, tables in runs.items():
        numbers = _over_seeds(tables) if len(tables) > 1 else tables[0]
        if not any(numbers.equals(other) for other in found.values()):
            found[label] = numbers
    if not found:
        return None
    seeds = {len(tables) for tables in runs.values()}
    over = "episodes" if seeds == {1} else "seeds" if min(seeds) > 1 else "seeds, or over episodes where there is one"
    if len(found) == 1:
        return _shown(next(iter(found.values())), over)
    return _shown(pd.concat(found, names=["policy"]).reset_index("policy").reset_index(drop=True), over)


def _over_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean accuracy of each setting over seeds, with its interval."""
    rows = []
    for setting, accuracies in pd.concat(tables).groupby(COLUMNS[:2], sort=False)["accuracy"]:
        several = mean_interval(accuracies.tolist())
        rows.append((*setting, several.mean, several.half_width))
    return pd.DataFrame(rows, columns=COLUMNS)


def _shown(numbers: pd.DataFrame, over: str) -> Table:
    """Return the table with its text; `over` says what the intervals are over."""
    shown = numbers.astype(str).drop(columns="interval")
    pairs = numbers[["accuracy", "interval"]].fillna(0).to_numpy(float)
    shown["accuracy"] = [f"{100 * mean:.1f} ± {100 * half:.1f}" for mean, half in pairs]
    note = (
        f"Accuracy, %, by the nearest mean code, on classes never trained on. ±: half of a 95 % interval over {over}."
    )
    return Table("few_shot", numbers, shown, title="The image encoder as a classifier", note=note)
