"""Questions of which a share is drawn at random."""

import numpy as np
import pytest

from almeta.queries import Labelling
from almeta.queries.mixing import mixed_questions
from almeta.queries.reasons import BY_CHANCE

X = np.random.default_rng(0).normal(size=(30, 2))
Y = ["cat" if a > 0 else "dog" for a in X[:4, 0]] + [None] * 26


@pytest.fixture
def labelling():
    return Labelling(X, Y, by="margin")


def test_each_row_is_asked_once_and_says_what_chose_it(labelling):
    asked = mixed_questions(labelling, 10, 0.3, "margin", 0)
    rows = [question.row for question in asked]
    assert len(rows) == len(set(rows)) == 10 and min(rows) > 3
    drawn = [question.row for question in asked if question.chosen_by == "random"]
    assert len(drawn) == 3
    assert all((question.why == BY_CHANCE) == (question.row in drawn) for question in asked)
    best = Labelling(X, Y, by="margin").ask(7, among=[row for row in range(4, 30) if row not in drawn])
    assert [question.row for question in asked if question.chosen_by == "margin"] == best.rows.tolist()
    assert [question.why for question in asked if question.chosen_by == "margin"] == [*best.reasons]


def test_every_row_and_place_is_as_likely_to_be_drawn(labelling, looks_uniform):
    rows, places, counts = [], [], []
    for seed in range(400):
        asked = mixed_questions(labelling, 2, 0.4, "margin", seed)
        found = [place for place, question in enumerate(asked) if question.chosen_by == "random"]
        rows += [asked[place].row - 4 for place in found]
        places += found
        counts.append(len(found))
    assert looks_uniform(rows, 26) and looks_uniform(places, 2)
    assert set(counts) == {0, 1} and np.mean(counts) == pytest.approx(0.8, abs=0.08)  # 4 standard errors


@pytest.mark.parametrize("share, chosen_by", [(0, ["margin"] * 26), (1, ["random"] * 26)])
def test_all_or_nothing_to_the_last_row(labelling, share, chosen_by):
    asked = mixed_questions(labelling, 26, share, "margin", 0)
    assert [question.chosen_by for question in asked] == chosen_by
    assert {question.row for question in asked} == {*range(4, 30)}
    assert mixed_questions(labelling, 0, share, "margin", 0) == []
