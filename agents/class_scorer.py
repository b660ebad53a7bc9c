"""The network that asks for classes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from almeta.agents.scorers import PoolScorer, Priors
from almeta.inputs import ClassInputs, PoolView


@dataclass(eq=False, repr=False)
class ClassScorer(PoolScorer):
    """The network of `PoolScorer` for classes in place of rows: it scores any number of them, in any order.

    What it learns has the unit of the rule to start from, shares of rows: a class with 0.1 more than the others is to
    have a share that is larger by 0.1.

    Args:
        hidden_size: units H of each layer.
        prior: the rule to start from, "proportional", "uniform" or "none".
        prior_weight: factor of the share by which a class lags behind the rule, and of what is learnt; the higher, the
            sharper is a softmax over both.
    """

    kind: ClassVar[str] = "classes"
    priors: ClassVar[Priors] = {
        "proportional": ("lag behind the share in the data", 1.0),
        "uniform": ("lag behind an equal share", 1.0),
    }

    inputs: ClassInputs  # type: ignore[assignment]
    prior: Literal["proportional", "uniform", "none"] = "uniform"  # type: ignore[assignment]

    def _with_prior(self, view: PoolView, scores: Tensor) -> Tensor:
        return super()._with_prior(view, self.prior_weight * scores)
