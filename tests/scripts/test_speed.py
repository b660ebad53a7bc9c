import re

import numpy as np
import pytest

import almeta
from almeta.errors import AlmetaError
from almeta.learners.learner import EmbedsWords
from almeta.scripts import speed_memories, speed_pool, speed_query, speed_strategies
from almeta.strategies import PoolStrategy


def test_the_comparison_prints_a_line_and_agrees_with_scikit_learn(monkeypatch, capsys):
    for name, small in (("EPISODES", 4), ("QUERIES", 3), ("PLAIN", 2)):
        monkeypatch.setattr(speed_pool, name, small)
    speed_pool.compare("iris", 30, 0.4, repeats=1)
    cells = capsys.readouterr().out.split()
    assert cells[:2] == ["iris", "30"]
    assert all(float(cell.replace(",", "")) > 0 for cell in cells[2:6])
    assert float(cells[-1]) < 1e-3  # the largest difference in probability


def test_the_plain_loop_is_paired_with_the_picks(monkeypatch):
    monkeypatch.setattr(speed_pool, "PLAIN", 2)
    tasks = speed_pool.random_tasks(2, 20, 3)
    seconds, picks = speed_pool.play(tasks, speed_pool.make_strategy("random"), 4)
    assert seconds > 0 and picks.shape == (2, 4)
    found = speed_pool.plain_loop(tasks, picks)
    assert len(found) == 4 and found[0].shape == (2, 20, 2)
    np.testing.assert_allclose(np.sum(found, -1), 1.0)


def test_queries_are_compared_with_a_plain_loop(monkeypatch, capsys):
    monkeypatch.setattr(speed_query, "PICKS", 2)
    monkeypatch.setattr(speed_query, "ROWS", (100, 200))
    speed_query.query(1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["100", "200"]
    assert all(line.count("x") == 3 for line in lines[2:])


def test_the_plain_loop_begins_with_the_row_that_margin_picks():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.full(300, None, dtype=object)
    y[:50] = np.where(X[:50, 0] > 0, "a", "b")
    assert speed_query._plain(X, y)[:3] == almeta.query(X, y, 3, by="margin").tolist()


def test_strategies_are_compared_with_scikit_activeml(monkeypatch, capsys):
    pytest.importorskip("skactiveml")
    smaller = {"ROWS": (25, 30, 40), "PICKS": 2, "BATCH": 5, "REPEATS": 2, "CLASSES": 3, "POOLS": 4, "POOL_SIZE": 30}
    for name, small in ({"LARGE_ROWS": 500} | smaller).items():
        monkeypatch.setattr(speed_strategies, name, small)
    speed_strategies.digits.cache_clear()  # of other numbers of classes
    monkeypatch.setattr(speed_strategies, "in_new_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(speed_strategies, "strategy_names", lambda target: ["core_set", "margin", "look_ahead"])
    speed_strategies.strategies(1)
    lines = capsys.readouterr().out.splitlines()
    ratios = [(line.split()[0], len(re.findall(r"\dx", line))) for line in lines[2:5] + lines[6:8]]
    assert ratios == [("core_set", 3), ("margin", 3), ("look_ahead", 0), ("core_set", 3), ("margin", 3)]
    losses = [line for line in lines if "Spearman" in line]
    assert len(losses) == 2 and all(float(line.split()[-1]) > 0.99 for line in losses)
    assert "500 rows" in lines[-1]
    speed_strategies.digits.cache_clear()


@pytest.mark.parametrize("name", ["margin", "core_set"])
def test_both_pick_the_same_digits(name):
    pytest.importorskip("skactiveml")
    ours, theirs = (play(name, 200)() for play in (speed_strategies.ours_by_query, speed_strategies.theirs_by_query))
    assert ours == theirs


def test_a_strategy_that_takes_long_is_left_out_for_larger_pools(monkeypatch):
    monkeypatch.setattr(speed_strategies, "LIMIT", 0.0)
    assert re.search(
        r"random +[\d.]+ +[\d.]+x   left out: [\d.]+ s with fewer rows$", speed_strategies.line_of("random", 1)
    )


def test_a_learner_is_found_for_what_a_strategy_needs(monkeypatch):
    assert speed_strategies.learner_for("margin") == "logistic_regression"

    class Wanting(PoolStrategy):
        needs = (EmbedsWords,)

    monkeypatch.setattr(speed_strategies, "make_strategy", lambda *_: Wanting())
    monkeypatch.setattr(speed_strategies, "LEARNERS", ("ridge",))
    monkeypatch.setattr(Wanting, "name", "wanting", raising=False)
    with pytest.raises(AlmetaError, match="wanting needs a learner with an embedding of words"):
        speed_strategies.learner_for("wanting")


def test_memories_are_timed_and_what_is_trained_at_once(monkeypatch, capsys, tiny_images):
    monkeypatch.setattr(speed_memories, "ENVS", 2)
    monkeypatch.setattr(speed_memories, "NETWORKS", ("episodic", "gru"))
    monkeypatch.setattr(speed_memories, "PRICES", (-1.0, -5.0))
    speed_memories.memories(tiny_images, 1, 1)
    episodic, gru = (line.split() for line in capsys.readouterr().out.splitlines()[3:])
    assert (episodic[0], len(episodic)) == ("episodic", 7)  # with the ratio and its range
    assert (gru[0], len(gru)) == ("gru", 3)
    assert all(float(cell.replace(",", "")) > 0 for cell in (*episodic[1:4], *gru[1:3]))
