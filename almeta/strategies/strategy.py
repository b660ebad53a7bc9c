"""The base classes of hand-made strategies for pools."""

import functools
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.data.dataset import Target
from almeta.errors import AlmetaError
from almeta.learners.learner import ABILITIES, Learner
from almeta.pool import PoolState, for_questions
from almeta.seeding import make_generator
from almeta.strategies.actor import Memory, Outputs

# Rows with which it is tried whether a learner draws.
_TRIED = 32


class PoolStrategy:
    """A score for every row, and `-inf` where it may not be picked.

    Where several annotators may be asked about a row, who goes by features and probabilities scores all these questions
    alike: chance decides who is asked.

    A strategy is a subclass in a file of `almeta/strategies`. It needs `name`, which tables and commands use, and
    `score`; its options are the annotated arguments of its `__init__`. A rule with chance draws from `generator`.

    Before there is any label, all classes are equally likely: who goes by the learner's opinion alone finds all rows
    alike, so that the first pick is drawn at random.

    Attributes:
        targets: what may be to be predicted: "classes", "numbers", or both.
        needs: what the fitted learner must be able to do, such as `almeta.learners.learner.Samples`.
        uses_learner: whether it goes by the learner's opinion, of which there is none before the first labels.
        spreads: whether the picks of a query differ without answers between them, because they take those into account
            that wait for their answer. Who does not spread scores the rows once a query, and picks the best of them.
        lowest: the lowest score it can give, if below 0; see `almeta.strategies.based`.
        compares_fits: whether it compares fits of the learner to one row more each. With a learner that draws, such as
            mlp or random_forest, chance would decide between the rows: it is refused.
        asks_again: whether it also scores questions about rows that were asked before, `PoolState.again`; who does not
            asks once about each row.
        packages: distributions that it leaves its choice to; stored results depend on their versions.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    compares_fits: ClassVar[bool] = False
    asks_again: ClassVar[bool] = False
    # These may depend on the options: then __init__ sets them.
    lowest: float = 0.0
    targets: tuple[Target, ...] = ("classes",)
    needs: tuple[type, ...] = ()
    uses_learner: bool = True
    spreads: bool = False

    @functools.cached_property
    def generator(self) -> torch.Generator:
        """Draws for rules with chance, on the device of the pools; `make_strategy` sets it."""
        return make_generator(0, "strategy")

    @property
    def parts(self) -> "list[PoolStrategy]":
        """The strategies that it is built on, and those that these are built on."""
        own = [value for value in vars(self).values() if isinstance(value, PoolStrategy)]
        return [*own, *(below for one in own for below in one.parts)]

    @property
    def depends_on(self) -> tuple[Any, ...]:
        """What its choice depends on beside options and code, such as learners; a path stands for what a file holds.

        Stored results that came from another state of these are not used again.
        """
        return ()

    def initial(self, num_envs: int) -> Memory:
        """Return an empty memory; that of who does not spread holds the scores `[E, N]` of the present query later."""
        return ()

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        """Return utilities `[E, N]` float32: higher is better, `-inf` for rows that are not available.

        Raises:
            AlmetaError: as `check`, and for scores of another shape or that are not finite.
        """
        if not memory or self.spreads or not state.pending.shape[1]:
            self.check(state)
            scores = self._checked(self.score(state), state)
            memory = () if self.spreads else (scores,)
        else:  # within a query nothing is learnt
            (scores,) = memory
        return Outputs(scores.masked_fill(~self._allowed(state), -torch.inf)), memory

    def _allowed(self, state: PoolState) -> Tensor:
        return state.action_mask if self.asks_again else state.available

    def _checked(self, scores: Tensor, state: PoolState) -> Tensor:
        """Return the scores; those of another shape, or not finite where a row may be picked, are an AlmetaError."""
        shape = list(state.available.shape)
        if not isinstance(scores, Tensor) or list(scores.shape) != shape:
            given = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise AlmetaError(f"strategy {self.name} returned scores {given}; they must be a tensor [E, N] = {shape}")
        if not (scores.isfinite() | ~self._allowed(state)).all():
            raise AlmetaError(f"strategy {self.name} returned scores that are NaN or infinite; return finite ones")
        return scores

    def check(self, state: PoolState) -> None:
        """Raise AlmetaError if the strategy is for other targets, or the learner cannot do what it needs, or draws."""
        if state.target not in self.targets:
            raise AlmetaError(
                f"strategy {self.name} is for {self.targets[0]}, and targets are {state.target}; choose another one, "
                f"such as {EXAMPLES[state.target]}, or core_set"
            )
        for ability in self.needs:
            if not isinstance(state.model, ability):
                raise AlmetaError(
                    f"strategy {self.name} needs a learner with {ABILITIES[ability]}; {type(state.learner).__name__} "
                    f"has none: choose another learner, such as {_EXAMPLES[ability.__name__]}"
                )
        if self.compares_fits and _draws_once_tried(state):
            raise fits_differ(self.name, state.learner)

    def score(self, state: PoolState) -> Tensor:
        """Return finite scores of all rows, `[E, N]` float32; those of rows that are not available are ignored."""
        raise NotImplementedError


# Strategies to name in messages, by what is to be predicted.
EXAMPLES = {"classes": "margin", "numbers": "predictive_variance"}

_EXAMPLES = {
    "Samples": "mlp or cnn",
    "Embeds": "logistic_regression or mlp",
    "HasGradients": "logistic_regression or mlp",
    "HasInputGradients": "logistic_regression, mlp, cnn or torch",
    "Predicts": "gaussian_process or ridge_regression",
    "EmbedsWords": "text, on texts as tokens alone (datasets=[trec] options.form=tokens)",
}


def _draws_once_tried(state: PoolState) -> bool:
    """Return what `draws` does; the pools remember it, as their rows and learner stay from query to query."""
    learner, classes = state.learner, state.probabilities.shape[-1]
    # It is kept beside the answer, so that no other learner gets its id meanwhile.
    key = ("draws", id(learner))
    return state.geometry.keep(key, lambda: (learner, draws(learner, state.x, state.exists, classes)))[1]


def draws(learner: Learner, x: Tensor, exists: Tensor, num_classes: int) -> bool:
    """Return whether two fits of a learner to the same rows differ, tried with a few rows and two labels.

    Args:
        learner: of classes.
        x: `[E, N, D]`, rows, of which a few of the first episode are taken.
        exists: `[E, N]` bool, False for rows that pad.
        num_classes: C.
    """
    x, weight = x[:1, :_TRIED], exists[:1, :_TRIED].float()
    labels = (torch.arange(x.shape[1], device=x.device) % min(2, num_classes))[None]
    said = []
    for seed in range(2):
        generator = torch.Generator(x.device).manual_seed(seed)
        model = learner.fit(x, labels, weight, num_classes, generator=generator)
        said.append(model.probabilities(x))
    return not torch.allclose(said[0], said[1], atol=1e-3)


def fits_differ(strategy: str, learner: Learner) -> AlmetaError:
    """Return what to raise if a strategy compares fits of a learner that `draws`."""
    return AlmetaError(
        f"strategy {strategy} compares fits of the learner, and those of {type(learner).__name__} "
        "differ by chance: choose a learner that draws nothing, such as logistic_regression or ridge"
    )


class BatchStrategy(PoolStrategy):
    """A strategy that chooses all rows of a query at once, before the first of them is picked.

    It needs `select` in place of `score`. Its memory is the rows chosen, `[E, K]`. The utility of a chosen row is
    the higher the earlier it is to be picked; rows that are not chosen have 0. Where several annotators may be asked,
    it chooses among the questions to the first one, and chance decides who is asked about a chosen row.
    """

    spreads = True

    def initial(self, num_envs: int) -> Memory:
        return (torch.empty(num_envs, 0, dtype=torch.int64),)

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        (chosen,) = memory
        if not state.pending.shape[1] or not chosen.shape[1]:
            self.check(state)
            chosen = self.select(replace(state, available=state.open_rows), state.num_to_pick)
        places = torch.arange(chosen.shape[1], 0, -1, dtype=torch.float32, device=chosen.device)
        utilities = torch.zeros(state.exists.shape, device=chosen.device)
        utilities.scatter_reduce_(1, chosen.clamp_min(0), places.where(chosen >= 0, 0.0), "amax")
        utilities = for_questions(utilities, state.annotators)
        return Outputs(utilities.masked_fill(~state.available, -torch.inf)), (chosen,)

    def select(self, state: PoolState, size: int) -> Tensor:
        """Return `size` different rows that may be picked, `[E, size]` int64, the first to pick first; -1 for none."""
        raise NotImplementedError
