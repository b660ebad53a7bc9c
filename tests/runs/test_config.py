"""What commands are told: a key too many, one missing, one of another type."""

import dataclasses
from typing import Any

import pytest

from almeta.errors import AlmetaError
from almeta.runs.config import BenchmarkConfig, EvaluateConfig, TrainConfig
from almeta.runs.streams import SplitClasses
from almeta.runs.suites import SplitSuite
from tests.small_config import compose_config

CONFIGS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "train": (TrainConfig, ()),
    "evaluate": (EvaluateConfig, ("policy=x",)),
    "benchmark": (BenchmarkConfig, ("datasets=[iris]",)),
}


@pytest.fixture(scope="module")
def composed():
    return {command: compose_config(*asked, command=command) for command, (_, asked) in CONFIGS.items()}


@pytest.fixture(params=sorted(CONFIGS))
def command(request):
    return request.param


def refusal(command, values):
    with pytest.raises(AlmetaError) as told:
        CONFIGS[command][0].read(values)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_the_yaml_and_the_dataclass_have_the_same_keys(command, composed):
    kind, _ = CONFIGS[command]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    assert composed[command].keys() <= fields.keys()
    optional = {name for name, field in fields.items() if field.default is not dataclasses.MISSING}
    assert fields.keys() - optional <= composed[command].keys()


def test_what_was_read_is_what_is_written(command, composed):
    read = CONFIGS[command][0].read(composed[command])
    assert {key: value for key, value in read.plain().items() if key in composed[command]} == composed[command]
    assert CONFIGS[command][0].read(read.plain()) == read
    with pytest.raises(dataclasses.FrozenInstanceError):
        read.seed = 1


def test_one_entry_stands_for_a_list_of_one(composed):
    read = BenchmarkConfig.read(composed["benchmark"] | {"datasets": "iris", "strategies": {"name": "margin"}})
    assert (read.datasets, read.strategies) == (["iris"], [{"name": "margin"}])


def test_an_unknown_key_is_told_with_the_one_that_was_meant(command, composed):
    assert refusal(command, composed[command] | {"sead": 1}).startswith("unknown key 'sead'; did you mean 'seed'?")


def test_every_missing_key_is_told(command, composed):
    kind, _ = CONFIGS[command]
    for field in dataclasses.fields(kind):
        if field.default is field.default_factory is dataclasses.MISSING:
            values = {key: value for key, value in composed[command].items() if key != field.name}
            assert refusal(command, values).startswith(f"the config has no key '{field.name}'")


WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "train": {
        "batches": (0, "batches is 0; it must be a whole number of at least 1"),
        "num_envs": (2.5, "num_envs is 2.5; it must be a whole number of at least 1"),
        "learning_rate": ("fast", "learning_rate is 'fast'; it must be a number above 0"),
        "anneal_lr": ("yes", "anneal_lr is 'yes'; it must be true or false"),
        "max_grad_norm": (-1, "max_grad_norm is -1; it must be a number above 0 or null"),
        "matmul_precision": ("high", "matmul_precision is 'high'; it must be 'highest' or 'medium'"),
        "modules": ([3], "modules is [3]; it must be a list of texts"),
        "env": (None, "env is None; it must be a group of keys"),
        "dataset": ("iris", "dataset is 'iris'; it must be a group of keys or null"),
        "name": (3, "name is 3; it must be a text"),
        "pretraining": ({"batches": 0}, "pretraining.batches is 0; it must be a whole number of at least 1"),
    },
    "evaluate": {
        "classes": ("tests", "classes is 'tests'; it must be 'test' or 'train' or 'all' or 'unseen'"),
        "ask_unnamed": ("yes", "ask_unnamed is 'yes'; it must be true or false"),
        "episodes": (None, "episodes is None; it must be a whole number of at least 1"),
        "repeats": (1, "repeats is 1; it must be a whole number of at least 2"),
        "strategies": (3, "strategies is 3; it must be a list"),
        "policy": (["x"], "policy is ['x']; it must be a text"),
    },
    "benchmark": {
        "budget": (0, "budget is 0; it must be a whole number of at least 1 or null"),
        "datasets": ([3], "datasets is [3]; it must be a list of texts"),
        "area": ("sum", "area is 'sum'; it must be 'mean' or 'trapezoid'"),
        "jobs": (True, "jobs is True; it must be a whole number of at least 1"),
        "backend": (1, "backend is 1; it must be a text or null"),
    },
}


@pytest.mark.parametrize("command, key", [(command, key) for command, keys in WRONG.items() for key in keys])
def test_a_value_of_another_type_is_told(command, key, composed):
    value, says = WRONG[command][key]
    assert refusal(command, composed[command] | {key: value}).startswith(says)


def test_a_part_is_checked_before_anything_is_built(composed):
    for part, change, says in (
        ("env", {"classes": 0}, "env.classes is 0; it must be a whole number of at least 1"),
        ("env", {"clases": 3}, "unknown key of env 'clases'; did you mean 'classes'"),
        ("network", {"hidden_size": "4"}, "network.hidden_size is '4'; it must be a whole number of at least 1"),
        ("agent", {"gamma": 2}, "agent.gamma is 2; it must be a number from 0 to 1"),
        ("agent", {"_target_": "almeta.agents.PPPO"}, "agent._target_ is 'almeta.agents.PPPO', which is not there"),
    ):
        values = composed["train"] | {part: composed["train"][part] | change}
        assert refusal("train", values).startswith(says)


@pytest.mark.parametrize(
    "kind, values, says",
    [
        (SplitClasses, None, "dataset is not complete: missing a required argument: 'name'"),
        (
            SplitClasses,
            {"train_classes": 3, "name": None},
            "dataset is not complete: missing a required argument: 'name'",
        ),
        (SplitClasses, {"nmae": "mnist"}, "unknown key of dataset 'nmae'; did you mean 'name'"),
        (SplitClasses, {"name": "mnist", "train_classes": 1.5}, "dataset.train_classes is 1.5; it must be"),
        (SplitSuite, None, "dataset is not complete: missing a required argument: 'suite'"),
        (SplitSuite, {"suite": "tables", "folds": 3}, "unknown key of dataset 'folds'; did you mean 'fold'"),
        (SplitSuite, {"suite": "tables", "fold": 5}, "dataset.fold=5, but dataset.num_folds=5; folds count from 0"),
        (
            SplitSuite,
            {"name": "iris"},
            "pools take a suite or a list of data sets; write dataset.suite=[iris] in place of",
        ),
        (SplitSuite, {"suite": 3}, "dataset.suite is 3; it must be"),
    ],
)
def test_the_data_that_a_kind_needs_are_checked(kind, values, says):
    with pytest.raises(AlmetaError) as told:
        kind.read(values)
    assert str(told.value).startswith(says)


def test_half_of_the_classes_are_for_training_if_nobody_says():
    assert SplitClasses.read({"name": "mnist", "train_classes": None}) == SplitClasses("mnist", 0.5, 0)
