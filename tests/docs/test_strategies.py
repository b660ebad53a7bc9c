"""The page of strategies names all of them, and says of each what its class says."""

import re
from pathlib import Path

from almeta.strategies import make_strategy, strategy_class, strategy_names

PAGE = (Path(__file__).parents[2] / "docs/strategies.md").read_text()


def test_the_tables_say_what_the_classes_say():
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (yes|no) \|", PAGE, re.MULTILINE)
    said = {name: (cold, spreads) for name, cold, spreads in rows}
    own = [name for name in strategy_names() if strategy_class(name).__module__.startswith("almeta.strategies.")]
    made = {name: make_strategy(name) for name in own}
    words = {True: "yes", False: "no"}
    assert said == {name: (words[not one.uses_learner], words[one.spreads]) for name, one in made.items()}
    assert len(rows) == len(said)
