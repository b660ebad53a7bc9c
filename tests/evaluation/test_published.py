import pytest

from almeta.envs.stream import StreamRewards
from almeta.evaluation.published import FIGURE_2, FIGURE_3, TABLE_1, rows_at


def test_rows_of_table_1_agree_with_themselves():
    supervised, *rows = TABLE_1
    assert (supervised.accuracy, supervised.request_rate) == (supervised.prediction_accuracy, 1.0)
    for row in rows:  # correct of all steps = predictions times correct of predictions, to rounding
        assert abs(row.accuracy - (1 - row.request_rate) * row.prediction_accuracy) < 0.001
    first = rows[0]
    wrong = 1 - first.request_rate - first.accuracy
    assert abs(30 * (first.accuracy - wrong - 0.05 * first.request_rate) - (first.mean_return or 0)) < 0.05


def test_figure_2_has_four_instances_for_each_kind_of_classes():
    places = [(point.classes, point.batch, point.instance) for point in FIGURE_2]
    assert places == [(c, b, k) for c, b in (("train", 20_000), ("test", 100_000)) for k in (1, 2, 5, 10)]


def test_figure_3_names_steps_of_its_scripts():
    for script, rates in FIGURE_3.items():
        assert all(1 <= step <= len(script) and 0 <= rate <= 1 for step, rate in rates.items())
    assert FIGURE_3["AAAAAB"][6] > FIGURE_3["AAAAAA"][6]


@pytest.mark.parametrize(
    "rewards, rows",
    [
        ({}, ["Supervised", "RL (R_inc -1)"]),
        ({"incorrect": -20}, ["Supervised", "RL (R_inc -20)"]),
        ({"incorrect": -3}, []),
        ({"incorrect": [-20, -1]}, []),
        ({"request": -0.1}, []),
    ],
)
def test_rows_are_those_at_the_same_rewards(rewards, rows):
    assert [row.label for row in rows_at(StreamRewards(**rewards))] == rows
