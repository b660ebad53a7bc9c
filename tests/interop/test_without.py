"""Where a library is not installed, its extra is named, and nothing else of almeta needs it."""

import sys

import pytest

from almeta.errors import AlmetaError
from almeta.strategies import make_strategy


@pytest.mark.parametrize(
    "library, module, strategy, extra",
    [
        ("skactiveml", "skactiveml", "skactiveml.CoreSet", r"scikit-activeml .* 'almeta\[skactiveml\]'"),
        ("modAL", "modal", "modAL.margin_sampling", r"modAL .* 'almeta\[modal\]'"),
    ],
)
def test_the_extra_is_named(library, module, strategy, extra, monkeypatch):
    for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"almeta.interop.{module}", raising=False)
    with pytest.raises(AlmetaError, match=f"{extra.replace(' .* ', ' is not installed; pip install ')}"):
        make_strategy(strategy)
    assert make_strategy("margin").name == "margin"
