import numpy as np

import almeta
from almeta.scripts import speed_pool, speed_query


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
