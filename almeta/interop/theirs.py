"""What strategies of other libraries share: they are asked pool by pool, which is slow."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from almeta.interop.classifier import LearnerClassifier
from almeta.pool import PoolState, for_questions
from almeta.strategies import PoolStrategy

# In place of infinite utilities.
_HUGE = 1e30


@dataclass(frozen=True)
class OnePool:
    """One pool as other libraries see it.

    Attributes:
        x: `[N, D]` float64, its rows, without those that pad.
        labels: `[N]` int64, class numbers; -1 for none.
        candidates: `[K]` int64, the rows that may be picked.
        num_classes: C.
        classifier: the learner, not fitted yet; other libraries fit it anew to the labels.
        seed: for whatever they draw.
    """

    x: np.ndarray
    labels: np.ndarray
    candidates: np.ndarray
    num_classes: int
    classifier: LearnerClassifier
    seed: int


class TheirStrategy(PoolStrategy):
    """A strategy of another library; a subclass has `ask`.

    Their pick has the highest utility, also where it was drawn among equals or by chance. Rows that were picked and not
    answered yet (`query_size`) are no candidates, and have no label: their strategy does not know of them.

    Attributes:
        packages: names of the distributions that it needs; their versions are part of the key of stored results.
        theirs: their class or function; the options of the strategy are its options.
        given: names of its options that are not for the user.
    """

    packages: ClassVar[tuple[str, ...]]
    theirs: ClassVar[Callable[..., Any]]
    given: ClassVar[frozenset[str]]

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "theirs"):  # what `make_strategy` checks options against
            parameters = inspect.signature(cls.theirs).parameters.values()
            options = [one for one in parameters if one.name not in cls.given and one.kind is not one.VAR_KEYWORD]
            cls.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]

    def __init__(self, **options: Any) -> None:
        self.options = options

    def score(self, state: PoolState) -> Tensor:
        scores = torch.zeros(state.exists.shape)
        seeds = torch.randint(2**31 - 1, (len(scores),), generator=self.generator, device=self.generator.device)
        for number, seed in enumerate(seeds.tolist()):
            rows = state.counted_rows[number]
            pool = OnePool(
                x=state.x[number, rows].double().cpu().numpy(),
                labels=state.labels[number, rows].cpu().numpy(),
                candidates=state.open_rows[number, rows].nonzero()[:, 0].cpu().numpy(),
                num_classes=int(state.num_classes[number]),
                classifier=LearnerClassifier(state.learner, seed),
                seed=seed,
            )
            if len(pool.candidates):
                scores[number, rows.cpu()] = torch.as_tensor(self._scores(pool))
        return for_questions(scores.to(state.x.device), state.annotators)

    def _scores(self, pool: OnePool) -> np.ndarray:
        """Return finite scores `[N]` float32, the highest of which has their pick."""
        pick, utilities = self.ask(pool)
        scores = np.zeros(len(pool.x), np.float32)
        scores[pool.candidates] = np.nan_to_num(utilities, posinf=_HUGE, neginf=-_HUGE)
        others = scores[pool.candidates[pool.candidates != pick]]
        if len(others) and others.max() >= scores[pick]:
            scores[pick] = others.max() + 1e-6 * max(1.0, abs(others.max()))
        return scores

    def ask(self, pool: OnePool) -> tuple[int, np.ndarray]:
        """Return the row that theirs picks, and the utilities `[K]` of the candidates."""
        raise NotImplementedError
