"""The pairs that the strategy `lal` learns from can be made again."""

import numpy as np

from almeta.scripts import simulate_lal
from almeta.strategies.lal import NUM_CANDIDATES, PAIRS


def test_the_first_task_is_the_one_that_is_shipped(tmp_path, monkeypatch, capsys):
    out = tmp_path / "lal.npz"
    monkeypatch.setattr("sys.argv", ["simulate_lal.py", "--tasks", "1", "--out", str(out)])
    simulate_lal.main()
    assert f"{NUM_CANDIDATES} pairs in {out}" in capsys.readouterr().out
    with np.load(out) as made, np.load(PAIRS) as shipped:
        assert set(made) == set(shipped) == {"features", "drops"}
        for name in made:
            np.testing.assert_allclose(made[name], shipped[name][:NUM_CANDIDATES], atol=1e-5)
