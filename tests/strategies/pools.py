"""Small pools as strategies see them, and beside them the labels that they must not see."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from almeta.geometry import Geometry
from almeta.learners import RidgeRegression
from almeta.learners.learner import Prediction, seen_classes
from almeta.pool import PoolState
from almeta.strategies import Actor


class Prototypes:
    """A learner in a few lines: softmax of how near a row is to each class's mean, and of how large the class is.

    It can do all that a strategy may need, and nothing of it depends on rows, columns or classes that pad.
    """

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        mass = torch.nn.functional.one_hot(y, num_classes) * weight[..., None]  # [E, L, C]
        means = mass.mT @ x / mass.sum(1)[..., None].clamp_min(1e-9)
        bias = mass.sum(1).clamp_min(1e-9).log().masked_fill(~seen_classes(y, weight, num_classes), -torch.inf)
        return FittedPrototypes(means, bias.where(weight.sum(1, keepdim=True) > 0, 0.0))


@dataclass
class FittedPrototypes:
    means: Tensor
    bias: Tensor

    def probabilities(self, x):
        return self.logits(x).softmax(-1)

    def sample(self, x, num_samples, generator=None):
        """Networks that differ by how much they like each class."""
        drawn = torch.randn(len(x), num_samples, 1, 1, generator=generator, device=x.device)
        classes = torch.arange(1, self.bias.shape[1] + 1, device=x.device)
        return (self.logits(x)[:, None] + 2 * drawn * (5 * classes).sin()).softmax(-1)

    def embed(self, x):
        """The softmax is one of linear functions of the features, as all rows have the same square."""
        return x

    def gradient_lengths(self, x):
        return self._errors(x) * (1 + x.square().sum(-1, keepdim=True)).sqrt()

    def word_gradient_lengths(self, x):
        return self._errors(x) * (1 + x.abs().amax(-1, keepdim=True))

    def word_swaps(self, x, num_neighbours):
        """The lead of the likeliest class, in units of the largest feature; inf without a rival."""
        first, second = torch.nn.functional.pad(self.logits(x), (0, 1), value=-torch.inf).topk(2, -1).values.unbind(-1)
        return (first - second) / (num_neighbours * (1 + x.abs().amax(-1)))

    def logits(self, x):
        return self.bias[:, None] - (x[:, :, None] - self.means[:, None]).square().sum(-1) / 2

    def _errors(self, x):
        """The lengths of p - e_c, `[E, M, C]`."""
        p = self.probabilities(x)
        return (p.square().sum(-1, keepdim=True) + 1 - 2 * p).clamp_min(0).sqrt()


@dataclass(frozen=True)
class Pools:
    """A state and the true labels `[E, N]`."""

    state: PoolState
    y: Tensor

    def pick(self, rows):
        """Pick a row `[E]` in each pool; it is not answered yet."""
        state = self.state
        rows = torch.as_tensor(rows)[:, None]
        assert state.available.gather(1, rows).all()
        picks = torch.cat((state.picks, rows), 1)
        available = state.available.scatter(1, rows, False)
        return replace(self, state=replace(state, picks=picks, available=available, spent=state.spent + 1))

    def answer(self):
        """Reveal the labels of what was picked, and refit."""
        state = self.state
        return replace(self, state=refit(replace(state, labels=known_labels(self.y, state.picks))))

    def rearranged(self, order):
        """The same pools with their rows in another order `[N]`."""
        state, place = self.state, order.argsort()
        x, exists = state.x[:, order], state.exists[:, order]
        state = replace(
            state,
            x=x,
            exists=exists,
            available=state.available[:, order],
            labels=state.labels[:, order],
            picks=torch.where(state.picks >= 0, place[state.picks.clamp_min(0)], -1),
            probabilities=state.probabilities[:, order],
            prediction=state.prediction and Prediction(*(part[:, order] for part in state.prediction)),
            prices=state.prices[:, order],
            geometry=Geometry(x, exists),
        )
        return Pools(state, self.y[:, order])

    def alone(self, pool):
        """One of the pools."""
        part: dict[str, Any] = {
            key: value[pool : pool + 1] for key, value in vars(self.state).items() if isinstance(value, Tensor)
        }
        geometry = Geometry(part["x"], part["exists"])
        return Pools(refit(replace(self.state, **part, geometry=geometry)), self.y[pool : pool + 1])


def make_pools(sizes=(14, 11), columns=(3, 2), classes=(3, 2), labelled=(4, 3), seed=0, more=(0, 0, 0), numbers=False):
    """Pools of clusters, with labels for the first few of a random order.

    Args:
        sizes: rows of each pool.
        columns: features of each.
        classes: of each.
        labelled: rows that were picked and answered, of each.
        seed: what a pool holds depends on it and on the pool's position alone.
        more: rows, columns and classes that pad beyond the largest pool's.
        numbers: whether the labels are numbers, which ridge regression learns, and not classes.
    """
    rows, width, most = (max(own) + extra for own, extra in zip((sizes, columns, classes), more, strict=True))
    x = torch.zeros(len(sizes), rows, width)
    y = torch.zeros(len(sizes), rows, dtype=torch.int64)
    picks = torch.full((len(sizes), max(labelled)), -1)
    for pool, (n, d, c, known) in enumerate(zip(sizes, columns, classes, labelled, strict=True)):
        random = np.random.default_rng([seed, pool])
        label = random.permutation(np.arange(n) % c)
        y[pool, :n] = torch.from_numpy(label)
        x[pool, :n, :d] = torch.from_numpy(random.normal(size=(c, d))[label] + random.normal(size=(n, d)))
        picks[pool, :known] = torch.from_numpy(random.permutation(n)[:known])
    exists, num_classes = torch.arange(rows) < torch.tensor(sizes)[:, None], torch.tensor(classes)
    if numbers:
        y, num_classes, most = y + x.sum(-1).sin(), torch.zeros_like(num_classes), 0
    return lay_out(x, y, exists, num_classes, picks, most)


def lay_out(x, y, exists, num_classes, picks, most):
    """Pools whose picks have all been answered, and are learnt by `Prototypes`, or numbers by ridge regression."""
    state = PoolState(
        x=x,
        exists=exists,
        available=exists & ~is_among(picks, x.shape[1]),
        labels=known_labels(y, picks),
        picks=picks,
        answered=picks.shape[1],
        probabilities=torch.zeros(*y.shape, most),
        num_classes=num_classes,
        prices=torch.zeros(y.shape),
        budget=x.shape[1],
        spent=0,
        query_size=1,
        learner=RidgeRegression() if y.is_floating_point() else Prototypes(),
        model=cast(Any, None),  # `refit` brings it
        geometry=Geometry(x, exists),
    )
    return Pools(refit(state), y)


def refit(state: PoolState) -> PoolState:
    """The state after the picks were answered."""
    model: Any = state.learner.fit(*state.labelled_rows(), num_classes=state.probabilities.shape[-1])
    state = replace(state, model=model, answered=state.picks.shape[1])
    if state.target == "numbers":
        return replace(state, prediction=model.predict(state.x))
    return replace(state, probabilities=model.probabilities(state.x))


def utilities_of(actor: Actor[PoolState], state: PoolState) -> Tensor:
    """What a strategy or an agent says of a state at its first step, `[E, N]`."""
    return actor.step(state, actor.initial(len(state.x)))[0].utilities


def is_among(picks, rows):
    """`[E, N]` bool, which of N rows are among picks `[E, P]`, where -1 pads."""
    return (picks[..., None] == torch.arange(rows)).any(1)


def known_labels(y, picks):
    """`[E, N]`, the labels of the picks; -1 elsewhere, or NaN where they are numbers."""
    return y.where(is_among(picks, y.shape[1]), torch.nan if y.is_floating_point() else -1)


def with_probabilities(probabilities):
    """A state of one pool `[N, C]` of which only the probabilities matter."""
    probabilities = torch.as_tensor(probabilities, dtype=torch.float32)
    rows, classes = probabilities.shape
    pools = make_pools((rows,), (2,), (classes,), (0,))
    return replace(pools.state, probabilities=probabilities[None])


def asked_of(pools, annotators):
    """The same pools with several annotators for each row; the picks so far were answered by one after the other."""
    state = pools.state
    columns = ("x", "exists", "available", "labels", "probabilities", "prices")
    many = {name: getattr(state, name).repeat_interleave(annotators, 1) for name in columns}
    who = torch.arange(state.picks.shape[1]) % annotators
    picks = torch.where(state.picks >= 0, annotators * state.picks + who, -1)
    y = pools.y.repeat_interleave(annotators, 1)
    many |= {
        "labels": known_labels(y, picks),
        "again": many["exists"] & ~many["available"] & ~is_among(picks, y.shape[1]),
    }
    geometry = Geometry(many["x"], many["exists"], copies=annotators)
    return Pools(refit(replace(state, **many, picks=picks, annotators=annotators, geometry=geometry)), y)
