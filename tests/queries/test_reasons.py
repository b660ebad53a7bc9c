"""Why a row is worth a label, in words."""

import numpy as np
import pytest

from almeta.queries import Labelling

LEFT, RIGHT, BORDER, FAR = 0, 1, 2, 3


@pytest.fixture
def own():
    """A dense cloud left, a wide one right, a row on the border and one far away; one row of each cloud has a label."""
    random = np.random.default_rng(0)
    special = np.array([[-3.0, 0], [3, 0], [0, 0], [3, 30]])
    dense, wide = random.normal(size=(60, 2)) * 0.1 - [3, 0], random.normal(size=(60, 2)) * 2 + [3, 0]
    y = ["cat", "dog"] + [None] * 122
    return Labelling(np.concatenate([special, dense, wide]), y, by="margin")


def reason(own: Labelling, row: int) -> str:
    """Return the reason for a row as if it had been chosen."""
    questions = own.ask(1, among=[row])
    assert questions.rows.tolist() == [row]
    return questions.reasons[0]


def test_a_row_on_the_border_is_uncertain(own):
    assert "uncertain between " in reason(own, BORDER)
    assert {"cat", "dog"} <= set(reason(own, BORDER).split(";")[0].split())


def test_a_row_far_away_is_called_far(own):
    assert "far from everything labelled" in reason(own, FAR)
    assert "typical" not in reason(own, FAR)


def test_rows_of_a_dense_cloud_are_called_typical(own):
    said = [reason(own, row) for row in range(4, 64)]
    assert sum("typical of a dense region" in one for one in said) >= 20
    assert not any("far from" in one for one in said)


def test_a_class_with_few_labels_is_named():
    random = np.random.default_rng(0)
    X = np.concatenate([random.normal(size=(50, 2)) - 4, random.normal(size=(50, 2)) + 4])
    y = ["common"] * 10 + [None] * 40 + ["rare"] + [None] * 49
    own = Labelling(X, y, by="margin")
    assert "likely rare, a class with few labels" in reason(own, 60)
    assert "few labels" not in reason(own, 20)


def test_without_labels_nothing_is_said_of_classes():
    own = Labelling(np.random.default_rng(0).normal(size=(30, 2)), None, classes=["cat", "dog"])
    for said in own.ask(10).reasons:
        assert said in ("typical of a dense region", "typical of a dense region, a little")


def test_no_reasons_unless_asked_for(own):
    assert own.ask(3, explain=False).reasons == ()
    assert len(own.ask(3).reasons) == 3
