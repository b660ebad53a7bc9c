from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from almeta.checks import (
    Count,
    Positive,
    Share,
    Weight,
    Within,
    check_arguments,
    check_call,
    check_fields,
    check_value,
    check_values,
)
from almeta.errors import AlmetaError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("hint", "good", "bad", "wanted"),
    [
        (int, [0, -3], [1.0, True, "1", None], "a whole number"),
        (float, [0.5, 1, -2], [False, "0.5", NAN, INF, None], "a number"),
        (str, ["", "a"], [1, None, ["a"]], "a text"),
        (bool, [True, False], [0, 1, "true", None], "true or false"),
        (int | None, [None, 3], [1.5, "none"], "a whole number or null"),
        (int | float, [1, 1.5], ["1"], "a whole number or a number"),
        (Literal["a", "b"], ["a"], ["c", None, 1], "'a' or 'b'"),
        (Literal["a", "b"] | None, ["b", None], ["c"], "'a' or 'b' or null"),
        (Count, [1, 10**9], [0, -1, 1.0, True, "1"], "a whole number of at least 1"),
        (Count | None, [None, 1], [0], "a whole number of at least 1 or null"),
        (Share, [0, 1, 0.5], [-0.1, 1.1, NAN, "x"], "a number from 0 to 1"),
        (Positive, [1e-9, 3], [0, -1, NAN, INF], "a number above 0"),
        (Weight, [0, 0.1], [-0.1, INF], "a number of at least 0"),
        (Annotated[int, Within(2, 4)], [2, 4], [1, 5], "a whole number from 2 to 4"),
        (Annotated[float, Within(above=0, high=1)], [1, 0.1], [0, 2], "a number above 0, at most 1"),
        (Sequence[str], [[], ["a"], ("a",)], ["a", {}, None, [1], ["a", None]], "a list of texts"),
        (list[str] | None, [[], ["a"], None], ["a", {}, [1]], "a list of texts or null"),
        (Sequence[tuple[int, int]], [[], [[1, 2]]], ["a", {}], "a list"),
        (dict[str, float], [{}, {"a": 1}], [3, None, []], "a group of keys"),
        (dict[str, Any] | None, [{"a": "b"}, None], [3], "a group of keys or null"),
    ],
)
def test_values(hint, good, bad, wanted):
    for value in good:
        check_value("key", value, hint)
    for value in bad:
        with pytest.raises(AlmetaError) as error:
            check_value("key", value, hint)
        assert str(error.value) == f"key is {value!r}; it must be {wanted}"


def test_what_is_not_a_simple_type_passes():
    for hint in (Any, object, Within):
        check_value("key", "anything", hint)


def test_values_of_a_group_are_named_in_full():
    with pytest.raises(AlmetaError, match=r"^env\.reward\.incorrect is 'x'; it must be a number$"):
        check_value("env.reward", {"correct": 1, "incorrect": "x"}, dict[str, float] | None)


def test_unknown_keys_are_named_with_what_is_near():
    with pytest.raises(AlmetaError, match=r"^unknown key 'bathes'; did you mean 'batches'\? Known: batches, seed$"):
        check_values({"seed": 1, "bathes": 2}, {"seed": int, "batches": int})
    with pytest.raises(AlmetaError, match=r"^unknown key of env 'x'; Known: classes$"):
        check_values({"x": 1}, {"classes": int}, "env")
    check_values({"seed": 1}, {"seed": int, "batches": int})  # what is missing is another matter


def function(data, size: Count, rate: Share = 0.5, *, flag: bool = False) -> None: ...


class Class:
    def __init__(self, size: Count, name: "str | None" = None) -> None: ...


def test_arguments_of_functions_and_classes():
    check_arguments(function, {"data": object(), "size": 3, "rate": 1, "flag": True}, "part")
    check_arguments(Class, {"size": 3, "name": None}, "part")
    with pytest.raises(AlmetaError, match=r"^part\.size is 0; it must be a whole number of at least 1$"):
        check_arguments(function, {"size": 0}, "part")
    with pytest.raises(AlmetaError, match=r"^part\.name is 3; it must be a text or null$"):
        check_arguments(Class, {"name": 3}, "part")
    with pytest.raises(AlmetaError, match=r"^unknown key of part 'sise'; did you mean 'size'\? Known: name, size$"):
        check_arguments(Class, {"sise": 3}, "part")


def test_arguments_that_come_from_elsewhere_are_no_options():
    with pytest.raises(AlmetaError, match=r"^unknown key of part 'data'; .*Known: flag, rate, size$"):
        check_arguments(function, {"data": 1}, "part", given=["data"])


def test_a_call_is_complete_or_told():
    def function(inputs, size: Count, depth: int = 1, **more: Any):
        raise AssertionError("never called")

    check_call(function, {"size": 2}, "network", ("inputs",))
    check_call(function, {"size": 2, "inputs": None}, "network")
    for options, given, says in (
        ({}, ("inputs",), "network is not complete: missing a required argument: 'size'"),
        ({"size": 2}, (), "network is not complete: missing a required argument: 'inputs'"),
        ({"size": 0}, ("inputs",), "network.size is 0; it must be a whole number of at least 1"),
    ):
        with pytest.raises(AlmetaError) as told:
            check_call(function, options, "network", given)
        assert str(told.value) == says


def test_an_argument_that_comes_from_elsewhere_must_be_known():
    def function(size: Count):
        raise AssertionError("never called")

    with pytest.raises(AlmetaError, match="network is not complete: got an unexpected keyword argument 'inputs'"):
        check_call(function, {"size": 2}, "network", ("inputs",))


@dataclass
class Made:
    """A thing with options of its own, and one that is given."""

    given: Any
    share: Share = 0.5
    way: Literal["up", "down"] = "up"


def test_the_fields_of_a_thing_are_checked_but_for_those_given():
    wrong: Any = "left"
    check_fields(Made(object(), 1, "down"), "thing", given=("given",))
    for made, message in [
        (Made(None, 2.0), r"thing\.share is 2\.0; it must be a number from 0 to 1"),
        (Made(None, way=wrong), r"thing\.way is 'left'; it must be 'up' or 'down'"),
    ]:
        with pytest.raises(AlmetaError, match=message):
            check_fields(made, "thing", given=("given",))
    check_fields(Made(None, 2.0), "thing", given=("share",))
