"""The network that asks for classes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from almeta.agents.scorers import PoolScorer, Priors
from almeta.inputs import ClassInputs


@dataclass(eq=False, repr=False)
class ClassScorer(PoolScorer):
    """The network of `PoolScorer` for classes in place of rows: it scores any number of them, in any order.

    Args:
        hidden_size: units H of each layer.
        prior: the rule to start from, "proportional", "uniform" or "none".
        prior_weight: factor of the prior, which is the share by which a class lags behind the rule's.
    """

    kind: ClassVar[str] = "classes"
    priors: ClassVar[Priors] = {
        "proportional": ("lag behind the share in the data", 1.0),
        "uniform": ("lag behind an equal share", 1.0),
    }

    inputs: ClassInputs  # type: ignore[assignment]
    prior: Literal["proportional", "uniform", "none"] = "uniform"  # type: ignore[assignment]
