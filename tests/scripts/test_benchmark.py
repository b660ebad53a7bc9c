"""The command that compares strategies and policies, and the one that judges a policy on a table of one's own."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from almeta.build import build
from almeta.evaluation import benchmark as cells
from almeta.evaluation import playing
from almeta.learners.scikit import Scikit
from almeta.runs import training
from almeta.runs.config import TrainConfig
from almeta.runs.pools import chosen_policies
from almeta.scripts import benchmark, evaluate, train
from tests.small_config import SMALL, SMALL_POOLS, compose_config, small_config

FILES = {
    *(
        "aulc.csv",
        "cells.sqlite",
        "curves.csv",
        "summary.csv",
        "summary.json",
        "summary.md",
        "summary.tex",
        "tests.csv",
    ),
    *("picks.csv", "seconds.csv", "summary.tex"),
    *("gain_curves.png", "gains.png", "learning_curves.png", "report.html"),
}
TINY = ("budget=3", "repeats=2", "env.pool_size=15", "env.max_test=20", "strategies=[random,margin]", "out=out")
TRAIN = (*SMALL, *SMALL_POOLS, "experiment=pool/quickstart", "batches=1", "evaluate_every=9", "final_episodes=4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small policy of pools, trained on one of iris and wine."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
        training.train(TrainConfig.read(small_config(*TRAIN)), folder)
    return folder


@pytest.fixture
def run(command, trained):
    """A copy of it where the command runs."""
    shutil.copytree(trained, "run")
    return "run"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No data folder, an empty cache, and nobody answers."""

    def refuse(*args, **options):
        raise OSError("the network is not there")

    monkeypatch.delenv("ALMETA_DATA", raising=False)
    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def mixed_table(rows=60, seed=0) -> pd.DataFrame:
    """Numbers, categories, missing values; labels are text."""
    random = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    frame = pd.DataFrame(
        {
            "age": y * 2.0 + random.normal(size=rows),
            "colour": np.array(["red", "green", "blue"])[(y + (random.random(rows) < 0.3)) % 3],
            "married": random.random(rows) < 0.5,
            "label": np.array(["good", "bad", "ugly"])[y],
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "colour"] = None
    return frame


def files(folder="out") -> set[str]:
    return {path.name for path in Path(folder).iterdir() if path.is_file()}


# ---- a policy on a table of one's own


def test_a_policy_is_judged_on_a_table_of_ones_own(command, run):
    mixed_table().to_csv("my.csv", index=False)
    asked = [f"policy={run}", "dataset=csv:my.csv", "dataset.target=label", "repeats=2", "hydra.run.dir=out"]
    result = command(evaluate, *asked)
    assert result.status == 0, result.err
    summary = json.loads(Path("out/summary.json").read_text())
    assert (summary["policy"], summary["datasets"]) == ("run", [f"csv:{Path('my.csv').resolve()}"])
    assert files() >= FILES
    curves = pd.read_csv("out/curves.csv")
    names = {"random", "margin", "entropy", "information_density", "core_set", "pool_quickstart"}
    assert set(curves["strategy"]) == names
    assert set(curves["queries"]) == {0, 1, 2, 3}  # as in training
    assert set(curves["repeat"]) == {0, 1}
    assert curves["score"].between(0, 1).all()
    first = curves[curves["queries"] == 0].pivot(index="repeat", columns="strategy", values="score")
    assert (first.nunique(axis=1) == 1).all()
    assert "pool_quickstart" in result.out


def test_an_evaluation_may_change_the_environment_and_the_parts(command, run):
    mixed_table().to_csv("my.csv", index=False)
    asked = [f"policy={run}", "dataset=csv:my.csv", "repeats=2", "hydra.run.dir=out", "strategies=[core_set]"]
    changes = ["env.budget=2", "env.score=macro_f1", "env.query_size=2", "learner=ridge", "oracle=noisy"]
    assert command(evaluate, *asked, *changes).status == 0
    curves = pd.read_csv("out/curves.csv")
    assert set(curves["strategy"]) == {"random", "margin", "core_set", "pool_quickstart"}
    assert set(curves["queries"]) == {0, 1, 2}
    assert json.loads(Path("out/summary.json").read_text())["benchmark"]["measure"] == "macro_f1"


def test_a_policy_meets_classes_and_columns_that_training_cut_away(command, monkeypatch):
    cut = ["env.max_classes=2", "env.max_features=2"]
    assert command(train, *TRAIN, *cut, "hydra.run.dir=run").status == 0
    mixed_table().to_csv("my.csv", index=False)
    seen = []

    def watch(simulation, actor, generator, tasks, *others):
        seen.append(tasks)
        return play(simulation, actor, generator, tasks, *others)

    play = playing.record_pools
    monkeypatch.setattr(playing, "record_pools", watch)
    asked = ["policy=run", "dataset=csv:my.csv", "repeats=2", "hydra.run.dir=out", "strategies=[]"]
    assert command(evaluate, *asked).status == 0
    assert {(tasks.max_classes, tasks.x.shape[-1]) for tasks in seen} == {(3, 5)}


def test_a_policy_is_judged_on_the_fold_that_training_held_back_or_on_that_of_another_suite(command, run):
    few = [f"policy={run}", "repeats=2", "strategies=[]"]
    assert command(evaluate, *few, "hydra.run.dir=own").status == 0
    own = json.loads(Path("own/summary.json").read_text())["datasets"]
    assert own == list(json.loads(Path("run/summary.json").read_text())["benchmark"]["datasets"])
    (seen,) = {"iris", "wine"} - set(own)
    names = f"dataset=embedded dataset.suite=[{own[0]},moons] dataset.fold=0 dataset.num_folds=1".split()
    assert command(evaluate, *few, *names, "env.pool_size=15", "hydra.run.dir=other").status == 0
    assert json.loads(Path("other/summary.json").read_text())["datasets"] == [own[0], "moons"]
    refused = command(evaluate, *few, f"dataset={seen}", "hydra.run.dir=seen")
    assert f"the policy 'pool_quickstart' was trained on '{seen}'" in refused.error
    assert not Path("seen").exists()


# ---- a benchmark


def test_a_benchmark_leaves_tables_figures_and_words(command, run):
    free = json.loads(Path("run/summary.json").read_text())["benchmark"]["datasets"].popitem()[0]
    result = command(benchmark, *TINY, f"policies=[{run}]", f"datasets=[{free},moons,digits]", "budget=2")
    assert result.status == 0, result.err
    assert files() == FILES | {"ranks.png"}
    summary = json.loads(Path("out/summary.json").read_text())
    assert {row["strategy"] for row in summary["strategies"]} == {"random", "margin", "pool_quickstart"}
    assert set(summary["datasets"]) == {free, "moons", "digits"}
    assert summary["verdict"]
    assert " ".join(summary["verdict"][0].split()) in " ".join(result.out.replace("\n", " ").split())
    before = Path("out/curves.csv").read_bytes()
    again = command(benchmark, *TINY, f"policies=[{run}]", f"datasets=[{free},moons,digits]", "budget=2")
    assert again.out == result.out
    assert Path("out/curves.csv").read_bytes() == before


def test_a_benchmark_that_was_stopped_goes_on_where_it_was(command, monkeypatch):
    asked = [*TINY, "datasets=[iris,wine]"]
    whole = command(benchmark, *asked, "out=whole")
    played: list[tuple[str, str]] = []

    def play_few(dataset, contender, setting):
        if len(played) == 2:
            raise KeyboardInterrupt
        played.append((dataset, contender.name))
        return play(dataset, contender, setting)

    play = cells.play_cell
    with monkeypatch.context() as patch:
        patch.setattr(cells, "play_cell", play_few)
        stopped = command(benchmark, *asked)
    assert stopped.status == 130
    assert stopped.err.splitlines()[-1] == "stopped"
    assert files() == {"cells.sqlite"}
    again: list[tuple[str, str]] = []

    def play_all(dataset, contender, setting):
        again.append((dataset, contender.name))
        return play(dataset, contender, setting)

    monkeypatch.setattr(cells, "play_cell", play_all)
    rest = command(benchmark, *asked)
    assert len(again) == 2
    assert not set(again) & set(played)
    assert Path("out/curves.csv").read_bytes() == Path("whole/curves.csv").read_bytes()
    assert rest.out == whole.out.replace("to whole", "to out")


def test_random_is_always_there(command):
    assert command(benchmark, *TINY, "datasets=[iris]", "strategies=[]").status == 0
    assert set(pd.read_csv("out/curves.csv")["strategy"]) == {"random"}
    assert command(benchmark, *TINY, "datasets=[iris]", "strategies=[margin,margin,random]").status == 0
    assert set(pd.read_csv("out/curves.csv")["strategy"]) == {"random", "margin"}


def test_policies_of_one_name_are_told_apart_by_their_folders(command, run):
    assert command(train, *TRAIN, "seed=1", "hydra.run.dir=other").status == 0
    assert [policy.name for policy in chosen_policies(["run", "other"])] == ["run", "other"]
    assert [policy.name for policy in chosen_policies(["run"])] == ["pool_quickstart"]
    assert [policy.name for policy in chosen_policies(["run"], {"pool_quickstart"})] == ["run"]
    assert (
        "the strategy or policy 'run' is named twice"
        in command(benchmark, *TINY, "datasets=[moons]", "policies=[run,run]").error
    )


def test_a_suite_is_a_list_of_data_sets(command):
    assert command(benchmark, *TINY, "suite=embedded", "env.pool_size=16").status == 0
    assert set(pd.read_csv("out/curves.csv")["dataset"]) == {"breast_cancer", "digits", "iris", "wine"}


def test_other_names_of_a_data_set_are_the_same(command):
    found = command(benchmark, *TINY, "datasets=[three_cluster,three-cluster]")
    assert "is named twice" in found.error


# ---- the published protocol


def test_the_protocol_of_the_re_benchmark():
    config = compose_config("protocol=rebenchmark", command="benchmark")
    learner = build(config["learner"], "learner")
    assert isinstance(learner, Scikit)
    svc = learner.make(seed=0, rows=20)
    assert {key: svc.get_params()[key] for key in ("C", "kernel", "gamma")} == {
        "C": 1.0,
        "kernel": "rbf",
        "gamma": "auto",
    }
    env = config["env"]
    assert (env["first"], env["num_first"], env["test_share"]) == ("random", 20, 0.4)
    assert env["budget"] is None and env["pool_size"] is None and env["max_test"] is None
    assert (env["query_size"], env["score"]) == (1, "accuracy")
    assert (config["repeats"], config["area"], config["reference"]) == (30, "trapezoid", "margin")
    assert config["datasets"] == ["sonar", "heart_statlog", "ionosphere", "wdbc", "german_numer"]
    other = compose_config("protocol=rebenchmark", "datasets=[iris]", "repeats=2", command="benchmark")
    assert (other["datasets"], other["repeats"]) == (["iris"], 2)


def test_the_protocol_runs_until_the_pool_is_empty(command):
    y = np.arange(60) % 2
    x = np.random.default_rng(0).normal(size=(60, 2)) + y[:, None]
    pd.DataFrame({"one": x[:, 0], "two": x[:, 1], "label": y}).to_csv("my.csv", index=False)
    result = command(benchmark, "protocol=rebenchmark", "datasets=['csv:my.csv']", "repeats=2", "out=out")
    assert result.status == 0, result.err
    curves = pd.read_csv("out/curves.csv")
    assert curves["queries"].max() == 36 - 20
    last = curves[curves["queries"] == 16].pivot(index="repeat", columns="strategy", values="score")
    np.testing.assert_allclose(last["random"], last["margin"], atol=1e-6)  # everything is labelled
    assert json.loads(Path("out/summary.json").read_text())["area"] == "trapezoid"


# ---- bad input


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("datasets=[iris] strategies=[magrin]", "unknown strategy 'magrin'; did you mean 'margin'? Known: "),
        ("datasets=[irsi]", "unknown data set 'irsi'; did you mean 'iris'? Known: "),
        ("suite=tabels", "unknown suite 'tabels'; did you mean 'tables'? Known: "),
        ("datasets=[iris] policies=[nowhere]", "no checkpoint at nowhere; name a run's folder, "),
        ("datasets=[iris] policies=[other.pt]", "other.pt is damaged or no checkpoint ("),
        ("datasets=[iris] policies=[foreign]", "no checkpoint at foreign/last.pt; name a run's folder"),
        ("strategies=[margin]", "name the data sets either one by one, datasets=[iris,wine], or as a suite, "),
        ("datasets=[iris] suite=embedded", "both suite=embedded and datasets=[iris] are set, perhaps one of them"),
        ("datasets=[]", "no data set is named; a benchmark needs at least one"),
        ("datasets=[1]", "datasets is [1]; it must be a list of texts or null"),
        ("datasets=[iris,iris]", "the data set 'iris' is named twice; name it once"),
        ("datasets=[moons,iris] budget=200", "env.budget=200, but the pool of data set 'moons' has "),
        ("datasets=[iris] budget=13", "env.budget=13, but the pool of data set 'iris' has 15 rows, 12 of them "),
        ("datasets=[iris] budget=0", "budget is 0; it must be a whole number of at least 1 or null"),
        ("datasets=[iris] repeats=1", "repeats is 1; it must be a whole number of at least 2"),
        ("datasets=[iris] area=median", "area is 'median'; it must be 'mean' or 'trapezoid'"),
        ("datasets=[iris] jobs=0", "jobs is 0; it must be a whole number of at least 1"),
        ("datasets=[iris] backend=lokky", "unknown backend 'lokky'; did you mean 'loky'? Known: dask, "),
        ("datasets=[iris] jobs=2 backend=dask", "backend=dask needs its scheduler: backend_options={scheduler_host:"),
        (
            "datasets=[iris] strategies=[transfer]",
            "'transfer' is a policy, not a strategy; name it as policies=[transfer]",
        ),
        ("datasets=[iris] strategies=['mean_kl(num_members=3)']", "give options as {name: mean_kl, OPTION: VALUE}"),
        (
            "datasets=[iris] budget=5 env.query_size=6",
            "env.query_size=6 is more than env.budget=5, all that may be asked",
        ),
        ("datasets=[iris] learner=svm", "unknown learner 'svm'; did you mean 'svc'? Known: "),
        ("datasets=[iris] protocol=rebench", "unknown protocol 'rebench'; did you mean 'rebenchmark'? Known: "),
        ("datasets=[iris] env.num_first=-1", "env.num_first is -1; it must be a whole number of at least 0"),
        ("datasets=[iris] env.query_size=0", "env.query_size is 0; it must be a whole number of at least 1"),
        ("datasets=[iris] env.score=acuracy", "env.score is 'acuracy'; it must be 'accuracy' or "),
        ("datasets=[iris] env.test_share=2", "env.test_share is 2; it must be a number above 0, at most 1"),
        ("datasets=[iris] env.pool_size=2", "data set 'iris'"),
        ("datasets=[iris] device=gpu", "device=gpu cannot be used here"),
        ("datasets=[iris] +options.n=3", "unknown key of data set iris 'n'"),
        ("datasets=[iris] +option.n=3", "unknown key 'option'; did you mean 'options'?"),
        ("dataset=iris", "unknown key 'dataset'; a benchmark is on several data sets: write datasets=[iris]"),
        ("+dataset=iris", "unknown key 'dataset'; a benchmark is on several data sets: write datasets=[iris]"),
        ("datasets=[csv:my.csv] target=label", "unknown key 'target'; write options.target=..."),
        ("datasets=[iris] scores=[acuracy]", "unknown measure 'acuracy'; did you mean 'accuracy'?"),
        ("datasets=[iris] strategies=[{name:margin,repeats:1}]", "repeats of strategy margin is 1; it must be"),
        ("datasets=['csv:nowhere.csv']", "there is no file {here}/nowhere.csv (looked for in {here})"),
    ],
)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(command, overrides, says):
    Path("other.pt").write_bytes(b"something else")
    Path("foreign").mkdir()
    result = command(benchmark, *TINY, *overrides.split())
    assert result.status == 1
    assert says.replace("{here}", str(Path.cwd())) in result.error
    assert result.error.startswith("error: ")
    assert not Path("out").exists()


def test_an_unknown_scale_of_an_exercise_is_told(command):
    result = command(benchmark, "experiment=exercise/digits", "scale=papr", "out=out")
    assert result.status == 1
    assert result.error.startswith("error: unknown scale 'papr'; did you mean 'paper'?")


@pytest.mark.filterwarnings("ignore:A network error occurred")
@pytest.mark.parametrize("name", ["openml:61", "sonar", "openml:iris"])
def test_no_network_and_no_cache(command, no_network, name):
    result = command(benchmark, *TINY, f"datasets=[iris,'{name}']")
    assert result.status == 1
    assert result.error.startswith("error: ")
    assert name.removeprefix("openml:") in result.error
    assert not Path("out").exists()


def write(text: str) -> None:
    Path("my.csv").write_text(text)


def rows(*more: str, header="one,two,label", n=40) -> str:
    return "\n".join([header, *(f"{i % 7},{i % 5 / 4},{'ab'[i % 2]}" for i in range(n)), *more, ""])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "my.csv cannot be read: its first line is empty"),
        ("one,label\n", "my.csv has a header and no rows"),
        (rows(header="one,two,lable"), "unknown target column 'label'; did you mean 'lable'?"),
        (rows().replace(",b", ",a"), "all 40 rows have the label 'a'"),
        (rows("3,inf,a"), "column 'two' has 1 values that are infinite or too large, the first in row 41"),
        (rows("3,0,a,9"), "my.csv cannot be read: "),
        (rows(n=6), "env.budget=3, but the pool of data set 'csv:{here}/my.csv' has 4 rows, 2 of them without a label"),
        (rows(n=2), "data set 'csv:{here}/my.csv' has 2 rows: 1 for the pool and 1 for testing"),
        ("label\n" + "a\nb\n" * 20, "besides the labels there is no column to learn from"),
        ("\x00\x01\x02", "my.csv"),
    ],
)
def test_tables_that_cannot_be_used(command, text, says):
    write(text)
    result = command(benchmark, *TINY, "datasets=['csv:my.csv']", "options.target=label")
    assert result.status == 1
    assert says.replace("{here}", str(Path.cwd())) in result.error
    assert not Path("out").exists()


@pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(rows("3,0.5,rare"), id="a class with one row"),
        pytest.param(rows("nan,0.5,a", ",,b", "NaN,?,a"), id="NaN and missing values"),
        pytest.param(
            rows().replace("label", "label,same", 1).replace("a\n", "a,5\n").replace("b\n", "b,5\n"), id="flat"
        ),
        pytest.param(rows().replace("label", "label,no", 1).replace("a\n", "a,\n").replace("b\n", "b,\n"), id="empty"),
        pytest.param("one,label\n" + "1,a\n" * 20 + "1,b\n" * 20, id="a constant column alone"),
        pytest.param("one,label\n" + "1,a\n" * 20 + "2,b\n" * 20 + "2,a\n", id="duplicate rows"),
        pytest.param(
            "x,z,label\n" + "".join(f"c{i % 10000},{i % 3},{'ab'[i % 2]}\n" for i in range(25000)), id="10,000"
        ),
        pytest.param("x,z,label\n" + "".join(f"id{i},{i % 3},{'ab'[i % 2]}\n" for i in range(60)), id="identifiers"),
    ],
)
def test_tables_that_can_be_used(command, text):
    write(text)
    result = command(benchmark, *TINY, "datasets=['csv:my.csv']", "options.target=label")
    assert result.status == 0, result.err
    curves = pd.read_csv("out/curves.csv")
    assert curves["score"].between(0, 1).all()
    assert len(curves) == 2 * 2 * 4


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("dataset=csv:my.csv dataset.target=lable", "unknown target column 'lable'; did you mean 'label'?"),
        ("dataset=csv:none.csv", "there is no file {here}/none.csv"),
        ("dataset=irsi", "unknown data set 'irsi'; did you mean 'iris'?"),
        ("dataset=heart dataset.target=label", "unknown key of data set heart_statlog 'target'"),
        ("dataset=csv:my.csv env.budget=99", "env.budget=99, but the pool of data set 'csv:{here}/my.csv' has 15 rows"),
        ("dataset=csv:my.csv env.num_first=-1", "env.num_first is -1; it must be a whole number of at least 0"),
        ("dataset=csv:my.csv env.classes=3", "of kind 'pool', where env.classes=... means nothing; leave it out"),
        ("dataset=csv:my.csv strategies=[margn]", "unknown strategy 'margn'; did you mean 'margin'?"),
        ("dataset=embedded dataset.fold=7", "dataset.fold=7, but dataset.num_folds="),
        ("+dataset.target=label", "has no name; choose one: dataset=NAME"),
        ("dataset=embedded dataset.fold=null", "held out no data set"),
        ("dataset=named", "dataset.name is missing; say what it is: dataset.name=..."),
        ("policy=nowhere", "no checkpoint at nowhere; name a run's folder"),
        ("policy=my.csv", "my.csv is damaged or no checkpoint"),
    ],
)
def test_what_an_evaluation_cannot_do_is_told_in_one_line(command, run, overrides, says):
    mixed_table().to_csv("my.csv", index=False)
    result = command(evaluate, f"policy={run}", "repeats=2", "hydra.run.dir=out", *overrides.split())
    assert result.status == 1
    assert says.replace("{here}", str(Path.cwd())) in result.error
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("env=pool agent=q_learning", "agent.exploration=balanced is for streams; choose uniform"),
        ("env.num_first=-1", "env.num_first is -1; it must be a whole number of at least 0"),
        ("env.query_size=0", "env.query_size is 0; it must be a whole number of at least 1"),
        ("num_envs=5", "num_envs=5 is no multiple of env.group=2, the episodes per task"),
        ("env.budget=40", "env.budget=40, but the pool of data set "),
        ("dataset.fold=2", "dataset.fold=2, but dataset.num_folds=2; folds count from 0"),
        ("dataset.num_folds=3", "num_folds=3, but the 2 data sets are 2 groups of near-duplicates"),
        ("dataset.suite=tabels", "unknown suite 'tabels'; did you mean 'tables'?"),
        ("dataset.suite=[iris,wnie]", "unknown data set 'wnie'; did you mean 'wine'?"),
        ("dataset.suite=[iris,3]", "dataset.suite is ['iris', 3]; it must be a text or a list of texts"),
        ("dataset.fold=-1", "dataset.fold is -1; it must be a whole number of at least 0 or null"),
    ],
)
def test_training_that_cannot_be_is_told_in_one_line(command, overrides, says):
    result = command(train, *TRAIN, "hydra.run.dir=out", *overrides.split())
    assert result.status == 1
    assert says.replace("{here}", str(Path.cwd())) in result.error
    assert not Path("out").exists()


def test_a_store_that_is_something_else_is_told_and_kept(command):
    Path("out").mkdir()
    Path("out/cells.sqlite").write_text("my diary")
    result = command(benchmark, *TINY, "datasets=[iris]")
    assert "out/cells.sqlite is no file of benchmark cells" in result.error
    assert Path("out/cells.sqlite").read_text() == "my diary"


def test_the_threads_of_a_cell_are_those_asked_for(command):
    assert command(benchmark, *TINY, "datasets=[iris]", "threads=2").status == 0
    assert torch.get_num_threads() == 2


def test_a_report_names_who_judges(command):
    asked = ("datasets=[iris]", *TINY, "judge={name: svc, C: 2}")
    result = command(benchmark, *asked)
    told = "2 strategies on 1 data set, 2 repeats each, judged by svc(C=2)"
    assert result.status == 0 and f"\n{told}\n" in result.out
    assert Path("out/summary.md").read_text("utf-8").startswith(f"# {told}")
    result = command(benchmark, *asked, "settings={small: {}, noisy: {oracle: {noise: 0.2}}}")
    assert "2 strategies in 2 settings on 1 data set, 2 repeats each, judged by svc(C=2)" in result.out
