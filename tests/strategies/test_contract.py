"""What every strategy of pools keeps to, and that none is left out here."""

import ast
import importlib
import inspect
import pkgutil
from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import almeta.strategies
from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.strategies import PoolStrategy, make_strategy, strategy_class, strategy_names
from almeta.strategies.choosing import best_action
from almeta.strategies.class_shares import class_strategy_names
from almeta.strategies.features import cell_strategy_names
from almeta.strategies.stream_thresholds import StreamRule
from tests.strategies.pools import asked_of, is_among, make_pools, utilities_of

NAMES = strategy_names()
# Those that draw numbers, and those that draw the row itself.
CHANCE = {"random", "vote_entropy", "soft_vote_entropy", "mean_kl", "variation_ratio"}
DROPOUT = {"dropout_variance", "max_entropy", "dropout_variation_ratio", "bald", "batch_bald"}
CHANCE |= DROPOUT | {"albl", "lal", "committee_variance", "emcm"}
BLIND = {"random", "albl"}
# The one that goes by the order of the rows.
ORDERED = {"along_stream"}
# Those that draw a number for each question, or go by what is known of each annotator.
BY_QUESTION = {"best_annotator"}
SIGHTED = [name for name in NAMES if name not in BLIND]


def of_classes(name):
    """Whether a strategy is for classes, perhaps among others."""
    return "classes" in strategy_class(name).targets


def pools_for(name, **options):
    """Pools of classes, or of numbers for a strategy that is for these alone."""
    return make_pools(numbers=not of_classes(name), **options)


def utilities(name, pools, seed=0):
    return utilities_of(make_strategy(name, make_generator(seed, "test")), pools.state)


def choose(name, pools, seed=0):
    return best_action(utilities(name, pools, seed), pools.state.available, make_generator(seed, "ties"))


def options_of(strategy):
    return {key: value for key, value in vars(strategy).items() if key != "generator" and not key.startswith("_")}


def assert_alike(first, second):
    torch.testing.assert_close(first, second, atol=2e-6, rtol=1e-5)


LABELLED = {"none": (0, 0), "none in one": (0, 3), "one": (1, 1), "some": (4, 3), "all but one": (13, 10)}


@pytest.mark.parametrize("labelled", LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize("name", NAMES)
def test_finite_for_rows_that_may_be_picked_and_minus_infinity_for_others(name, labelled):
    pools = pools_for(name, labelled=labelled)
    result = utilities(name, pools)
    assert result.dtype == torch.float32
    assert result.shape == (2, 14)
    assert torch.equal(result.isfinite(), pools.state.available)
    assert (result[~pools.state.available] == -torch.inf).all()
    assert pools.state.available.sum(1).tolist() == [14 - labelled[0], 11 - labelled[1]]


@pytest.mark.parametrize("name", strategy_names("classes"))
def test_one_class_is_no_trouble(name):
    alone = make_pools(classes=(1, 1))
    assert alone.state.probabilities.shape[-1] == 1
    assert torch.equal(utilities(name, alone).isfinite(), alone.state.available)
    seen = make_pools(labelled=(1, 1))  # of several classes one was seen
    assert seen.state.probabilities.amax() == 1
    assert torch.equal(utilities(name, seen).isfinite(), seen.state.available)


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_the_other_kind_are_told(name):
    targets = make_strategy(name).targets
    for numbers, target in ((False, "classes"), (True, "numbers")):
        pools = make_pools(numbers=numbers)
        if target in targets:
            assert torch.equal(utilities(name, pools).isfinite(), pools.state.available)
            continue
        with pytest.raises(AlmetaError, match=rf"strategy \w+ is for {targets[0]}, and targets are {target}; choose"):
            utilities(name, pools)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_picks(name):
    assert torch.equal(utilities(name, pools_for(name), 3), utilities(name, pools_for(name), 3))
    assert torch.equal(choose(name, pools_for(name), 3), choose(name, pools_for(name), 3))


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_used_where_it_is_said(name):
    same = torch.equal(utilities(name, pools_for(name), 0), utilities(name, pools_for(name), 1))
    assert same == (name not in CHANCE)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_left_as_it_was(name):
    pools = pools_for(name)
    before = {key: deepcopy(value) for key, value in vars(pools.state).items() if isinstance(value, Tensor)}
    strategy = make_strategy(name)
    options = deepcopy(options_of(strategy))
    utilities_of(strategy, pools.state)
    for key, value in before.items():
        torch.testing.assert_close(getattr(pools.state, key), value, rtol=0, atol=0, equal_nan=True, msg=key)
    assert pools.state.geometry.x is pools.state.x
    assert options_of(strategy) == options


@pytest.mark.parametrize("name", NAMES)
def test_several_picks_without_an_answer_are_different_rows(name):
    pools = pools_for(name)
    probabilities = pools.state.probabilities
    for _ in range(6):
        pools = pools.pick(choose(name, pools))
    assert torch.equal(pools.state.probabilities, probabilities)
    for picks, size in zip(pools.state.picks, (14, 11), strict=True):
        rows = picks[picks >= 0].tolist()
        assert len(set(rows)) == len(rows)
        assert max(rows) < size


@pytest.mark.parametrize("query_size", [3, 50])
@pytest.mark.parametrize("name", NAMES)
def test_the_picks_of_a_query_are_different_rows(name, query_size):
    """Also where the pools are smaller than the query."""
    pools = pools_for(name, sizes=(9, 9), labelled=(3, 3))
    pools = replace(pools, state=replace(pools.state, query_size=query_size))
    generator = make_generator(0, "test")
    strategy = make_strategy(name, generator)
    memory = strategy.initial(2)
    for _ in range(min(query_size, 6)):
        outputs, memory = strategy.step(pools.state, memory)
        assert torch.equal(outputs.utilities.isfinite(), pools.state.available)
        pools = pools.pick(best_action(outputs.utilities, pools.state.available, generator))
    for picks in pools.state.picks.tolist():
        assert len(set(picks)) == len(picks)


@pytest.mark.parametrize("name", NAMES)
def test_new_tensors_lie_on_the_device_of_the_state(name):
    """What is made without naming a device lands on one here that holds no numbers, and does not mix with others."""
    pools = pools_for(name)
    expected = utilities(name, pools)
    with torch.device("meta"):
        torch.testing.assert_close(utilities(name, make_again(pools)), expected)


def make_again(pools):
    """The same pools, of whose distances nothing is known yet."""
    with torch.device("cpu"):
        return pools.rearranged(torch.arange(pools.state.x.shape[1]))


@pytest.mark.parametrize("name", NAMES)
def test_the_pool_can_be_exhausted(name):
    pools = pools_for(name, sizes=(9, 9), labelled=(1, 1))
    generator = make_generator(0, "test")
    strategy = make_strategy(name, generator)
    memory = strategy.initial(2)
    while pools.state.available.any():
        for _ in range(2):
            outputs, memory = strategy.step(pools.state, memory)
            pools = pools.pick(best_action(outputs.utilities, pools.state.available, generator))
        pools = pools.answer()
    assert pools.state.picks.sort(1).values.tolist() == [list(range(9))] * 2
    assert torch.equal(pools.state.labels, pools.y)
    assert (utilities_of(strategy, pools.state) == -torch.inf).all()


@pytest.mark.parametrize(
    "more", [(4, 0, 0), (0, 3, 0), (0, 0, 2), (20, 5, 3)], ids=["rows", "columns", "classes", "all"]
)
@pytest.mark.parametrize("name", SIGHTED)
def test_padding_changes_nothing(name, more):
    plain, padded = pools_for(name), pools_for(name, more=more)
    assert padded.state.x.shape == (2, 14 + more[0], 3 + more[1])
    assert padded.state.probabilities.shape[-1] == (3 + more[2] if of_classes(name) else 0)
    assert_alike(utilities(name, padded)[:, :14], utilities(name, plain))
    # and as the batch goes on
    rows = choose(name, plain)
    assert_alike(utilities(name, padded.pick(rows))[:, :14], utilities(name, plain.pick(rows)))


@pytest.mark.parametrize("name", NAMES)
def test_pools_of_a_batch_do_not_meet(name):
    """Who draws has the first numbers for the first pool, whatever other pools there are."""
    pools = pools_for(name)
    strategy = {"name": name, "num_samples": 16} if name in DROPOUT else name  # normal numbers come in blocks of 16
    together = utilities(strategy, pools)
    for pool in range(1 if name in CHANCE else 2):
        assert_alike(together[pool], utilities(strategy, pools.alone(pool))[0])


@pytest.mark.parametrize("name", sorted(set(SIGHTED) - ORDERED))
def test_the_order_of_the_rows_does_not_matter(name):
    pools = pools_for(name, more=(2, 0, 0))
    order = torch.randperm(16, generator=make_generator(0, "order"))
    assert_alike(utilities(name, pools.rearranged(order)), utilities(name, pools)[:, order])


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_were_not_given_do_not_matter(name):
    """Rows whose labels the oracle declined to give were picked all the same."""
    pools = pools_for(name)
    pools = pools.pick(choose(name, pools))
    declined = is_among(pools.state.picks[:, -1:], 14)
    state = pools.answer().state
    assert state.is_labelled[declined].all()
    state.labels[declined] = -1 if of_classes(name) else torch.nan
    result = utilities_of(make_strategy(name), state)
    assert torch.equal(result.isfinite(), state.available)


@pytest.mark.parametrize("name", sorted(set(SIGHTED) - BY_QUESTION))
def test_a_row_counts_once_however_many_annotators_may_be_asked_about_it(name):
    """Its questions are alike, and what is said of them does not depend on how many there are."""
    alone = pools_for(name, sizes=(18, 11), labelled=(4, 3))
    several = asked_of(alone, 3)
    strategy = {"name": name, "num_samples": 16} if name in DROPOUT else name
    for query_size in (1, 3):
        expected, found = (
            utilities(strategy, replace(pools, state=replace(pools.state, query_size=query_size)))
            for pools in (alone, several)
        )
        open_ones = several.state.available  # others may be asked again
        assert_alike(found[open_ones], expected.repeat_interleave(3, 1)[open_ones])


@pytest.mark.parametrize("name", NAMES)
def test_the_picks_of_a_query_are_different_rows_whoever_is_asked(name):
    pools = asked_of(pools_for(name, sizes=(9, 9), labelled=(3, 3)), 3)
    state = replace(pools.state, query_size=4)
    generator = make_generator(0, "test")
    strategy = make_strategy(name, generator)
    memory = strategy.initial(2)
    for _ in range(4):
        outputs, memory = strategy.step(state, memory)
        row = best_action(outputs.utilities, state.available, generator)
        taken = is_among((row // 3)[:, None], 9).repeat_interleave(3, 1)
        picks = torch.cat((state.picks, row[:, None]), 1)
        state = replace(state, picks=picks, available=state.available & ~taken, spent=state.spent + 1)
    for picks in (state.picks // 3).tolist():
        assert len(set(picks)) == len(picks) == 7


# ---- by name


def test_names_are_those_of_the_files():
    """Read from the source, so that a strategy that cannot be found is missed."""
    folder = Path(almeta.strategies.__file__).parent
    written = [
        str(statement.value.value)
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and ast.unparse(statement.targets[0]) == "name"
        and isinstance(statement.value, ast.Constant)
    ]
    of_others = [*class_strategy_names(), *cell_strategy_names()]  # rules of other kinds of problems
    assert sorted([*strategy_names(), *of_others]) == sorted(written)
    assert {"random", "margin", "entropy", "least_confident", "information_density"} <= set(written)
    assert {"core_set", "vote_entropy", "mean_kl"} <= set(written)


def test_names_by_what_they_are_for():
    classes, numbers = set(strategy_names("classes")), set(strategy_names("numbers"))
    assert classes | numbers == set(NAMES) and classes & numbers == {
        *("random", "core_set", "robust_core_set", "typiclust", "gsx")
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_is_made_by_name(name):
    strategy = make_strategy(name)
    assert isinstance(strategy, PoolStrategy)
    assert strategy.name == name


def test_options_are_passed_on():
    assert vars(make_strategy("mean_kl", num_members=7)) == {"num_members": 7, "members": "bagging"}
    assert vars(make_strategy("information_density", beta=2))["beta"] == 2


MISTAKES = {
    "name": (("margn", {}), r"unknown strategy 'margn'; did you mean 'margin'\? Known: .*core_set"),
    "option": (("margin", {"beta": 1}), "unknown key of strategy margin 'beta'; Known: balance, rotations"),
    "misspelt option": (("mean_kl", {"num_member": 3}), "did you mean 'num_members'?"),
    "value": (("vote_entropy", {"num_members": 1}), "strategy vote_entropy.num_members is 1; .* at least 2"),
    "kind": (("information_density", {"beta": "high"}), "strategy information_density.beta is 'high'; .* a number"),
}


@pytest.mark.parametrize("call, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(call, message):
    name, options = call
    with pytest.raises(AlmetaError, match=message):
        make_strategy(name, **options)


@pytest.mark.usefixtures("fresh_table")
def test_a_new_strategy_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "dearest.py").write_text(
        "from almeta.strategies import PoolStrategy\n"
        "class Dearest(PoolStrategy):\n"
        "    name = 'dearest'\n"
        "    def score(self, state):\n"
        "        return state.prices\n"
        "class Helper(Dearest):\n"
        "    pass\n",
        "utf-8",
    )
    monkeypatch.setattr(almeta.strategies, "__path__", [*almeta.strategies.__path__, str(tmp_path)])
    assert strategy_names() == sorted([*NAMES, "dearest"])
    assert type(make_strategy("dearest")).__name__ == "Dearest"  # a class without a name of its own is none
    assert torch.equal(utilities("dearest", make_pools()).isfinite(), make_pools().state.available)


# ---- nothing goes untested


PATH = almeta.strategies.__path__


def family_files():
    """Modules that define a strategy, or a rule of streams."""
    modules = [importlib.import_module(f"almeta.strategies.{m.name}") for m in pkgutil.iter_modules(PATH)]
    return {module.__name__.split(".")[-1]: module for module in modules if list(own(module, inspect.isclass))}


def own(module, kind):
    """Public things of a kind that a module defines; of classes only strategies and rules with a name."""
    for name, value in vars(module).items():
        is_own = kind(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if is_own and (not inspect.isclass(value) or name_of(value)):
            yield value


def name_of(kind):
    """The name that a class has of its own, for strategies and rules; else None."""
    if issubclass(kind, PoolStrategy):
        return vars(kind).get("name")
    return vars(kind).get("rule") if issubclass(kind, StreamRule) else None


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def options_passed(tree):
    """For each class, function and name: the keywords of its calls, and the keys of its specs, as they are written."""
    passed: dict[str, set[str | None]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called, keywords = node.func.id, {keyword.arg for keyword in node.keywords}
            passed[called] |= keywords
            if called in ("make_strategy", "make_rule") and node.args:
                passed[constant(node.args[0])] |= keywords
        elif isinstance(node, ast.Dict):
            given = {constant(key): constant(value) for key, value in zip(node.keys, node.values, strict=True)}
            if given.get("name"):
                passed[given["name"]] |= set(given) - {"name"}
    return passed


@pytest.mark.parametrize("family", family_files())
def test_every_public_function_strategy_and_option_has_a_test_of_values(family):
    module = family_files()[family]
    path = Path(__file__).with_name(f"test_{family}.py")
    passed = options_passed(ast.parse(path.read_text("utf-8")))
    assert {function.__name__ for function in own(module, inspect.isfunction)} <= set(passed)
    missing: dict[str, set[str | None]] = {}
    for kind in own(module, inspect.isclass):
        assert kind.__name__ in passed
        options = set(inspect.signature(kind).parameters) - passed[kind.__name__] - passed[name_of(kind)]
        missing |= {kind.__name__: options} if options else {}
    assert not missing, "no test passes these options"


def test_options_count_for_those_to_whom_they_are_passed():
    source = "make_strategy('a', x=1); B(y=2); f({'name': 'c', 'z': 3}); make_rule({'name': 'd', 'w': 4}, v=5); g(u=6)"
    passed = options_passed(ast.parse(source))
    assert {key: passed[key] for key in "aBcd"} == {"a": {"x"}, "B": {"y"}, "c": {"z"}, "d": {"w"}}
