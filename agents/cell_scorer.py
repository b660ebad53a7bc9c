"""A network for tables with missing cells: utilities of any number of cells."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from almeta.agents.scorers import PoolScorer, Priors
from almeta.checks import Count, Weight
from almeta.inputs import CellInputs


@dataclass(eq=False, repr=False)
class CellScorer(PoolScorer):
    """`PoolScorer` for cells: the same small network for every cell, which also sees the mean of all cells' codes.

    Args:
        hidden_size: units H of each layer.
        prior: the rule to start from: "uncertainty" of the row, "effect" of the cell, "cheapness", or "none".
        prior_weight: factor of the prior; the higher, the sharper is a softmax over it.
    """

    kind: ClassVar[str] = "features"
    priors: ClassVar[Priors] = {
        "uncertainty": ("uncertainty", 1.0),
        "effect": ("effect", 1.0),
        "cheapness": ("dearness", -1.0),
    }

    inputs: CellInputs  # type: ignore[assignment]
    hidden_size: Count = 64
    prior: Literal["uncertainty", "effect", "cheapness", "none"] = "none"  # type: ignore[assignment]
    prior_weight: Weight = 1.0
