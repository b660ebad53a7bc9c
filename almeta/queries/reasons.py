"""Why a row is worth a label, in words."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from almeta.inputs.candidates import candidate_numbers
from almeta.pool import PoolState

# From which rank on, 1 being the first of all open rows, a row is called uncertain, far or typical.
HIGH = 0.8
MOST = 2  # reasons a row
NUMBERS = ("rank of density", "rank of distance", "rank of margin", "share of the predicted class among labels")
BY_CHANCE = "drawn at random: such rows tell the accuracy without bias"


def num_seen(state: PoolState) -> int:
    """Return the number of classes that have labels in a single pool."""
    return len(state.labels[state.labels >= 0].unique())


def reasons_for(state: PoolState, rows: Tensor, classes: Sequence[Any]) -> list[str]:
    """Return why each of some rows is worth a label: at most `MOST` reasons each, the strongest first.

    The reasons are of numbers that a policy reads (`Candidates`); they do not look into the policy.

    Args:
        state: of a single pool.
        rows: `[n]` int64.
        classes: the class values.
    """
    numbers = {name: values[0, rows] for name, values in candidate_numbers(state, NUMBERS).items()}
    top = state.probabilities[0, rows].topk(2, dim=-1)
    seen = num_seen(state)
    found = []
    for i in range(len(rows)):
        strength = {"typical of a dense region": float(numbers["rank of density"][i])}
        if seen > 0:
            strength["far from everything labelled"] = float(numbers["rank of distance"][i])
        if seen > 1:
            first, second = (classes[int(number)] for number in top.indices[i])
            share = float(numbers["share of the predicted class among labels"][i])
            strength[f"uncertain between {first} and {second}"] = 1 - float(numbers["rank of margin"][i])
            strength[f"likely {first}, a class with few labels"] = float(share < 0.5 / seen)
        ranked = sorted(strength, key=strength.__getitem__, reverse=True)
        strong = [reason for reason in ranked if strength[reason] >= HIGH][:MOST]
        found.append("; ".join(strong or [f"{ranked[0]}, a little"]))
    return found
