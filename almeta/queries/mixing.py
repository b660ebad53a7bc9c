"""Rows to label next of two kinds: those that somebody chose, and those that are drawn at random."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from almeta.queries.labelling import Labelling
from almeta.queries.reasons import BY_CHANCE
from almeta.queries.store import RANDOM


class Question(NamedTuple):
    """A row to label, why, and what chose it."""

    row: int
    why: str
    chosen_by: str


def mixed_questions(
    labelling: Labelling, n: int, random_share: float, chooser: str, seed: int | Sequence[int]
) -> list[Question]:
    """Return `n` rows to label next, of which a share is drawn at random among all rows without a label.

    Drawn rows tell the accuracy without bias. They are drawn first, so that what would be chosen makes none of them
    more likely, and stand in random places, so that they have their share also where only the first rows are answered.

    Args:
        labelling: the rows, at least `n` of them without a label or answer.
        n: number of rows.
        random_share: of them that are drawn; where this is no whole number, one more with the probability that makes
            it the share on average.
        chooser: the name of who chooses the others, the best first.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    left = labelling.pool.state().available[0].numpy().nonzero()[0]
    count = int(random_share * n + rng.random())
    drawn = rng.choice(left, count, replace=False)
    questions = []
    if n > count:
        asked = labelling.ask(n - count, among=np.setdiff1d(left, drawn))
        questions = [Question(*one, chooser) for one in zip(asked.rows.tolist(), asked.reasons, strict=True)]
    for place, row in zip(np.sort(rng.choice(n, count, replace=False)), drawn.tolist(), strict=True):
        questions.insert(place, Question(row, BY_CHANCE, RANDOM))
    return questions
