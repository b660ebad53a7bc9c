import importlib
import signal
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from almeta import sources
from almeta.build import build
from almeta.data import Dataset, load_dataset
from almeta.errors import AlmetaError
from almeta.evaluation import benchmark, playing
from almeta.evaluation.benchmark import Contender, Entrant, Setting, StrategySpec, play_cell, run_benchmark, task_seed
from almeta.evaluation.cells import CellStore, Played
from almeta.learners import Augmented, TorchModel, register_learner
from almeta.learners.learner import Samples
from almeta.registry import Table, trust
from almeta.runs import pools as runs
from almeta.runs.config import BenchmarkConfig
from almeta.specs import Spec
from almeta.strategies import PoolStrategy, lal, make_strategy, strategy_class, strategy_names
from tests.data.conftest import published
from tests.forked import Forked
from tests.small_config import compose_config

RANDOM, MARGIN = StrategySpec("random"), StrategySpec("margin")


@dataclass(frozen=True)
class Watched:
    """Acts like a strategy and notes the tasks that it sees; raises in the cells of `broken`."""

    name: str
    seen: dict
    broken: tuple[str, ...] = ()
    where: str = "iris"

    def __str__(self):
        return self.name

    @property
    def digest(self):
        return StrategySpec(self.name).digest

    def check(self, dataset):
        pass

    def on(self, dataset):
        return replace(self, where=dataset.name)

    def make(self, generator):
        if self.where in self.broken:
            raise KeyboardInterrupt
        inner, seen, where = make_strategy(self.name, generator), self.seen, self.where

        class Actor:
            initial = inner.initial

            def step(self, state, memory):
                seen.setdefault(where, []).append(state)
                return inner.step(state, memory)

        return Actor()


def make_setting(*overrides, repeats=3, **options) -> Setting:
    config = compose_config("budget=3", "env.pool_size=20", *overrides, command="benchmark")
    parts = {part: build(config[part], part) for part in ("env", "learner", "oracle")}
    shared = {key: config[key] for key in ("seed", "device", "matmul_precision", "threads")}
    return Setting(**parts, **shared, repeats=repeats, options=options)


def curves_of(dataset, contender, setting):
    """The learning curves `[T + 1, R]` of a cell by the first measure."""
    return play_cell(dataset, contender, setting).scores[0]


@pytest.fixture
def store(tmp_path):
    return tmp_path / "cells.sqlite"


def first_states(setting, *names):
    found = []
    for name in names:
        seen: dict = {}
        play_cell("iris", Watched(name, seen), setting)
        found.append(seen["iris"][0])
    return found


# ---- pairing


def test_all_repeats_are_the_same_tasks_for_everybody():
    one, other = first_states(make_setting("oracle=priced"), "random", "entropy")
    for name in ("x", "exists", "available", "labels", "picks", "probabilities", "prices"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)
    assert not torch.equal(one.x[0], one.x[1])  # and of one data set no two are alike
    assert not torch.equal(one.picks[0], one.picks[1])


def test_a_repeat_is_the_same_task_however_many_there_are():
    (few,) = first_states(make_setting(repeats=2), "random")
    (many,) = first_states(make_setting(repeats=5), "random")
    for name in ("x", "labels", "picks"):
        torch.testing.assert_close(getattr(many, name)[:2], getattr(few, name), rtol=0, atol=0)
    assert len({task_seed(seed, name, repeat) for seed in (0, 1) for name in "ab" for repeat in range(50)}) == 200


def test_the_first_point_is_shared_and_the_numbers_are_the_learners():
    setting = make_setting(repeats=4)
    curves = [curves_of("wine", StrategySpec(name), setting) for name in ("random", "margin", "core_set")]
    assert all(one.shape == (4, 4) and one.dtype == np.float32 for one in curves)
    assert (curves[0][0] == curves[1][0]).all()
    assert (curves[0][0] == curves[2][0]).all()
    assert not (curves[0] == curves[1]).all()
    simulation = setting.simulation(load_dataset("wine"), 4, "by hand")
    simulation.reset(simulation.sampler.draw_seeded([task_seed(0, "wine", repeat) for repeat in range(4)]))
    np.testing.assert_allclose(curves[0][0], simulation.score.numpy(), atol=1e-6)


def test_large_data_sets_are_played_in_batches(monkeypatch):
    setting = make_setting(repeats=5)
    whole = curves_of("iris", RANDOM, setting)
    monkeypatch.setattr(playing, "_BATCH", 2 * (20 + 60) * 4)  # two tasks
    parted = curves_of("iris", RANDOM, setting)
    assert parted.shape == whole.shape
    assert (parted[0] == whole[0]).all()  # the tasks; how ties are broken may differ


def test_batches_of_which_one_has_a_label_less_fit_together(monkeypatch, tmp_path):
    """The class of one row is in the pool of some tasks only, and the budget is what empties the pool."""
    rows = [f"{i % 11},{i % 7},{'rare' if i == 0 else 'ab'[i % 2]}" for i in range(30)]
    path = tmp_path / "rare.csv"
    path.write_text("\n".join(["one,two,label", *rows]))
    monkeypatch.setattr(playing, "_BATCH", 1)
    played = play_cell(f"csv:{path}", RANDOM, make_setting("budget=null", "env.pool_size=null", repeats=6))
    assert played.scores.shape == (1, 18 - 3 + 1, 6)
    assert played.picks.shape == (6, 3 + 18 - 3)  # a first label of each class, where the rare one is in the pool
    assert all(len(set(row[row >= 0])) == sum(row >= 0) >= 17 for row in played.picks)


# ---- what is kept


def test_the_table_has_every_point(store):
    table = run_benchmark(["iris", "wine"], [RANDOM, MARGIN], make_setting(), store).curves
    assert list(table.columns) == ["dataset", "strategy", "repeat", "queries", "score"]
    assert len(table) == 2 * 2 * 3 * 4
    assert not table.duplicated(["dataset", "strategy", "repeat", "queries"]).any()
    cell = table[(table["dataset"] == "wine") & (table["strategy"] == "margin")]
    expected = curves_of("wine", MARGIN, make_setting())
    assert (cell.pivot(index="queries", columns="repeat", values="score").to_numpy() == expected).all()


def test_finished_cells_are_not_played_again(store):
    first_seen: dict = {}
    again_seen: dict = {}
    setting = make_setting()
    first = run_benchmark(["iris"], [RANDOM, Watched("margin", first_seen)], setting, store).curves
    again = run_benchmark(["wine", "iris"], [RANDOM, Watched("margin", again_seen)], setting, store).curves
    assert set(first_seen) == {"iris"}
    assert set(again_seen) == {"wine"}
    pd.testing.assert_frame_equal(again[again["dataset"] == "iris"], first)


def test_cells_of_other_settings_are_left_alone(store):
    setting = make_setting()
    first = run_benchmark(["iris"], [RANDOM], setting, store).curves
    for other in (make_setting("seed=1"), make_setting("learner=ridge"), make_setting(repeats=2)):
        assert not run_benchmark(["iris"], [RANDOM], other, store).curves.equals(first)
    seen: dict = {}
    pd.testing.assert_frame_equal(run_benchmark(["iris"], [Watched("random", seen)], setting, store).curves, first)
    assert not seen
    with sqlite3.connect(store) as database:
        assert database.execute("SELECT COUNT(*) FROM cells").fetchone() == (4,)


def test_a_file_of_ones_own_that_changed_is_played_again(store, tmp_path):
    path = tmp_path / "my.csv"
    setting = make_setting(target="label")

    def play(shift):
        rows = [f"{i % 5},{i % 3},{'ab'[(i + shift * (i // 5)) % 2]}" for i in range(60)]
        path.write_text("\n".join(["one,two,label", *rows]))
        return run_benchmark([f"csv:{path}"], [RANDOM], setting, store).curves

    before = play(0)
    assert play(0).equals(before)
    assert not play(1).equals(before)


def test_a_benchmark_that_was_stopped_goes_on_where_it_was(store, tmp_path):
    setting = make_setting()
    names = ["iris", "wine", "digits"]
    whole = run_benchmark(names, [RANDOM, MARGIN], setting, tmp_path / "whole.sqlite").curves
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(names, [RANDOM, Watched("margin", {}, broken=("wine",))], setting, store)
    seen: dict = {}
    rest = run_benchmark(names, [RANDOM, Watched("margin", seen)], setting, store).curves
    assert set(seen) == {"wine", "digits"}
    pd.testing.assert_frame_equal(rest, whole)


def play_until_wine(store):
    def play(dataset, *rest):
        if dataset == "wine":
            print("in wine", flush=True)
            time.sleep(300)
        return play_cell(dataset, *rest)

    benchmark.play_cell = play  # in a process of its own
    run_benchmark(["iris", "wine"], [RANDOM], make_setting(), store)


def test_a_benchmark_that_was_killed_goes_on_where_it_was(store):
    process = Forked(play_until_wine, store)
    while process.out != "in wine\n":
        assert process.poll() is None, process.err
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    seen: dict = {}
    table = run_benchmark(["iris", "wine"], [Watched("random", seen)], make_setting(), store).curves
    assert set(seen) == {"wine"}
    expected = run_benchmark(["iris", "wine"], [RANDOM], make_setting(), store.with_name("other.sqlite")).curves
    pd.testing.assert_frame_equal(table, expected)


def test_two_processes_give_the_same_as_one(store):
    setting = make_setting("matmul_precision=medium")
    args = (["iris", "wine"], [RANDOM, MARGIN, StrategySpec("vote_entropy")], setting)
    several = run_benchmark(*args, store, jobs=2, backend="loky").curves
    pd.testing.assert_frame_equal(several, run_benchmark(*args, store.with_name("one.sqlite")).curves)


def test_a_cell_computes_as_it_was_asked_to_and_leaves_all_as_it_was(monkeypatch):
    seen = []

    def look(*args):
        seen.append((torch.get_float32_matmul_precision(), torch.get_num_threads()))

    monkeypatch.setattr("almeta.evaluation.playing._play", look)
    torch.set_num_threads(2)
    play_cell("iris", RANDOM, make_setting("matmul_precision=medium", repeats=2))
    assert seen == [("medium", 1)]
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == ("highest", 2)


# ---- measures, picks, seconds


def test_all_measures_are_of_the_same_refits():
    """A play by each measure alone, with the same picks, is what it is held to."""
    setting = make_setting("env.score=macro_f1", "env.query_size=2")
    together = play_cell("wine", MARGIN, replace(setting, measures=("accuracy", "roc_auc")))
    for name, curves in zip(("macro_f1", "accuracy", "roc_auc"), together.scores, strict=True):
        alone = play_cell("wine", MARGIN, make_setting(f"env.score={name}", "env.query_size=2"))
        assert (alone.scores[0] == curves).all() and (alone.picks == together.picks).all()
    assert len({curves.tobytes() for curves in together.scores}) == 3


def test_further_measures_are_further_columns(store):
    setting = make_setting()
    plain = run_benchmark(["iris"], [RANDOM], setting, store).curves
    more = run_benchmark(["iris"], [RANDOM], replace(setting, measures=("macro_f1", "roc_auc")), store).curves
    assert list(more) == ["dataset", "strategy", "repeat", "queries", "score", "macro_f1", "roc_auc"]
    pd.testing.assert_frame_equal(more[list(plain)], plain)


def test_picks_are_rows_of_the_data_set_in_order(store):
    """A plain fit to the rows picked so far, on the rows of the data set, has the scores of the curves."""
    setting = make_setting("env.scale=none", "env.query_size=2", "env.num_first=2", repeats=2)
    results = run_benchmark(["iris"], [MARGIN], setting, store)
    assert list(results.picks) == ["dataset", "strategy", "repeat", "query", "row"]
    iris, test = load_dataset("iris"), setting.simulation(load_dataset("iris"), 2, "by hand")
    tasks = test.sampler.draw_seeded(setting.seeds(iris))
    for repeat, picks in results.picks.groupby("repeat"):
        assert picks["query"].tolist() == [0] * 6 + [1, 2, 3]
        assert np.bincount(iris.y[picks["row"][:6]]).tolist() == [2, 2, 2] and picks["row"].is_unique
        curve = results.curves[results.curves["repeat"] == repeat]["score"].tolist()
        for queries, known in ((0, 6), (1, 6), (2, 8), (3, 9)):
            rows = picks["row"].to_numpy()[:known]
            model = LogisticRegression(max_iter=10_000, tol=1e-8).fit(iris.x[rows], iris.y[rows])
            score = model.score(tasks.test_x[repeat].numpy(), tasks.test_y[repeat].numpy())
            assert curve[queries] == pytest.approx(score, abs=1e-6)


def test_picks_are_rows_of_the_file_where_rows_are_set_aside(store, tmp_path):
    """The first rows have no label, or are neither for training nor for testing; each second one is of one class."""
    file = tmp_path / "gaps.csv"
    rows = [f"{i},{'' if i < 5 else 'ab'[i % 2]},{'train' if i > 9 or i < 5 else 'none'}\n" for i in range(80)]
    file.write_text("size,label,part\n" + "".join(rows) + "3,a,test\n4,b,test\n")
    setting = make_setting("env.pool_size=null", "env.num_first=1", target="label", split="part", keep=["size"])
    with pytest.warns(UserWarning, match="set aside"):
        results = run_benchmark([f"csv:{file}"], [RANDOM], setting, store)
    first = results.picks[results.picks["query"] == 0].groupby("repeat")["row"].agg(sorted)
    assert all(sorted(row % 2 for row in rows) == [0, 1] for rows in first)  # a label of each class
    assert results.picks["row"].min() > 9 and 40 < results.picks["row"].max() < 80


def test_a_rerun_has_the_same_picks_and_seconds(store):
    first = run_benchmark(["iris", "wine"], [RANDOM, MARGIN], make_setting(), store)
    for one, other in zip(first, run_benchmark(["iris", "wine"], [RANDOM, MARGIN], make_setting(), store), strict=True):
        pd.testing.assert_frame_equal(one, other)


class Slow(PoolStrategy):
    """Rests for 20 ms."""

    name = "slow"

    def score(self, state):
        time.sleep(0.02)
        return torch.zeros(state.exists.shape)


class NeedsDropout(PoolStrategy):
    """Cannot do with logistic regression."""

    name = "needs_dropout"
    needs = (Samples,)

    def score(self, state):
        return torch.zeros(state.exists.shape)


@pytest.fixture
def own(monkeypatch):
    """Strategies of these tests, by name."""
    table = own_table()
    for strategy in (Slow, NeedsDropout):
        table.add(strategy.name, strategy)
    monkeypatch.setattr("almeta.strategies._strategies", lambda: table)


@pytest.mark.usefixtures("own")
def test_seconds_are_those_of_the_choice_alone(store):
    setting = make_setting("env.query_size=2", repeats=4)
    results = run_benchmark(["iris"], [RANDOM, StrategySpec("slow")], setting, store)
    random, slow = results.seconds["seconds_a_pick"]
    assert 0 < random < slow
    assert slow >= 0.02 * 2 / 3 / 4  # it scores once in each of two queries, for three picks, in four pools at once
    assert results.seconds["seconds_a_query"].tolist() == pytest.approx([random * 3 / 2, slow * 3 / 2])  # 3 picks in 2


# ---- learners and repeats of one's own


def test_a_contender_may_play_the_first_repeats_only(store):
    setting, few = make_setting("oracle=noisy", repeats=4), make_setting("oracle=noisy", repeats=2)
    entrant = Entrant(MARGIN, repeats=2)
    assert str(entrant) == "margin" and setting.key("iris", "x", entrant) == few.key("iris", "x", MARGIN)
    assert Entrant(MARGIN, repeats=9) != MARGIN and setting.of(Entrant(MARGIN, repeats=9)).repeats == 4
    curves = run_benchmark(["iris"], [RANDOM, entrant], setting, store).curves
    assert curves.groupby("strategy")["repeat"].max().to_dict() == {"random": 3, "margin": 1}
    start = curves[curves["queries"] == 0].pivot(index="repeat", columns="strategy", values="score")
    assert (start["random"] == start["margin"])[:2].all()
    expected = play_cell("iris", MARGIN, few).scores[0]
    assert (curves[curves["strategy"] == "margin"]["score"].to_numpy() == expected.T.ravel()).all()


def test_the_oracle_answers_the_same_in_a_repeat_however_many_there_are():
    answers = []
    for repeats in (2, 5):
        setting = make_setting("oracle=noisy", repeats=repeats)
        ((simulation, tasks, oracles),) = playing._batches(load_dataset("iris"), setting)
        simulation.reset(tasks, oracles)
        answers.append(simulation.answers.labels)
    assert torch.equal(answers[0], answers[1][:2])


def test_a_contender_may_have_its_own_learner():
    entrant = Entrant(MARGIN, Spec("ridge"))
    assert str(entrant) == "margin with ridge"
    found = play_cell("iris", entrant, make_setting())
    expected = play_cell("iris", MARGIN, make_setting("learner=ridge"))
    assert (found.scores[:, 0] == expected.scores[:, 0]).all()
    with pytest.raises(AlmetaError, match="unknown learner 'rigde'; did you mean 'ridge'"):
        Entrant(MARGIN, Spec("rigde"))
    with pytest.raises(AlmetaError, match="repeats of strategy margin is 1; it must be a whole number of at least 2"):
        Entrant(MARGIN, repeats=1)


@pytest.mark.usefixtures("own")
def test_a_learner_that_cannot_do_what_a_strategy_needs_is_told_before_anything_is_played(store):
    needs = "strategy needs_dropout needs a learner with dropout, which it can leave on; LogisticRegression has none"
    with pytest.raises(AlmetaError, match=needs):
        run_benchmark(["iris"], [RANDOM, StrategySpec("needs_dropout")], make_setting(), store)
    with pytest.raises(AlmetaError, match="Ridge has none"):
        run_benchmark(["iris"], [RANDOM, Entrant(StrategySpec("needs_dropout"), Spec("ridge"))], make_setting(), store)
    assert not store.exists()


def test_a_learner_that_does_not_fit_a_later_data_set_is_told_before_anything_is_played(store):
    with pytest.raises(AlmetaError, match="learner cnn"):
        run_benchmark(["digits", "wine"], [RANDOM, Entrant(RANDOM, Spec("cnn"))], make_setting(), store)
    assert not store.exists()


def no_dropout(num_features, num_classes):
    return torch.nn.Linear(num_features, num_classes)


def test_a_network_without_dropout_is_told_before_anything_is_played(store):
    bald = StrategySpec("bald")
    schedule = StrategySpec.read({"name": "schedule", "first": "margin", "then": "bald", "after": 2})
    learner, entrant = TorchModel(no_dropout, steps=1), Entrant(bald, Spec("mlp", (("dropout", 0.0),)))
    for contender in (entrant, schedule):
        with pytest.raises(AlmetaError, match=r"the learner has dropout=0|has no dropout layer"):
            run_benchmark(["iris"], [RANDOM, contender], replace(make_setting(), learner=learner), store)
    assert not store.exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["scores=[]"], r"scores=\[\] names no measure; name one, as scores=\[accuracy\]"),
        (
            ["env.score=macro_f1", "scores=[accuracy,macro_f1]"],
            r"env.score=macro_f1, but scores=\[accuracy,macro_f1\] begins with another .*; leave env.score out, or put",
        ),
    ],
)
def test_measures_that_contradict_each_other_are_told(tmp_path, asked, says):
    config = BenchmarkConfig.read(compose_config("datasets=[iris]", *asked, command="benchmark"))
    with pytest.raises(AlmetaError, match=says):
        runs.benchmark(config, tmp_path)


def test_word_numbers_that_are_read_as_amounts_are_told():
    x = np.random.default_rng(0).integers(1, 9, (60, 4)).astype(np.float32)
    words = Dataset("words", x, np.arange(60) % 2, ("a", "b"), "random numbers", kind="tokens")
    contenders: list[Contender] = [RANDOM, *(Entrant(RANDOM, Spec(name)) for name in ("ridge", "text", "ridge"))]
    with pytest.warns(UserWarning, match="reads the word numbers of a text") as told:
        benchmark._check_learners(contenders, words, make_setting())
    assert [str(one.message).split()[0] for one in told] == ["LogisticRegression", "Ridge"]


@pytest.mark.parametrize(
    "contender, setting, who",
    [
        (Entrant(RANDOM, Spec("augmented")), {}, "Augmented"),
        (Entrant(RANDOM, Spec.read({"name": "pseudo_labels", "base": "augmented"}, "learner")), {}, "PseudoLabels"),
        (RANDOM, {"judge": Augmented("ridge")}, "Augmented"),
        (StrategySpec.read({"name": "entropy", "rotations": [90]}), {}, "entropy"),
        (
            StrategySpec.read({"name": "per_price", "base": {"name": "margin", "rotations": [90]}}),
            {},
            "per_price",
        ),
        (
            StrategySpec.read({"name": "several_learners", "learners": ["ridge", "augmented"]}),
            {},
            "several_learners",
        ),
        (Entrant(RANDOM, Spec.read({"name": "augmented", "rotation": 0}, "learner")), {}, None),
        (RANDOM, {}, None),
    ],
    ids=str,
)
def test_turned_images_without_their_mean_image_are_told(tiny_images, recwarn, contender, setting, who):
    made = replace(make_setting(), **setting)
    benchmark._warn_of_turned_images([contender], tiny_images, made)
    said = [str(one.message) for one in recwarn]
    assert [one.split()[0].split("(")[0] for one in said] == ([who] if who else [])
    assert all("turns the images of data set 'tiny', from which env.scale=standard subtracts" in one for one in said)
    benchmark._warn_of_turned_images([contender], tiny_images, replace(made, env=replace(made.env, scale="minmax")))
    assert len(recwarn) == len(said)
    if who:
        with pytest.warns(UserWarning, match="choose env.scale=minmax"):
            benchmark._warn_of_turned_images([RANDOM, contender], tiny_images, made)


def test_strategies_are_read_with_learners_and_repeats():
    given = ["margin", {"name": "margin", "learner": {"name": "svc", "C": 10}}, {"name": "entropy", "repeats": 4}]
    read = runs.read_strategies([*given, "margin"])
    assert list(map(str, read)) == ["margin", "margin with svc(C=10)", "entropy"]
    assert read[2] == Entrant(StrategySpec("entropy"), None, 4)


@pytest.mark.usefixtures("quick_figures")
def test_a_benchmark_with_all_of_it(tmp_path):
    asked = ("strategies=[margin,{name: entropy, learner: ridge, repeats: 2}]", "learners=[prototype]")
    small = ("datasets=[iris,wine]", "budget=3", "repeats=3", "env.pool_size=20", "scores=[macro_f1,roc_auc]")
    summary = runs.benchmark(BenchmarkConfig.read(compose_config(*asked, *small, command="benchmark")), tmp_path)
    names = ["random", "margin", "entropy with ridge", "random with prototype", "margin with prototype"]
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert curves["strategy"].unique().tolist() == names and list(curves)[-2:] == ["score", "roc_auc"]
    assert summary["measure"] == "macro_f1"
    for name in ("summary", "summary_roc_auc"):
        table = pd.read_csv(tmp_path / f"{name}.csv", index_col="strategy")
        assert table["repeats"].to_dict() == {name: 2 if name == "entropy with ridge" else 3 for name in names}
    picks = pd.read_csv(tmp_path / "picks.csv")
    assert picks.groupby("strategy")["repeat"].nunique().sum() == 4 * 3 + 2
    assert (pd.read_csv(tmp_path / "seconds.csv")["seconds_a_pick"] > 0).all()


# ---- what is wrong


def test_a_file_that_is_something_else_is_told_and_left_alone(store):
    store.write_text("my diary\n" * 100)
    with pytest.raises(AlmetaError, match=r"cells\.sqlite is no file of benchmark cells"):
        run_benchmark(["iris"], [RANDOM], make_setting(), store)
    assert store.read_text() == "my diary\n" * 100


def test_a_database_of_something_else_is_told(store):
    with sqlite3.connect(store) as database:
        database.execute("CREATE TABLE cells (organ TEXT, size REAL)")
    with pytest.raises(AlmetaError, match=r"cells\.sqlite is no file of benchmark cells"):
        run_benchmark(["iris"], [RANDOM], make_setting(), store)


def test_a_database_that_is_cut_off_is_told(store):
    with closing(CellStore(store)) as cells:
        for key in range(20):
            played = Played(np.ones((1, 100, 30), np.float32), np.ones((30, 101), np.int64), 1.0)
            cells.keep(str(key), "iris", "random", played)
    content = store.read_bytes()
    store.write_bytes(content[: len(content) // 2])
    with pytest.raises(AlmetaError, match=r"cells\.sqlite"):
        run_benchmark(["iris"], [RANDOM], make_setting(), store)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(AlmetaError, match="unable to open"):
        run_benchmark(["iris"], [RANDOM], make_setting(), tmp_path / "nowhere" / "cells.sqlite")


@pytest.mark.parametrize(
    ("datasets", "contenders", "says"),
    [
        (["iris", "iris"], [RANDOM], "the data set 'iris' is named twice"),
        (["iris"], [RANDOM, RANDOM], "the strategy or policy 'random' is named twice"),
        ([], [RANDOM], "no data set is named"),
        (["iris"], [], "no strategy or policy is named"),
        (["iris", "irsi"], [RANDOM], "unknown data set 'irsi'; did you mean 'iris'"),
        (["iris", "csv:nowhere.csv"], [RANDOM], "there is no file nowhere.csv"),
    ],
)
def test_mistakes_are_told_before_anything_is_played(store, datasets, contenders, says):
    with pytest.raises(AlmetaError, match=says):
        run_benchmark(datasets, contenders, make_setting(), store)
    assert not store.exists()


def test_an_unknown_strategy_is_told_at_once():
    with pytest.raises(AlmetaError, match="unknown strategy 'magrin'; did you mean 'margin'"):
        StrategySpec("magrin")


def test_a_budget_that_is_too_large_is_told_before_anything_is_played(store):
    with pytest.raises(AlmetaError, match=r"env\.budget=12, but the pool of data set 'digits' has 20 rows"):
        run_benchmark(["iris", "digits"], [RANDOM], make_setting("budget=12"), store)
    assert not store.exists()


def test_an_unknown_backend_is_told(store):
    with pytest.raises(AlmetaError, match="backend 'lokky'"):
        run_benchmark(["iris"], [RANDOM], make_setting(), store, backend="lokky")


def test_a_cell_that_fails_leaves_the_finished_ones(store):
    class Faulty:
        def __str__(self):
            return "faulty"

        digest = "faulty"

        def check(self, dataset):
            pass

        def on(self, dataset):
            return self

        def make(self, generator):
            raise AlmetaError("it cannot act here")

    with pytest.raises(AlmetaError, match="it cannot act here"):
        run_benchmark(["iris"], [RANDOM, Faulty()], make_setting(), store)
    seen: dict = {}
    run_benchmark(["iris"], [Watched("random", seen)], make_setting(), store)
    assert not seen


def test_the_key_tells_apart_whatever_curves_depend_on():
    setting = make_setting()
    others = [
        make_setting("seed=1"),
        make_setting("learner=ridge"),
        make_setting("oracle=noisy"),
        make_setting("env.num_first=2"),
        make_setting("matmul_precision=medium"),
        make_setting(repeats=4),
        replace(setting, device="cuda"),
    ]
    keys = {one.key("iris", "x", RANDOM) for one in [setting, *others]}
    keys |= {setting.key("wine", "x", RANDOM), setting.key("iris", "y", RANDOM), setting.key("iris", "x", MARGIN)}
    assert len(keys) == len(others) + 4
    more = make_setting(n=100)  # an option of synthetic data sets alone
    assert more.key("moons", "x", RANDOM) != setting.key("moons", "x", RANDOM)
    assert more.key("iris", "x", RANDOM) == setting.key("iris", "x", RANDOM)
    same = replace(make_setting("jobs=7", "out=elsewhere"), threads=2)
    assert same.key("iris", "x", RANDOM) == setting.key("iris", "x", RANDOM)


# ---- the source in keys


def key_of(contender, learner="logistic_regression"):
    """The key of a cell, with all sources read anew."""
    return make_setting(f"learner={learner}").key("iris", "x", contender)


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Makes almeta believe that a module's source has one more line: `changed("almeta.pool")`."""

    def change(module):
        file = Path(str(sys.modules[module].__file__))
        copy = tmp_path / file.name
        copy.write_bytes(file.read_bytes() + b"# changed\n")
        monkeypatch.setattr(sys.modules[module], "__file__", str(copy))

    return change


OF_ALL = (
    *(
        "almeta.evaluation.playing",
        "almeta.data.preparation",
        "almeta.envs.measures",
        "almeta.envs.pool",
        "almeta.envs.scores",
        "almeta.geometry",
        "almeta.learners.attacks",
        "almeta.learners.learner",
        "almeta.oracles",
    ),
    *("almeta.pool", "almeta.seeding", "almeta.strategies.choosing", "almeta.tasks.pool", "almeta.training.rollout"),
)


@pytest.mark.parametrize("module", OF_ALL)
def test_a_change_of_what_makes_curves_changes_all_keys(changed, module):
    before = [key_of(contender) for contender in (RANDOM, MARGIN)]
    changed(module)
    assert not {key_of(contender) for contender in (RANDOM, MARGIN)} & set(before)


# Modules that those of all keys use, and that show, store or name things, or are in the keys of those who use them.
NOT_OF_ALL = {
    *("almeta.agents.agent", "almeta.envs.batch", "almeta.envs.classes", "almeta.envs.features", "almeta.envs.render"),
    *("almeta.evaluation.cells", "almeta.evaluation.contenders", "almeta.inputs.inputs"),
    *("almeta.learners.logistic_regression", "almeta.learners.named", "almeta.sources", "almeta.strategies.actor"),
    "almeta.training.compute",
}


def test_all_that_makes_curves_is_in_keys():
    """Whatever the modules of all keys use is one of them; measures use no other at all."""
    used = {module: set(sources._used(module)) - set(playing._CORE) for module in playing._CORE}
    assert set().union(*used.values()) <= NOT_OF_ALL
    assert not used["almeta.envs.measures"] | used["almeta.pool"] | used["almeta.oracles"]


STRATEGIES = {
    "random": "almeta.strategies.random",
    "margin": "almeta.strategies.uncertainty",
    "entropy": "almeta.strategies.uncertainty",
    "information_density": "almeta.strategies.density",
    "core_set": "almeta.strategies.core_set",
    "vote_entropy": "almeta.strategies.committee",
}


@pytest.mark.parametrize("module", sorted({*STRATEGIES.values()}))
def test_a_change_of_a_strategy_changes_its_keys_alone(changed, module):
    before = {name: key_of(StrategySpec(name)) for name in STRATEGIES}
    changed(module)
    other = {name for name in STRATEGIES if key_of(StrategySpec(name)) != before[name]}
    assert other == {name for name in STRATEGIES if STRATEGIES[name] == module or USES.get(name) == module}


# Strategies that are made from others.
USES = dict.fromkeys(("information_density", "vote_entropy"), "almeta.strategies.uncertainty")


def test_a_change_of_a_base_changes_the_key(changed):
    based = [StrategySpec.read({"name": "information_density", "base": base}) for base in ("mean_kl", "margin")]
    before = [key_of(spec) for spec in based]
    changed("almeta.strategies.committee")
    assert [key_of(spec) == key for spec, key in zip(based, before, strict=True)] == [False, True]


@pytest.mark.parametrize("module", ["ridge", "prototype", "mlp", "logistic_regression"])
def test_a_change_of_a_learner_changes_the_keys_of_its_cells_alone(changed, module):
    learners = ("ridge", "prototype", "mlp", "logistic_regression")
    before = {learner: key_of(RANDOM, learner) for learner in learners}
    changed(f"almeta.learners.{module}")
    assert [learner for learner in learners if key_of(RANDOM, learner) != before[learner]] == [module]


def test_a_new_strategy_changes_no_key(tmp_path, monkeypatch):
    before = {name: key_of(StrategySpec(name)) for name in STRATEGIES}
    (tmp_path / "newest_of_tests.py").write_text(
        "from almeta import register_strategy\n"
        "from almeta.strategies import PoolStrategy\n"
        "@register_strategy\n"
        "class Newest(PoolStrategy):\n"
        "    name = 'newest_of_tests'\n"
        "    def __init__(self, power: int = 1) -> None:\n"
        "        self.power = power\n"
        "    def score(self, state):\n"
        "        return state.x[..., 0] ** self.power\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    table = own_table()
    monkeypatch.setattr("almeta.strategies._strategies", lambda: table)
    module = importlib.import_module("newest_of_tests")
    assert {name: key_of(StrategySpec(name)) for name in STRATEGIES} == before
    own = {key_of(StrategySpec.read({"name": "newest_of_tests", "power": power})) for power in (1, 2)}
    assert len(own) == 2
    (tmp_path / "newest_of_tests.py").write_text(Path(str(module.__file__)).read_text() + "# changed\n")
    assert key_of(StrategySpec.read({"name": "newest_of_tests", "power": 1})) not in own
    assert {name: key_of(StrategySpec(name)) for name in STRATEGIES} == before


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a module that Python can import: `written("name", source)`; sources of its own are not left behind."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("almeta.registry._trusted", set())
    monkeypatch.setattr("almeta.learners.named._REGISTERED", Table("learner"))
    names = []

    def write(name, source):
        names.append(name)
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_change_of_what_a_learner_of_ones_own_imports_changes_the_key(written):
    make = "from sizes_of_tests import SIZE\nfrom torch import nn\ndef make(d, c):\n    return nn.Linear(d, c)\n"
    written("sizes_of_tests", "SIZE = 3\n")
    written("networks_of_tests", make)
    trust("networks_of_tests")
    own = {"name": "torch", "module": "networks_of_tests.make"}
    committee = StrategySpec.read({"name": "mean_kl", "members": [own, "ridge"]})
    contenders = [Entrant(RANDOM, Spec.read(own)), committee, RANDOM]
    for name, source in (("networks_of_tests", make), ("sizes_of_tests", "SIZE = 3\n")):
        before = [key_of(contender) for contender in contenders]
        assert [key_of(contender) for contender in contenders] == before
        written(name, f"{source}# changed\n")
        assert [key_of(one) == key for one, key in zip(contenders, before, strict=True)] == [False, False, True]


def test_a_change_of_a_registered_learner_changes_the_keys_of_committees(written):
    source = "from almeta.learners import Ridge\nclass Mine(Ridge):\n    pass\n"
    written("ridge_of_tests", source)
    register_learner("mine_of_tests", importlib.import_module("ridge_of_tests").Mine)
    committees = [
        StrategySpec.read({"name": "vote_entropy", "members": members})
        for members in (["mine_of_tests", "ridge"], ["prototype", "ridge"])
    ]
    before = [key_of(one) for one in committees]
    written("ridge_of_tests", f"{source}# changed\n")
    assert [key_of(one) == key for one, key in zip(committees, before, strict=True)] == [False, True]


def test_a_change_of_the_file_of_lal_changes_its_key(tmp_path, monkeypatch):
    before = [key_of(StrategySpec.read(one)) for one in ("lal", {"name": "information_density", "base": "lal"})]
    (tmp_path / "lal.npz").write_bytes(lal.PAIRS.read_bytes() + b"more")
    monkeypatch.setattr(lal, "PAIRS", tmp_path / "lal.npz")
    after = [key_of(StrategySpec.read(one)) for one in ("lal", {"name": "information_density", "base": "lal"})]
    assert not set(after) & set(before)


def own_table():
    """A copy of the table of strategies, which a test may add to."""
    table: Table = Table("strategy")
    for name in strategy_names():
        table.add(name, strategy_class(name))
    return table


# ---- strategies with options


def test_options_are_part_of_the_name_and_of_the_key():
    read = StrategySpec.read
    specs = [read("information_density"), read({"name": "information_density", "beta": 2})]
    specs.append(read({"name": "information_density", "beta": 0.5}))
    assert list(map(str, specs)) == [
        *("information_density", "information_density(beta=2)", "information_density(beta=0.5)")
    ]
    assert len({key_of(spec) for spec in specs}) == 3
    assert key_of(read({"name": "information_density", "beta": 2.0})) == key_of(specs[1])
    with pytest.raises(AlmetaError, match="unknown key of strategy information_density 'bata'; did you mean 'beta'"):
        read({"name": "information_density", "bata": 2})
    with pytest.raises(AlmetaError, match=r"names no strategy; write its name, or \{name: NAME, OPTION: VALUE\}"):
        read({"beta": 2})


@pytest.mark.usefixtures("quick_figures")
def test_a_benchmark_of_strategies_with_options(tmp_path):
    asked = ("strategies=[margin,{name: information_density, beta: 2},{name: information_density, beta: 0}]",)
    small = ("datasets=[iris]", "budget=3", "repeats=2", "env.pool_size=20", "threads=1")
    config = BenchmarkConfig.read(compose_config(*asked, *small, command="benchmark"))
    runs.benchmark(config, tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    names = ["random", "margin", "information_density(beta=2)", "information_density(beta=0)"]
    assert curves["strategy"].unique().tolist() == names
    table = {name: curves[curves["strategy"] == name]["score"].to_numpy() for name in names}
    spec = StrategySpec.read({"name": "information_density", "beta": 2})
    expected = curves_of("iris", spec, make_setting(repeats=2))
    assert (table["information_density(beta=2)"].reshape(expected.T.shape) == expected.T).all()


def test_a_benchmark_counts_equal_strategies_once_and_tells_two_of_one_name():
    assert [str(spec) for spec in runs.read_strategies(["margin", {"name": "margin"}, "random", "margin"])] == [
        "margin",
        "random",
    ]


def test_curves_of_a_file_do_not_depend_on_where_it_lies(tmp_path):
    rows = "".join(f"{i * 7 % 11},{i * 5 % 13},{i % 2}\n" for i in range(60))
    tables = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / f"{folder}.csv"
        file.write_text(f"size,weight,label\n{rows}")
        store = tmp_path / f"{folder}.sqlite"
        found = run_benchmark([f"csv:{file}"], [RANDOM], make_setting(target="label"), store)
        tables.append(found.curves.drop(columns="dataset"))
    pd.testing.assert_frame_equal(*tables)


def test_a_fixed_test_set_is_what_a_benchmark_tests_on(tmp_path):
    """One test row: scores are 0 or 1. Another test file is another data set."""
    rows = "".join(f"{i * 7 % 11},{i * 5 % 13},{i % 2}\n" for i in range(40))
    (tmp_path / "my.csv").write_text(f"size,weight,label\n{rows}")
    store, other, found = tmp_path / "store.sqlite", tmp_path / "other.csv", []
    for label in (0, 1):
        other.write_text(f"size,weight,label\n3,4,{label}\n")
        setting = make_setting(test=str(other))
        found.append(run_benchmark([f"csv:{tmp_path / 'my.csv'}"], [RANDOM], setting, store).curves["score"].to_numpy())
    assert set(found[0]) | set(found[1]) == {0, 1}
    assert not (found[0] == found[1]).all()


def test_a_published_test_set_is_what_a_benchmark_tests_on(store):
    """The scores are counts of the 2,007 published test images, and no pick is one of them."""
    published("usps/usps_test.csv.gz", "usps/usps_train.csv.gz")
    setting = make_setting(repeats=2, split="published")
    results = run_benchmark(["usps", "iris"], [RANDOM], setting, store)
    scores = results.curves[results.curves["dataset"] == "usps"]["score"] * 2007
    assert scores.to_numpy() == pytest.approx(scores.round().to_numpy(), abs=1e-3)
    assert results.picks[results.picks["dataset"] == "usps"]["row"].max() < 7291


def test_a_folder_of_images_in_a_benchmark(tmp_path, monkeypatch):
    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path / "cache"))
    for place in range(40):
        path = tmp_path / "pets" / ("cat" if place % 2 else "dog") / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 100 * (place % 2) + place).save(path)
    setting = make_setting(size=3)
    results = run_benchmark([f"folder:{tmp_path / 'pets'}"], [RANDOM], setting, tmp_path / "store.sqlite")
    assert results.curves["score"].min() > 0.9  # one is darker
    assert setting.simulation(load_dataset(f"folder:{tmp_path / 'pets'}", size=3), 1, "x").sampler.datasets[
        0
    ].x.shape == (40, 9)
