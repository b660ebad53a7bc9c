"""What LAL-RL reads of a pool: Konyushkova, Sznitman & Fua 2018, arXiv 1810.04114."""

from dataclasses import dataclass

import torch
from torch import Tensor

from almeta.checks import Count, check_fields
from almeta.geometry import fixed_draw
from almeta.inputs.inputs import PoolInputs
from almeta.pool import PoolState
from almeta.strategies import uncertainty


@dataclass(frozen=True)
class LalRL(PoolInputs):
    """The learner's sorted probabilities on rows set aside, and three numbers about each candidate.

    The paper has two classes, and the probability is that of the first one. With more classes it is (1 + margin) / 2,
    which for two classes would be the larger probability: 1/2 where the learner is torn between two classes, 1 where it
    is sure. The rows set aside are the first ones without a label in a fixed random order of the rows, so that the
    labels of all of them are unknown; they may be picked, and another row then takes their place. The paper's lie
    outside the pool.

    Args:
        rows_aside: S, rows set aside; of a pool with fewer rows without a label, S quantiles of their probabilities.
    """

    rows_aside: Count = 30

    candidate_names = (
        "probability",
        "mean cosine distance to unlabelled rows",
        "mean cosine distance to labelled rows",
    )

    def __post_init__(self) -> None:
        check_fields(self, "inputs")

    @property
    def pool_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"probability {place} of the rows set aside" for place in range(1, self.rows_aside + 1))

    def read(self, state: PoolState) -> tuple[Tensor, Tensor]:
        probability, labelled, unlabelled = _probability(state), state.is_labelled, state.is_unlabelled
        directions = state.geometry.keep("directions", lambda: torch.nn.functional.normalize(state.x, dim=-1))
        distances = [_mean_cosine_distance(directions, rows) for rows in (unlabelled, labelled)]
        return torch.stack((probability, *distances), -1), self._sorted(probability, unlabelled, state.annotators)

    def _sorted(self, probability: Tensor, unlabelled: Tensor, annotators: int) -> Tensor:
        """Return the sorted probabilities `[E, S]` on the rows set aside; 0 in a pool whose labels are all known."""
        rows, count = probability.shape[1], min(self.rows_aside, probability.shape[1])
        drawn = fixed_draw(rows // annotators, probability.device).repeat_interleave(annotators)
        order = drawn.where(unlabelled, 2.0)
        aside = order.topk(count, largest=False).indices
        there = unlabelled.gather(1, aside)
        ordered = probability.gather(1, aside).masked_fill(~there, torch.inf).sort(1).values
        number = there.sum(1, keepdim=True)
        share = torch.linspace(0.0, 1.0, self.rows_aside, dtype=torch.float64, device=probability.device)
        place = share * (number - 1).clamp_min(0)  # [E, S]; of S rows each exactly one
        low = place.floor()
        first, second = (ordered.gather(1, part.long()) for part in (low, place.ceil()))
        values = torch.lerp(first, second, (place - low).float())
        return values.where(number > 0, 0.0)


def _probability(state: PoolState) -> Tensor:
    """Return `[E, N]` in [0, 1]: of two classes the probability of the first, of more (1 + margin) / 2."""
    larger = 0.5 - 0.5 * uncertainty.margin(state.probabilities)
    return torch.where(state.num_classes[:, None] == 2, state.probabilities[..., 0], larger)


def _mean_cosine_distance(directions: Tensor, rows: Tensor) -> Tensor:
    """Return 1 - cos, its mean over some rows `[E, N]` bool, themselves among them; 1, a right angle, to none.

    `directions` are the rows' features `[E, N, D]`, of length 1; a row of zeros is at a right angle to all.
    """
    weight = rows / rows.sum(1, keepdim=True).clamp_min(1)
    mean = (weight[:, None] @ directions).squeeze(1)  # [E, D]
    return 1 - (directions @ mean[..., None]).squeeze(-1)
