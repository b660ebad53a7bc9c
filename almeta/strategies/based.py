"""Strategies that are built on the scores of another, their base."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from almeta.data.dataset import Target
from almeta.errors import AlmetaError
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies import make_strategy
from almeta.strategies.strategy import EXAMPLES, PoolStrategy


class BasedStrategy(PoolStrategy):
    """A strategy that weighs rows by what another strategy says of them.

    Args:
        base: the other strategy: a name, `{name: ..., option: ...}`, or a spec. It is asked anew whenever this
            strategy scores the rows, and a memory of its own is not kept.

    Attributes:
        own_targets: what may be to be predicted, as far as it does not depend on the base.

    Raises:
        AlmetaError: for an unknown base, and one that is for other targets than the strategy.
    """

    own_targets: ClassVar[tuple[Target, ...]] = ("classes", "numbers")

    def __init__(self, base: str | Mapping[str, Any] | Spec) -> None:
        self.base = base
        self._base = make_strategy(base)
        self.uses_learner = self._base.uses_learner
        self.targets = tuple(one for one in self.own_targets if one in self._base.targets)
        if not self.targets:
            (own,) = self.own_targets
            raise AlmetaError(
                f"strategy {self.name} is for {own}, and base={self._base.name} for {self._base.targets[0]}; name "
                f"another base, such as {EXAMPLES[own]}"
            )
        self.spreads = self.spreads or self._base.spreads

    def informativeness(self, state: PoolState) -> Tensor:
        """Return the base's scores, moved so that they are at least 0, `[E, N]`; 0 for rows that are not available.

        Scores below 0 are moved up by the lowest score that the base can give, where it is known: margin counts as
        1 - (p1 - p2). Otherwise they are moved by the lowest score of an available row of the pool.
        """
        self._base.generator = self.generator
        scores = self._base.step(state, self._base.initial(len(state.x)))[0].utilities
        lowest = scores.masked_fill(~state.available, 0.0).amin(1, keepdim=True).clamp_max(self._base.lowest)
        return (scores - lowest).masked_fill(~state.available, 0.0)
