"""What the learner, the belief about missing cells, prices and the labels say of each cell."""

import torch
from torch import Tensor

from almeta.features import FeatureState
from almeta.inputs.inputs import CellInputs


class Cells(CellInputs):
    """Numbers about each cell, comparable from table to table, in this order.

    - doubt: the deviation of the belief about the cell.
    - effect: `effects`, the change of the row's probabilities where the cell is off by its deviation.
    - column effect: the mean of the effects over the column's missing cells.
    - relation: `relations`, how much of the column the classes explain.
    - uncertainty: 1 less the margin of the row.
    - loss: 1 less the probability of the row's own label.
    - row known, column known: the share of cells that are.
    - price: in hundredths of the reward, at most 10.
    - dearness: the logarithm of the price over the mean price of the table, within -3 .. 3; 0 where all is free.

    About each table: the share of the cells that were asked for so far, of the cells that are known, and the means of
    uncertainty and loss over rows.
    """

    candidate_names = (
        "doubt", "effect", "column effect", "relation", "uncertainty", "loss", "row known", "column known", "price",
        "dearness",
    )  # fmt: skip
    pool_names = ("progress", "known", "mean uncertainty", "mean loss")

    def read(self, state: FeatureState) -> tuple[Tensor, Tensor]:
        effect, missing, exists = effects(state), state.missing, state.exists
        uncertainty, loss = 1 - state.margins(), 1 - state.label_probabilities()
        cells = (
            state.deviation,
            effect,
            effect.sum(1, keepdim=True) / missing.sum(1, keepdim=True).clamp_min(1),
            relations(state)[:, None],
            uncertainty[..., None],
            loss[..., None],
            state.known.sum(2, keepdim=True) / exists.sum(2, keepdim=True).clamp_min(1),
            state.known.sum(1, keepdim=True) / exists.sum(1, keepdim=True).clamp_min(1),
            (100 * state.prices).clamp_max(10.0),
            dearness(state),
        )
        each = torch.stack([part.expand_as(effect) for part in cells], -1)
        rows = state.rows
        tables = (
            torch.full_like(uncertainty[:, 0], state.time / state.length),
            state.known.sum((1, 2)) / exists.sum((1, 2)).clamp_min(1),
            *(part.where(rows, 0.0).sum(1) / rows.sum(1).clamp_min(1) for part in (uncertainty, loss)),
        )
        return each.flatten(1, 2), torch.stack(tables, -1)


def effects(state: FeatureState) -> Tensor:
    """Return how far a row's probabilities move where a cell is off by its deviation: `[E, N, D]` in [0, 1].

    It is the mean, over one deviation more and less, of half the sum of absolute changes (total variation). The row's
    other cells stay as they are filled. Known cells have 0.
    """
    columns = []
    for column in range(state.filled.shape[2]):  # a row stands in memory once a column, not D times D
        off = torch.zeros_like(state.filled)
        off[..., column] = state.deviation[..., column]
        moved = [state.model.probabilities(state.filled + sign * off) for sign in (1, -1)]
        columns.append(sum((one - state.probabilities).abs().sum(-1) for one in moved) / 4)
    return torch.stack(columns, -1).where(state.missing, 0.0)


def relations(state: FeatureState) -> Tensor:
    """Return the correlation ratio of each column with the classes over its known cells: `[E, D]` in [0, 1].

    It is the variance between the classes' means over the whole variance; 0 for a column that does not vary.
    """
    known = state.known.float()
    classes = torch.nn.functional.one_hot(state.labels, state.probabilities.shape[-1]).float()  # [E, N, C]
    counts, sums = classes.mT @ known, classes.mT @ (state.filled * known)  # [E, C, D]
    total = known.sum(1).clamp_min(1)
    mean = (sums.sum(1) / total)[:, None]
    between = (counts * (sums / counts.clamp_min(1) - mean).square()).sum(1)
    whole = ((state.filled - mean).square() * known).sum(1)
    return torch.where(whole > 1e-6, between / whole.clamp_min(1e-6), 0.0).clamp(0.0, 1.0)


def dearness(state: FeatureState) -> Tensor:
    """Return the logarithm of each price over the mean price of its table: `[E, N, D]` in [-3, 3]; 0 without prices."""
    mean = state.prices.sum((1, 2), keepdim=True) / state.exists.sum((1, 2), keepdim=True).clamp_min(1)
    ratio = state.prices / mean.clamp_min(1e-12)
    return torch.where(state.prices > 0, ratio.clamp_min(1e-9).log(), 0.0).clamp(-3.0, 3.0)
