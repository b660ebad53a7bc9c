"""What the commands do on pools: training, judging, sweeps over folds, names of data sets on the command line."""

import csv
import json
from pathlib import Path

import pytest
import torch

from almeta.data import load_dataset
from almeta.data.suites import group_of, suite
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import StrategySpec
from almeta.evaluation.report import Report
from almeta.learners import LogisticRegression, Prototype
from almeta.policies import find_policy
from almeta.runs import run_of, training
from almeta.runs.config import TrainConfig
from almeta.runs.pools import PoolRun
from almeta.runs.streams import StreamRun
from almeta.runs.suites import SplitSuite
from almeta.runs.sweep import sweep_report
from almeta.scripts import train
from almeta.strategies import Outputs
from almeta.training.agents import check_agent
from tests.small_config import SMALL, SMALL_POOLS, small_config

TRAIN = (*SMALL, *SMALL_POOLS, "experiment=pool/quickstart", "batches=2", "final_episodes=4")


def pool_config(*overrides: str) -> dict:
    return small_config("experiment=pool/quickstart", *SMALL_POOLS, *overrides)


def pool_run(*overrides: str) -> PoolRun:
    return PoolRun(TrainConfig.read(pool_config(*overrides)))


def split_suite(chosen: dict) -> dict[str, tuple[str, ...]]:
    return SplitSuite.read(chosen).split()


def check_config(config: dict) -> None:
    told = TrainConfig.read(config)
    kind = run_of(told)
    kind.check(told)
    check_agent(told.plain(), kind.kind)


# ---- data sets to train on, and to be judged on


@pytest.mark.parametrize("num_folds", [2, 5])
def test_each_data_set_is_judged_in_one_fold_and_trained_on_in_the_others(num_folds):
    chosen = {"suite": "tables", "num_folds": num_folds, "split_seed": 0}
    parts = [split_suite({**chosen, "fold": fold}) for fold in range(num_folds)]
    assert sorted(name for part in parts for name in part["test"]) == sorted(suite("tables"))
    for part in parts:
        assert sorted((*part["train"], *part["test"])) == sorted(suite("tables"))
        assert not {group_of(name) for name in part["train"]} & {group_of(name) for name in part["test"]}
    other = [split_suite({**chosen, "split_seed": 1, "fold": fold})["test"] for fold in range(num_folds)]
    assert other != [part["test"] for part in parts]


def test_without_a_fold_all_are_for_training_and_with_one_fold_all_for_judging():
    chosen = {"suite": ["iris", "wine"], "num_folds": 1, "fold": None, "split_seed": 0}
    assert split_suite(chosen) == {"train": ("iris", "wine"), "test": ()}
    assert split_suite({**chosen, "fold": 0}) == {"train": (), "test": ("iris", "wine")}
    with pytest.raises(AlmetaError, match=r"dataset\.fold=1, but dataset\.num_folds=1; folds count from 0"):
        split_suite({**chosen, "fold": 1})
    with pytest.raises(AlmetaError, match="unknown suite 'tabels'; did you mean 'tables'"):
        split_suite({**chosen, "suite": "tabels"})


def test_batches_vary_and_evaluations_do_not(tmp_path, monkeypatch):
    """The learner and the options of the last batch are not those that a policy is judged with."""
    run = pool_run("vary={learner:[prototype],budget:[2],num_first:[2]}")
    run.simulation.reset()
    assert type(run.simulation.learner) is Prototype and run.simulation.options.num_first == 2
    settings = []
    monkeypatch.setattr("almeta.runs.suites.find_policy", lambda *_: StrategySpec("margin"))

    def compare(names, contenders, setting, *_, **__):
        settings.append(setting)
        return Report("none")

    monkeypatch.setattr("almeta.runs.pools.compare", compare)
    (tmp_path / "metrics.jsonl").touch()
    run.evaluations["test"] = lambda _: {}
    run.conclude(tmp_path)
    assert type(settings[0].learner) is LogisticRegression
    assert settings[0].env.num_first == 1 and settings[0].env.budget == run.options.budget


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"dataset": {"name": "iris"}},
            r"pools take a suite or a list of data sets; write dataset.suite=\[iris\] in place",
        ),
        ({"learner": None}, None),
        ({"oracle": {"_target_": "os.system"}}, r"oracle\._target_ is 'os.system'; it must be a class or function"),
        ({"learner": {"_target_": "almeta.oracles.Oracle"}}, "learner._target_ is 'almeta.oracles.Oracle'"),
        (
            {"learner": {"_target_": "almeta.learners.svc", "c": 1}},
            "unknown key of learner 'c'; Known: C, gamma, kernel",
        ),
    ],
)
def test_a_config_of_pools_is_checked(change, says):
    config = {**pool_config(), **change}
    if says is None:
        return check_config(config)
    with pytest.raises(AlmetaError, match=says):
        check_config(config)


def test_agents_and_environments_are_of_one_kind():
    pools, streams = pool_config(), small_config()
    for config, part, choice in (
        (pools, "network", streams["network"]),
        (streams, "network", pools["network"]),
        (pools, "agent", small_config("agent=supervised")["agent"]),
    ):
        with pytest.raises(AlmetaError, match=f"{part}._target_ is .*, but env is of kind .*; begin with a preset"):
            check_config({**config, part: choice})


# ---- training


def test_a_run_says_what_it_trains_on_and_holds_back():
    run = pool_run("env.synthetic=0.25")
    assert sorted((*run.names["train"], *run.names["test"])) == ["iris", "wine"]
    text = run.describe()
    assert "training pool_quickstart: GroupReinforce with PoolScorer" in text
    assert "for 4 batches of 4 episodes, on 1 data sets and 25% synthetic tasks" in text
    assert "judged on 1 data sets it never sees" in text
    assert run.simulation.sampler.names == run.names["train"]


def test_an_evaluation_measures_the_same_tasks_at_each_call():
    run = pool_run("env.budget=8")
    assert set(run.evaluations) == {"train", "test"}
    for measure in run.evaluations.values():
        first = measure(run.agent)
        assert measure(run.agent) == first
        assert first["gain"] == pytest.approx(first["aulc"] - first["aulc_of_margin"], abs=1e-6)
        assert first["better"] in (0.0, 1.0)
        assert first["episodes"] == 8
    before = run.evaluations["test"](run.agent)
    with torch.no_grad():
        for weight in run.agent.parameters():
            weight.normal_(0, 10, generator=torch.Generator().manual_seed(0))
    assert run.evaluations["test"](run.agent) != before


def test_a_policy_that_does_as_margin_does_gains_nothing():
    run = pool_run("evaluate_episodes=32")  # fresh: its correction of the prior is zero

    class AsMargin:
        def initial(self, num_envs):
            return ()

        def step(self, state, memory):
            top = state.probabilities.topk(2, -1).values
            return Outputs((top[..., 1] - top[..., 0]).masked_fill(~state.available, -torch.inf)), memory

    measured = run.evaluations["test"](AsMargin())  # type: ignore[arg-type]
    assert abs(measured["gain"]) < 0.01  # ties may be broken otherwise


def test_evaluations_do_not_touch_what_is_trained_on():
    run = pool_run()
    before = run.simulation.generator.get_state()
    run.evaluations["train"](run.agent)
    assert torch.equal(run.simulation.generator.get_state(), before)


@pytest.mark.usefixtures("quick_figures")
def test_a_run_without_a_fold_is_not_judged(tmp_path):
    summary = training.train(TrainConfig.read(pool_config("dataset.fold=null", "batches=2")), tmp_path)
    assert set(summary) == {"kind", "policy", "seed", "batches", "train"}
    assert find_policy(tmp_path).members[0].trained_on == {"iris", "wine"}
    assert not (tmp_path / "curves.csv").exists()
    assert "No fold was held out" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.usefixtures("quick_figures")
def test_a_run_leaves_its_tables_and_figures(tmp_path):
    summary = training.train(TrainConfig.read(pool_config("batches=2", "evaluate_every=1")), tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left >= {"config.yaml", "metrics.jsonl", "last.pt", "best.pt", "gain_over_training.png", "summary.json"}
    assert left >= {"curves.csv", "summary.md", "learning_curves.png", "gains.png"}
    names = {row["strategy"] for row in summary["benchmark"]["strategies"]}
    assert names == {"random", "margin", "entropy", "information_density", "core_set", "pool_quickstart"}
    assert set(summary["test"]) == {"aulc", "aulc_of_margin", "gain", "better", "mean_return", "episodes"}


# ---- sweeps


def test_a_sweep_over_folds_ends_in_a_table_and_is_one_policy(command):
    asked = ("-m", *TRAIN, "dataset.fold=0,1,null", "name=mine", "hydra.sweep.dir=sweep")
    result = command(train, *asked)
    assert result.status == 0, result.err
    with open("sweep/pools.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == ["mine (fold=0)", "mine (fold=1)"]
    for row in rows:
        (folder,) = Path("sweep").glob(f"*fold_{row['policy'][-2]}*")
        test = json.loads((folder / "summary.json").read_text())["test"]
        assert float(row["gain"]) == pytest.approx(test["gain"])
        assert float(row["aulc"]) == pytest.approx(test["aulc"])
    assert not Path("sweep/table.csv").exists()
    assert result.out.rstrip().endswith("wrote pools.csv, table.md, table.tex, report.html to sweep")
    told = Path("sweep/table.md").read_text("utf-8")
    assert "missing: fold=null was judged on no 'test' data in sweep/" in told
    policy = find_policy("sweep")
    assert (policy.name, len(policy.members)) == ("mine", 3)
    assert policy.members[0].trained_on == {"iris", "wine"}
    acting = {name: policy.on(load_dataset(name)).members for name in ("digits", "iris", "wine")}
    assert acting["digits"] == policy.members[:1]
    assert {acting[name][0].path for name in ("iris", "wine")} == {one.path for one in policy.members[1:]}


def test_the_table_of_pools_leaves_out_streams_and_unfinished_jobs(tmp_path, monkeypatch):
    test = {"aulc": 0.5, "gain": 0.1, "better": 1.0}
    contents = {
        "pools": {"kind": "pool", "policy": "mine", "seed": 3, "test": test, "benchmark": {}},
        "streams": {"kind": "stream", "policy": "lstm", "seed": 0, "test": {"accuracy": 0.5}},
        "whole": {"kind": "pool", "policy": "mine", "seed": 0, "train": {"aulc": 0.5}},
    }
    for name in (*contents, "unfinished"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        if name in contents:
            (tmp_path / name / "summary.json").write_text(json.dumps(contents[name]))
    monkeypatch.setattr(StreamRun, "tables_of_jobs", lambda jobs: [])
    monkeypatch.setattr(StreamRun, "figures_of_jobs", lambda jobs: {})
    report = sweep_report(tmp_path)
    (table,) = report.tables
    assert (table.name, table.numbers.to_dict("records")) == ("pools", [{"policy": "mine", "seed": 3, **test}])
    assert sorted(line.partition(" in ")[0] for line in report.sentences) == [
        "missing: a job has no finished summary.json",
        "missing: a job was judged on no 'test' data",
    ]
    assert list(PoolRun.tables_of_jobs([])[0].numbers.columns) == ["policy", "seed", "aulc", "gain", "better"]
