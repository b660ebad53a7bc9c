"""What people add from outside: things by name, and whose modules configs may name."""

import json
import sys

import pytest
from torch import nn

import almeta
from almeta import registry
from almeta.agents import QLearning, register_agent, register_network
from almeta.build import find_target
from almeta.errors import AlmetaError
from almeta.registry import Table, import_extra, import_modules, is_trusted, trust
from almeta.runs import find_run, register_kind
from almeta.runs.pools import PoolRun


@pytest.fixture(autouse=True)
def _nothing_trusted(monkeypatch):
    """What a test trusts is forgotten after it."""
    monkeypatch.setattr(registry, "_trusted", set())


# --- tables ---


def one():
    return 1


def two():
    return 2


def test_things_are_found_by_name():
    table = Table[object]("thing")
    table.add("second", two)
    table.add("first", one)
    assert table.names == ["first", "second"]
    assert table.find("first") is one and "second" in table and "third" not in table


def test_an_unknown_name_is_told_with_the_nearest():
    table = Table[object]("thing")
    with pytest.raises(AlmetaError, match="unknown thing 'first'; Known: none"):
        table.find("first")
    table.add("first", one)
    with pytest.raises(AlmetaError, match=r"unknown thing 'frist'; did you mean 'first'\? Known: first"):
        table.find("frist")


def test_a_name_stands_for_one_thing():
    table = Table[object]("thing")
    table.add("first", one)
    table.add("first", one)
    with pytest.raises(AlmetaError, match="there is another thing 'first' already; choose another name"):
        table.add("first", two)
    assert table.find("first") is one


def test_what_is_defined_anew_in_one_place_takes_the_place_of_the_old():
    """As when a module is loaded anew, or a cell of a notebook is run again."""

    def define():
        class Thing:
            pass

        return Thing

    table, old, new = Table[object]("thing"), define(), define()
    table.add("first", old)
    table.add("first", new)
    assert table.find("first") is new


@pytest.mark.parametrize("name", ["", " ", None, 3])
def test_a_thing_needs_a_name(name):
    table = Table[object]("thing")
    with pytest.raises(AlmetaError, match=f"a thing needs a name; {name!r} is none"):
        table.add(name, one)
    assert table.names == []


# --- trust ---


class Curious(QLearning):
    """An agent of one's own."""


class Empty(almeta.agents.PoolScorer):
    """A network of one's own."""


@pytest.mark.parametrize(
    "register, thing, part", [(register_agent, Curious, "agent"), (register_network, Empty, "network")]
)
def test_what_is_registered_may_be_named(register, thing, part):
    target = f"{__name__}.{thing.__name__}"
    with pytest.raises(AlmetaError, match=rf"{part}\._target_ is '{target}'; it must be .* or almeta\.register_{part}"):
        find_target(target, part)
    assert register(thing) is thing
    assert find_target(target, part) is thing
    with pytest.raises(AlmetaError, match="which is not there"):
        find_target(f"{__name__}.Missing", part)


def test_trust_is_of_one_module_alone():
    trust("mine.agents")
    assert is_trusted("mine.agents")
    assert not is_trusted("mine") and not is_trusted("mine.agents.more") and not is_trusted("os")
    with pytest.raises(AlmetaError, match=r"agent\._target_ is 'os\.system'; it must be a class or function that"):
        find_target("os.system", "agent")


@pytest.mark.parametrize("wrong", [Empty, QLearning.explore, "QLearning", None])
def test_what_is_no_agent_is_refused(wrong):
    with pytest.raises(AlmetaError, match=r"is no agent; derive a class from almeta\.agents\.Agent"):
        register_agent(wrong)
    assert not is_trusted(__name__)


class Stepless(nn.Module):
    """A module without `step`."""

    def initial(self, num_envs):
        return ()


class Memoryless(nn.Module):
    """A module without `initial`."""

    def step(self, view, memory):
        return view, None, memory


@pytest.mark.parametrize("wrong", [Stepless, Memoryless, Empty.step, "LSTMNetwork", object])
def test_what_is_no_network_is_refused(wrong):
    with pytest.raises(AlmetaError, match="is no network; it must be a torch module with `initial` and `step`"):
        register_network(wrong)
    assert not is_trusted(__name__)


def test_a_kind_that_is_taken_is_refused():
    class Other(PoolRun):
        """Has the kind of the one it is derived from."""

    with pytest.raises(AlmetaError, match="there is another kind of problem 'pool' already; choose another name"):
        register_kind(Other)
    with pytest.raises(AlmetaError, match="is no kind of runs; derive a class from Run and give it a kind"):
        register_kind(QLearning)  # type: ignore[arg-type]
    assert find_run("pool") is PoolRun


def test_modules_of_ones_own_are_imported_and_trusted(tmp_path, monkeypatch):
    (tmp_path / "my_own_rules.py").write_text("done = []\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_modules(["my_own_rules"])
    assert "my_own_rules" in sys.modules and is_trusted("my_own_rules")
    monkeypatch.delitem(sys.modules, "my_own_rules")
    with pytest.raises(
        AlmetaError, match=r"modules=\[my_other_rules\] cannot be imported .* set PYTHONPATH to its folder"
    ):
        import_modules(["my_other_rules"])
    assert not is_trusted("my_other_rules")


# --- packages of extras


def test_a_package_of_an_extra_is_imported_or_told(tmp_path, monkeypatch):
    assert import_extra("json", "files", "data=x") is json
    with pytest.raises(
        AlmetaError, match=r"^a thing needs nowhere, which is not installed; pip install 'almeta\[files\]'$"
    ):
        import_extra("nowhere.below", "files", "a thing")
    (tmp_path / "damaged.py").write_text("raise RuntimeError('another torch')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AlmetaError, match="a thing needs damaged, which cannot be imported: another torch; install it"):
        import_extra("damaged", "files", "a thing")
