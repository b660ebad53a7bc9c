import numpy as np

from almeta.scripts import speed_pool


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
