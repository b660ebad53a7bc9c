"""Numbers per candidate and per pool, with those of a look one label ahead."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from almeta.inputs.candidates import CANDIDATE, POOL, Known, mean_of, numbers_of, ranks
from almeta.inputs.inputs import PoolInputs
from almeta.pool import PoolState, for_questions
from almeta.strategies import uncertainty
from almeta.strategies.choosing import z_scores
from almeta.strategies.look_ahead import LookAhead, Outlook, shares

# Looking at all rows of a larger pool would make a pick take long.
ROWS = 512
# Standard scores are linear up to this.
_FAR = 4.0


class _Ahead(Known):
    """What `Known` has, and what a look one label ahead has."""

    @cached_property
    def outlook(self) -> Outlook:
        return LookAhead(rows=ROWS).look(self.state, leave_out=True)

    @cached_property
    def belief(self) -> Tensor:
        """`[E, N, C]`, the Gaussian process's probabilities."""
        return shares(self.outlook.mean, self.state.num_classes)

    @cached_property
    def doubt(self) -> Tensor:
        """`[E, N]` in [0, 1], the entropy of the belief over that of equally likely classes."""
        return uncertainty.entropy(self.belief) / self.log_classes

    @cached_property
    def dispute(self) -> Tensor:
        """`[E, N]` in [0, 1], the total variation between the belief and the learner's probabilities."""
        return 0.5 * (self.belief - self.probabilities).abs().sum(-1)

    @cached_property
    def mean_expected(self) -> Tensor:
        """`[E]`, the pool's expected accuracy after the label of a random row."""
        return mean_of(self.outlook.expected, self.open)

    @cached_property
    def spread(self) -> Tensor:
        """`[E]`, the standard deviation of the expected accuracy over the rows that may be picked."""
        return mean_of((self.outlook.expected - self.mean_expected[:, None]).square(), self.open).sqrt()

    @cached_property
    def promise(self) -> Tensor:
        """`[E, N]`, the expected accuracy in standard deviations."""
        return self.z(self.outlook.expected)

    def z(self, values: Tensor) -> Tensor:
        """Return `[E, N]` values in standard deviations over the rows that may be picked.

        Those that stand out are drawn in by a logarithm and not cut off, so that the best row of a rule stays the best.
        """
        scores = for_questions(z_scores(values, self.open), self.state.annotators).clamp_min(-_FAR)
        return torch.where(scores > _FAR, _FAR + (scores - _FAR).clamp_min(0.0).log1p(), scores)


AHEAD: dict[str, Callable[[_Ahead], Tensor]] = {
    "look-ahead": lambda known: known.promise,
    "look-ahead and margin": lambda known: known.promise + known.z(-known.margin),
    "rank of look-ahead": lambda known: ranks(known.outlook.expected, known.open),
    "entropy of the belief": lambda known: known.doubt,
    "margin of the belief": lambda known: -uncertainty.margin(known.belief),
    "belief against learner": lambda known: known.dispute,
    "belief in the predicted class": lambda known: known.belief.gather(-1, known.predicted[..., None]).squeeze(-1),
    "variance of the belief": lambda known: known.outlook.variance.clamp_max(5.0),
    "length": lambda known: known.z(torch.linalg.vector_norm(known.state.x, dim=-1)),
    "relative margin": lambda known: known.z(known.margin),
    "relative entropy of the neighbours": lambda known: known.z(known.entropy_around),
    "relative open mass": lambda known: known.z(known.open_mass),
}
POOL_AHEAD: dict[str, Callable[[_Ahead], Tensor]] = {
    "mean entropy of the belief": lambda known: mean_of(known.doubt, known.open),
    "mean belief against learner": lambda known: mean_of(known.dispute, known.open),
    "spread of look-ahead": lambda known: (known.spread + 1e-5).log() / 3,
    "expected accuracy": lambda known: known.mean_expected,
    "left-out labels predicted": lambda known: known.outlook.left_out,
    "share of the commonest label": lambda known: known.by_label.amax(-1),
    "share of the commonest prediction": lambda known: known.by_prediction.amax(-1),
}


class LookAheadCandidates(PoolInputs):
    """The numbers of `Candidates`, and what `LookAhead` with its defaults says of each row.

    Of a pool of more than 512 rows it looks at 512, drawn at random, so that choosing from 1,000 rows takes
    milliseconds. They are drawn by the places of the rows, whose order then matters a little.
    """

    candidate_names = (*CANDIDATE, *AHEAD)
    pool_names = (*POOL, *POOL_AHEAD)

    def read(self, state: PoolState) -> tuple[Tensor, Tensor]:
        known = _Ahead(state)
        return numbers_of(known, {**CANDIDATE, **AHEAD}), numbers_of(known, {**POOL, **POOL_AHEAD})
