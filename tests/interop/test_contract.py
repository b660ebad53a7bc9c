"""Strategies of other libraries keep to the contract of our own."""

import functools
import inspect

import pytest

import almeta.strategies
from almeta.errors import AlmetaError
from almeta.strategies import is_strategy, make_strategy, strategy_names
from tests.strategies import test_contract as contract

# Of each library one that scores by probabilities, one that scores by distances, and one that draws.
NAMES = {
    "skactiveml": ["skactiveml.UncertaintySampling", "skactiveml.CoreSet", "skactiveml.Badge"],
    "modAL": ["modAL.margin_sampling", "modAL.uncertainty_batch_sampling"],
}
CHECKS = [
    functools.partial(contract.test_finite_for_rows_that_may_be_picked_and_minus_infinity_for_others, labelled=(0, 3)),
    functools.partial(
        contract.test_finite_for_rows_that_may_be_picked_and_minus_infinity_for_others, labelled=(13, 10)
    ),
    contract.test_one_class_is_no_trouble,
    contract.test_the_same_seed_gives_the_same_picks,
    contract.test_the_state_is_left_as_it_was,
    contract.test_several_picks_without_an_answer_are_different_rows,
    contract.test_the_pool_can_be_exhausted,
    contract.test_labels_that_were_not_given_do_not_matter,
]
ALIKE = [
    functools.partial(contract.test_padding_changes_nothing, more=(20, 5, 3)),
    contract.test_the_order_of_the_rows_does_not_matter,
    contract.test_a_row_counts_once_however_many_annotators_may_be_asked_about_it,
]


# Badge draws rows, and modAL takes the first of equal ones.
ORDERLY = ["skactiveml.UncertaintySampling", "skactiveml.CoreSet"]


def called(check):
    return getattr(check, "func", check).__name__


@pytest.mark.filterwarnings("ignore:(Since the|The) 'base_estimator':UserWarning")
@pytest.mark.parametrize("check", CHECKS, ids=called)
@pytest.mark.parametrize("library, name", [(library, name) for library, names in NAMES.items() for name in names])
def test_it_keeps_to_the_contract(library, name, check):
    pytest.importorskip(library)
    check(name)


@pytest.mark.parametrize("check", ALIKE, ids=called)
@pytest.mark.parametrize("name", ORDERLY)
def test_padding_and_order_change_nothing(name, check):
    pytest.importorskip("skactiveml")
    check(name)


@pytest.mark.parametrize("library", NAMES)
def test_names_of_libraries_are_known_without_being_listed(library):
    pytest.importorskip(library)
    name = NAMES[library][0]
    assert is_strategy(name) and name not in strategy_names()
    assert type(make_strategy(name)).name == name
    assert type(make_strategy(name)) is almeta.strategies.strategy_class(name)
    with pytest.raises(AlmetaError, match=f"unknown .* '{name.split('.')[1][:-1]}'; did you mean"):
        make_strategy(name[:-1])
    assert not is_strategy("sklearn.svm")
    assert not is_strategy(7)


@pytest.mark.parametrize("library", NAMES)
def test_options_of_theirs_are_checked_before_anything_is_played(library):
    pytest.importorskip(library)
    name, option = {
        "skactiveml": ("skactiveml.UncertaintySampling", "method"),
        "modAL": ("modAL.uncertainty_batch_sampling", "metric"),
    }[library]
    assert option in inspect.signature(almeta.strategies.strategy_class(name)).parameters
    with pytest.raises(AlmetaError, match=f"strategy {name} '{option[:-1]}'; did you mean '{option}'"):
        make_strategy({"name": name, option[:-1]: "entropy"})
    for taken in ("random_state", "missing_label", "classifier", "X", "n_instances"):
        with pytest.raises(AlmetaError, match=f"unknown key of strategy {name} '{taken}'"):
            make_strategy({"name": name, taken: 1})
