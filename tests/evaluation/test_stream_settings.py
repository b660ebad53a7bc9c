"""The table of policies on several settings."""

from pathlib import Path

import pytest

from almeta.evaluation.jobs import Job
from almeta.evaluation.stream_settings import table_of_settings


@pytest.fixture
def job(make_summary):
    """Makes a finished evaluation: `job("omniglot", classes=5, gain=2.0)`."""

    def make(
        dataset, classes=3, length=30, seed=0, gain=1.0, policy="runs/a", name="short", options=(), price=-1
    ) -> Job:
        own = (f"policy={policy}", f"dataset={dataset}", f"env.classes={classes}", f"env.length={length}", *options)
        results = make_summary(mean_return=10.0 + seed) | {
            "policy": policy,
            "name": name,
            "dataset": dataset,
            "env": {"classes": classes, "length": length, "reward": {"incorrect": price}},
            "gain": {"mean": gain, "half_width": 0.5},
        }
        return Job(Path(), ("episodes=9", *own), f"seed={seed}", str(own), {}, results)

    return make


def test_each_setting_has_a_row_with_its_gain(job):
    table = table_of_settings([job("omniglot"), job("omniglot", classes=5, gain=-2.0), job("mnist", length=50)])
    numbers = table.numbers
    assert numbers[["data set", "classes", "steps"]].to_numpy().tolist() == [
        ["omniglot", 3, 30], ["omniglot", 5, 30], ["mnist", 3, 50]
    ]  # fmt: skip
    assert list(numbers["gain"]) == [1.0, -2.0, 1.0] and set(numbers["gain_interval"]) == {0.5}
    assert "kind" not in numbers and "options" not in numbers
    assert table.shown is not None and table.narrow is not None
    assert table.shown["classes\nx steps"].tolist() == ["3 x 30", "5 x 30", "3 x 50"]
    assert table.shown["over the best\nbaseline"].tolist() == ["+1.00 ± 0.50", "-2.00 ± 0.50", "+1.00 ± 0.50"]
    assert table.title == "short on streams of omniglot, mnist, -1 for a mistake"
    assert "policy" not in table.shown and list(table.shown["data set"]) == ["omniglot", "omniglot", "mnist"]
    assert set(table.shown) - set(table.narrow) == {"all steps\ncorrect, %"}
    assert "over 1,000 episodes" in table.note
    assert table.groups[0] == table.groups[1] != table.groups[2]  # a line between data sets


def test_jobs_that_differ_in_the_seed_share_a_row(job):
    numbers = table_of_settings([job("omniglot", seed=0, gain=1.0), job("omniglot", seed=2, gain=3.0)]).numbers
    assert (numbers["mean_return"].item(), numbers["gain"].item()) == (11.0, 2.0)
    assert numbers["interval_over"].item() == "2 seeds"
    assert numbers["gain_interval"].item() == pytest.approx(12.706, abs=1e-2)  # 12.706 * sqrt(2) / sqrt(2)


def test_policies_of_one_name_are_told_apart_and_options_have_a_column(job):
    jobs = [job("mnist"), job("mnist", policy="runs/b", options=["env.max_requests=1"])]
    table = table_of_settings(jobs)
    assert list(table.numbers["policy"]) == ["runs/a", "runs/b"]
    assert list(table.numbers["options"]) == ["", "env.max_requests=1"]
    assert table.shown is not None and table.shown["policy"].tolist() == ["runs/a", "runs/b"]
    assert table.title == "runs/a, runs/b on streams of mnist, -1 for a mistake" and "data set" not in table.shown
    other = table_of_settings([job("mnist"), job("mnist", policy="runs/b", name="long")])
    assert list(other.numbers["policy"]) == ["short", "long"]


def test_the_title_says_what_all_streams_share(job):
    drawn = [job(name, price=[-20, -1], options=["ask_unnamed=true", "episodes=9"]) for name in ("omniglot", "mnist")]
    assert (
        table_of_settings(drawn).title
        == "short on streams of omniglot, mnist, -20 to -1 for a mistake, ask_unnamed=true"
    )
    prices = [job("mnist", price=-1, options=["env.reward.incorrect=-1"])]
    prices += [job("mnist", price=-5, options=["env.reward.incorrect=-5"])]
    several = table_of_settings(prices)
    assert several.title == "short on streams of mnist" and several.shown is not None
    assert several.shown["reward of\na mistake"].tolist() == ["-1", "-5"] and "options" not in several.shown
