"""The network that asks for classes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from almeta.agents.scorers import PoolScorer


@dataclass(eq=False, repr=False)
class ClassScorer(PoolScorer):
    """The network of `PoolScorer` for classes in place of rows: it scores any number of them, in any order.

    Args:
        hidden_size: units H of each layer.
        prior: the rule to start from, "proportional", "uniform" or "none".
        prior_weight: factor of the prior, which is the share by which a class lags behind the rule's.
    """

    kind: ClassVar[str] = "classes"

    prior: Literal["proportional", "uniform", "none"] = "uniform"  # type: ignore[assignment]
