"""What may be known where cells of a table are asked for."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.imputation import GaussianBelief
from almeta.learners.learner import Learner


@dataclass(frozen=True)
class FeatureState:
    """What may be known of E tables with missing cells: nothing of test rows, or of cells that are not known.

    But for this: all cells say which columns vary, and so exist, and fill in what the data set itself lacks.

    Action `row * D + column` asks for a cell; D is the number of columns to which tables are padded.

    Attributes:
        filled: `[E, N, D]` float32, known cells and the belief's expectation of the others, scaled by the cells known
            at the start; 0 for padding.
        deviation: `[E, N, D]` float32, how far the belief holds a cell may be from that; 0 for known cells and padding.
        known: `[E, N, D]` bool.
        exists: `[E, N, D]` bool, False for rows and columns that pad.
        labels: `[E, N]` int64, the label of each row; 0 for padding.
        num_classes: `[E]` int64.
        prices: `[E, N, D]` float32, what a cell costs, in units of the reward; 0 for padding.
        probabilities: `[E, N, C]` float32, the learner's for each row as it is filled.
        time: cells asked for so far.
        length: cells that may be asked for in all T.
        belief: of missing cells.
        learner: how the classifier is fit.
        model: the learner after its last fit, to the filled rows.
    """

    filled: Tensor
    deviation: Tensor
    known: Tensor
    exists: Tensor
    labels: Tensor
    num_classes: Tensor
    prices: Tensor
    probabilities: Tensor
    time: int
    length: int
    belief: GaussianBelief
    learner: Learner
    model: Any

    @property
    def missing(self) -> Tensor:
        """`[E, N, D]` bool, the cells that may be asked for."""
        return self.exists & ~self.known

    @property
    def available(self) -> Tensor:
        """`[E, N * D]` bool, the cells that may be asked for, in the order of the actions."""
        return self.missing.flatten(1)

    @property
    def action_mask(self) -> Tensor:
        """The same as `available`."""
        return self.available

    @property
    def rows(self) -> Tensor:
        """`[E, N]` bool, the rows that exist."""
        return self.exists.any(-1)

    def label_probabilities(self) -> Tensor:
        """Return the learner's probability of each row's own label, `[E, N]` float32."""
        return self.probabilities.gather(-1, self.labels[..., None]).squeeze(-1)

    def margins(self) -> Tensor:
        """Return by how much each row's most probable class leads the second, `[E, N]` float32 in [0, 1]."""
        first, second = torch.nn.functional.pad(self.probabilities, (0, 1)).topk(2, -1).values.unbind(-1)
        return first - second
