import pytest

import almeta.strategies


@pytest.fixture
def fresh_table():
    """The table of strategies is made anew, and what a test adds to it is forgotten after the test."""
    almeta.strategies._strategies.cache_clear()
    yield
    almeta.strategies._strategies.cache_clear()
