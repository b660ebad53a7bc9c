"""How strategies and learners are named together with their options."""

import pytest

from almeta.errors import AlmetaError
from almeta.specs import Spec

TEXTS = {
    "a name": ("margin", "margin"),
    "a mapping without options": ({"name": "margin"}, "margin"),
    "an option": ({"name": "information_density", "beta": 2}, "information_density(beta=2)"),
    "a whole number as float": ({"name": "information_density", "beta": 2.0}, "information_density(beta=2)"),
    "a fraction": ({"name": "information_density", "beta": 0.5}, "information_density(beta=0.5)"),
    "options in their order": ({"b": 1, "name": "mine", "a": "x"}, "mine(b=1, a=x)"),
    "a list": ({"name": "mine", "sizes": [1, 2.0, [0.5, "a"]]}, "mine(sizes=[1, 2, [0.5, a]])"),
    "another spec": ({"name": "mine", "base": {"name": "margin", "k": 2}, "beta": 1}, "mine(base=margin(k=2), beta=1)"),
    "truth and nothing": ({"name": "mine", "fast": True, "seed": None}, "mine(fast=True, seed=None)"),
}


@pytest.mark.parametrize("given, text", TEXTS.values(), ids=TEXTS)
def test_texts(given, text):
    assert str(Spec.read(given)) == text


def test_equal_specs_are_equal_and_hashable():
    one, other = (Spec.read({"name": "mine", "beta": beta, "sizes": [1, 2]}) for beta in (2, 2.0))
    assert one == other and hash(one) == hash(other) and str(one) == str(other)
    assert Spec.read(one) is one
    assert Spec.read("margin") == Spec.read({"name": "margin"}) == Spec("margin")
    assert Spec.read("margin") != Spec.read({"name": "margin", "beta": 2})


@pytest.mark.parametrize(
    "given", [{"beta": 2}, {"name": 3}, {"name": None}, ["margin"], 5, None], ids=lambda given: str(given)
)
@pytest.mark.parametrize("kind", ["strategy", "learner"])
def test_who_names_nothing_is_told(given, kind):
    with pytest.raises(AlmetaError, match=rf"names no {kind}; write its name, or \{{name: NAME, OPTION: VALUE\}}"):
        Spec.read(given, kind)
