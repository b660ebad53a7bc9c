"""What missing cells may hold, given those that are known: a Gaussian for E tables at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Share of a column's variance that counts as its own noise; it keeps the systems below well-posed.
_NOISE = 0.1


@dataclass(frozen=True)
class GaussianBelief:
    """The mean and covariance of E tables' columns, from the cells that are known.

    The covariance is that of the table whose missing cells hold their column's mean, with each column scaled so that
    its variance is that of its known cells. It is positive semi-definite, and two columns are the less related the less
    often both are known.

    Attributes:
        mean: `[E, 1, D]` float32.
        covariance: `[E, D, D]` float32.
    """

    mean: Tensor
    covariance: Tensor

    @classmethod
    def fit(cls, values: Tensor, known: Tensor) -> "GaussianBelief":
        """Return the belief of tables.

        Args:
            values: `[E, N, D]` float32; any finite number where a cell is not known.
            known: `[E, N, D]` bool; a column without any known cell has mean and variance 0.
        """
        count = known.sum(1, keepdim=True).clamp_min(1)
        mean = values.where(known, 0.0).sum(1, keepdim=True) / count
        centred = (values - mean).where(known, 0.0) / count.sqrt()
        return cls(mean, centred.mT @ centred)

    def fill(self, values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows with the expected value of each missing cell given the row's known ones, and its deviation.

        Args:
            values: `[E, M, D]` float32; any finite number where a cell is not known.
            known: `[E, M, D]` bool.

        Returns:
            `[E, M, D]` float32 each. A known cell is as it was, with a deviation of 0.
        """
        covariance, among = self.covariance[:, None], known[..., None] & known[..., None, :]
        variance = self.covariance.diagonal(dim1=1, dim2=2)[:, None]  # [E, 1, D]
        # The covariance of a row's known cells; the others stand apart, with variance 1, and have no say.
        own = torch.where(known, _NOISE * variance.clamp_min(1e-6), 1.0)
        system = covariance.where(among, 0.0) + torch.diag_embed(own)
        towards = covariance.where(known[..., None], 0.0).expand_as(system)  # from known cells to all, [E, M, D, D]
        apart = (values - self.mean).where(known, 0.0)[..., None]
        solved = torch.linalg.solve(system, torch.cat((apart, towards), -1))
        expected = self.mean + (towards.mT @ solved[..., :1]).squeeze(-1)
        left = variance - (towards * solved[..., 1:]).sum(-2)
        deviation = left.clamp_min(0.0).sqrt().where(~known, 0.0)
        return values.where(known, expected), deviation
