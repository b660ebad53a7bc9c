import numpy as np
import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.evaluation.curves import check_curves, curve_areas, over_money, query_weights, repeat_means, split_curves

SCORES = {
    ("iris", "margin", 0): [0.5, 0.9, 1.0],
    ("iris", "margin", 1): [0.2, 0.4, 0.6],
    ("iris", "random", 0): [0.5, 0.6, 0.7],
    ("iris", "random", 1): [0.2, 0.2, 0.5],
}


@pytest.fixture
def curves():
    rows = [(*key, queries, score) for key, scores in SCORES.items() for queries, score in enumerate(scores)]
    return pd.DataFrame(rows, columns=["dataset", "strategy", "repeat", "queries", "score"])


def test_areas_by_hand(curves):
    areas = curve_areas(split_curves(check_curves(curves)))
    assert areas.index.names == ["dataset", "repeat"]
    assert list(areas.index) == [("iris", 0), ("iris", 1)]
    assert areas["margin"].tolist() == pytest.approx([2.4 / 3, 0.4])
    assert areas["random"].tolist() == pytest.approx([0.6, 0.3])


def test_areas_by_the_trapezoid_rule(curves):
    areas = curve_areas(split_curves(check_curves(curves)), "trapezoid")
    # (.5 + .9) / 2 and (.9 + 1) / 2, over a width of 2.
    assert areas["margin"].tolist() == pytest.approx([(0.7 + 0.95) / 2, 0.4])
    assert areas["random"].tolist() == pytest.approx([0.6, 0.275])


def test_uneven_queries():
    assert query_weights(np.array([0, 1, 5]), "trapezoid").tolist() == pytest.approx([0.1, 0.5, 0.4])
    assert query_weights(np.array([0, 1, 5])).tolist() == pytest.approx([1 / 3] * 3)
    scores = np.random.default_rng(0).random(4)
    queries = np.array([0, 2, 3, 7])
    expected = np.trapezoid(scores, queries) / 7
    assert query_weights(queries, "trapezoid") @ scores == pytest.approx(expected)
    assert query_weights(np.array([0]), "trapezoid").tolist() == [1.0]
    with pytest.raises(AlmetaError, match="area is 'sum'; choose 'mean' or 'trapezoid'"):
        query_weights(queries, "sum")  # type: ignore[arg-type]


def test_rows_may_come_in_any_order(curves):
    shuffled = curves.sample(frac=1, random_state=0).assign(extra=1)
    whole = check_curves(curves)
    again = check_curves(shuffled)
    assert sorted(again.columns) == sorted(curves.columns)
    first = list(dict.fromkeys(shuffled["strategy"]))
    assert list(again["strategy"].unique()) == first  # in the order in which they came
    keys = ["strategy", "repeat", "queries"]
    pd.testing.assert_frame_equal(
        again.sort_values(keys).reset_index(drop=True), whole.sort_values(keys).reset_index(drop=True)
    )
    block = split_curves(again)["iris"]
    assert block.strategies == first
    assert block.scores[first.index("margin")].tolist() == [SCORES["iris", "margin", 0], SCORES["iris", "margin", 1]]


def test_data_sets_may_have_different_budgets_and_repeats(curves):
    wine = curves[(curves["queries"] < 2) & (curves["repeat"] == 0)].assign(dataset="wine")
    blocks = split_curves(check_curves(pd.concat([wine, curves])))
    assert list(blocks) == ["iris", "wine"]
    assert blocks["wine"].scores.tolist() == [[[0.5, 0.9]], [[0.5, 0.6]]]
    assert curve_areas(blocks)["margin"]["wine"].tolist() == pytest.approx([0.7])


def test_gaps_are_named(curves):
    with pytest.raises(AlmetaError, match="'margin' lacks repeat 0 of data set 'iris'.*1 such gaps"):
        check_curves(curves.drop(index=[0, 1, 2]))
    with pytest.raises(AlmetaError, match="'margin' lacks repeat 1 of data set 'iris'.*1 such gaps"):
        check_curves(pd.concat([curves.assign(dataset="wine"), curves.drop(index=[3, 4, 5])]))
    with pytest.raises(AlmetaError, match="'margin', repeat 1, has 2 scores where 3 are known"):
        check_curves(curves.drop(index=[4]))
    with pytest.raises(AlmetaError, match="'iris' begin at 1 queries; the score after the first labels"):
        check_curves(curves[curves["queries"] > 0])
    with pytest.raises(AlmetaError, match="'margin' on data set 'iris', repeat 0, after 1 queries, occurs twice"):
        check_curves(pd.concat([curves, curves.iloc[[1]]]))
    with pytest.raises(AlmetaError, match="lack the columns repeat, score; they need dataset"):
        check_curves(curves.drop(columns=["repeat", "score"]))
    with pytest.raises(AlmetaError, match="no learning curves to compare"):
        check_curves(curves.iloc[:0])


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("score", np.nan, "score is nan in a row of 'margin' on data set 'iris', repeat 0 .1 such rows.*finite number"),
        ("score", np.inf, "score is inf"),
        ("queries", 0.5, "queries is 0.5 .*whole number"),
        ("repeat", -np.inf, "repeat is -inf"),
    ],
)
def test_numbers_that_are_none(curves, column, value, message):
    table = curves.astype({column: float})
    table.loc[2, column] = value
    with pytest.raises(AlmetaError, match=message):
        check_curves(table)


def test_a_strategy_may_have_played_the_first_repeats_only(curves):
    fewer = curves.drop(index=[3, 4, 5])  # margin, repeat 1
    wine = fewer.assign(dataset="wine")
    blocks = split_curves(check_curves(pd.concat([fewer, wine])))
    for block in blocks.values():
        assert block.played == {"margin": 1, "random": 2}
        assert block.scores[0, 0].tolist() == SCORES["iris", "margin", 0] and np.isnan(block.scores[0, 1]).all()
    areas = curve_areas(blocks)
    assert areas["margin"].isna().tolist() == [False, True] * 2 and not areas["random"].isna().any()


def test_further_measures_stay_and_have_curves_of_their_own(curves):
    table = check_curves(curves.assign(macro_f1=1 - curves["score"], other=0), ["macro_f1"])
    assert list(table) == ["dataset", "strategy", "repeat", "queries", "score", "macro_f1"]
    own, further = split_curves(table)["iris"], split_curves(table, "macro_f1")["iris"]
    np.testing.assert_allclose(further.scores, 1 - own.scores)
    with pytest.raises(AlmetaError, match="lack the columns roc_auc; they need"):
        check_curves(curves, ["roc_auc"])
    with pytest.raises(AlmetaError, match="macro_f1 is nan in a row of 'margin' on data set 'iris'"):
        check_curves(curves.assign(macro_f1=np.nan), ["macro_f1"])


def test_shares_of_nothing_are_left_out_of_areas(curves):
    """Before the first query there is no share; margin never has one in repeat 1."""
    given = curves.assign(wrong_answers=curves["score"].where(curves["queries"] > 0))
    given.loc[given["strategy"].eq("margin") & given["repeat"].eq(1), "wrong_answers"] = np.nan
    table = check_curves(given, ["wrong_answers"])
    blocks = split_curves(table, "wrong_answers")
    assert blocks["iris"].played == {"margin": 1, "random": 2}
    with np.errstate(all="raise"):
        areas = curve_areas(blocks)
        by_trapezoid = curve_areas(split_curves(table, "wrong_answers"), "trapezoid")
    assert areas["margin"].tolist() == pytest.approx([0.95, np.nan], nan_ok=True)
    assert areas["random"].tolist() == pytest.approx([0.65, 0.35])
    # Weights 1/4, 1/2 and 1/4 without the first one are 2/3 and 1/3.
    assert by_trapezoid["random"].tolist() == pytest.approx([(2 * 0.6 + 0.7) / 3, (2 * 0.2 + 0.5) / 3])
    for wrong in ("much", np.inf):
        with pytest.raises(AlmetaError, match=f"wrong_answers is {wrong} in a row of 'margin'"):
            check_curves(curves.assign(wrong_answers=wrong), ["wrong_answers"])


def test_the_mean_of_a_repeat_is_about_all_data_sets_that_count():
    """A strategy counts by the data sets of which it has any value, and not in repeats that lack one of them."""
    index = pd.MultiIndex.from_product([["a", "b"], [0, 1, 2]], names=["dataset", "repeat"])
    values = {"all": [1, 2, 3, 5, 6, 7], "some": [1, np.nan, 3, 5, 6, 7], "of a": [1, 2, 3, *[np.nan] * 3]}
    means = repeat_means(pd.DataFrame(values, index=index, dtype=float))
    assert means["all"].tolist() == [3, 4, 5]
    assert means["some"].tolist() == pytest.approx([3, np.nan, 5], nan_ok=True)
    assert means["of a"].tolist() == [1, 2, 3]


MONEY = {
    ("iris", "margin", 0): [0, 3, 6],
    ("iris", "margin", 1): [0, 1, 5],
    ("iris", "random", 0): [0, 0.5, 4.5],
    ("iris", "random", 1): [0, 2, 4],
}


def with_money(curves, money):
    places = curves[["dataset", "strategy", "repeat", "queries"]].itertuples(index=False)
    spent = [money[tuple(key)][query] for *key, query in places]
    return check_curves(curves.assign(money=spent), ["money"])


def test_curves_over_money(curves):
    """The score at an amount is that after the last query it pays for, up to the least that anybody has spent."""
    along = over_money(with_money(curves, MONEY))
    assert list(along.columns) == ["dataset", "strategy", "repeat", "queries", "score", "money"]
    blocks = split_curves(check_curves(along))
    assert blocks["iris"].queries.tolist() == [0, 1, 2, 3, 4]
    found = dict(zip(blocks["iris"].strategies, blocks["iris"].scores.tolist(), strict=True))
    assert found == {
        "margin": [[0.5, 0.5, 0.5, 0.9, 0.9], [0.2, 0.4, 0.4, 0.4, 0.4]],
        "random": [[0.5, 0.6, 0.6, 0.6, 0.6], [0.2, 0.2, 0.2, 0.2, 0.5]],
    }
    areas = curve_areas(blocks)
    assert areas["random"].tolist() == pytest.approx([2.9 / 5, 1.3 / 5])


@pytest.mark.parametrize("price, queries", [(0.1, 10), (0.7, 10), (1 / 3, 3)])
def test_prices_that_are_no_binary_fractions_pay_for_whole_units(price, queries):
    """Sums of float32: ten of 0.1 are more than 1, ten of 0.7 less than 7."""
    for added in (np.cumsum(np.full(queries, price, np.float32)), np.float32(price) * np.arange(1, queries + 1)):
        rows = [("iris", "random", 0, query, query) for query in range(queries + 1)]
        curves = pd.DataFrame(rows, columns=["dataset", "strategy", "repeat", "queries", "score"])
        along = over_money(curves.assign(money=[0.0, *map(float, added)]))
        units = round(price * queries)
        assert along["queries"].tolist() == list(range(units + 1))
        assert along["score"].tolist() == [int(unit / price + 1e-9) for unit in range(units + 1)]


def test_too_little_money_is_told(curves):
    small = {key: [0, 0.1, 0.2] for key in MONEY}
    with pytest.raises(
        AlmetaError, match="data set 'iris' are to be drawn over money, but one of them spends 0.2 in all"
    ):
        over_money(with_money(curves, small))
