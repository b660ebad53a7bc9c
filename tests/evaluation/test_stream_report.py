import functools
import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from almeta.agents import LSTMNetwork, QLearning, Supervised
from almeta.envs import StreamOptions, StreamSimulation
from almeta.evaluation import baselines
from almeta.evaluation import stream_report as report
from almeta.evaluation.baselines import QUANTILES, nearest_by_threshold
from almeta.evaluation.statistics import Difference
from almeta.evaluation.streams import evaluate
from almeta.evaluation.writers import console_text
from almeta.inputs import Images
from almeta.seeding import make_generator, seeded_weights


@pytest.fixture
def streams(make_images):
    def make(seed=0, counts=(12,) * 6, **options):
        dataset = make_images(counts, seed=seed)
        return StreamSimulation(dataset, StreamOptions(**{"length": 10, **options}), 20, make_generator(0, "env"))

    return make


@pytest.fixture
def agent(streams):
    def make(kind=QLearning):
        with seeded_weights(0):
            return kind(functools.partial(LSTMNetwork, hidden_size=4), Images(16, 3))

    return make


@pytest.fixture
def results(agent, streams):
    said: list[str] = []
    found = report.compare(agent(), "LSTM", streams(), streams(seed=1), 40, seed=3, say=said.append)
    assert said == ["evaluating LSTM on 40 episodes of tiny", "evaluating the baselines on the same episodes"]
    return found


def test_agent_and_baselines_are_measured_on_the_same_episodes(results, agent, streams):
    assert results.summary == evaluate(agent(), streams(), 40, seed=3).summary()
    assert len(results.baselines) == 5
    assert {summary["episodes"] for summary in results.baselines.values()} == {40}
    assert {summary["episodes"] for summary in results.thresholds} == {10}
    json.dumps(asdict(results), allow_nan=False)


def test_thresholds_come_from_the_tuning_streams(results, streams):
    actors = nearest_by_threshold(streams(seed=1), seed=3)
    assert len(results.thresholds) == len(QUANTILES)
    assert results.baselines["nearest labelled image"]["threshold"] in [actor.threshold for actor in actors]


def test_scripts_are_played_as_far_as_the_images_go(results, agent, streams):
    assert [line["script"] for line in results.scripted] == list(report.SCRIPTS)
    assert all(len(line["request_rates"]) == len(line["script"]) for line in results.scripted)
    few = streams(counts=(6,) * 6)  # six images of a class, not ten
    assert [line["script"] for line in report.compare(agent(), "x", few, few, 4, 0).scripted] == ["AAAAAB", "AAAAAA"]
    one = streams(classes=1, slots=3)
    assert [line["script"] for line in report.compare(agent(), "x", one, one, 4, 0).scripted] == [
        "AAAAAA",
        "AAAAAAAAAAA",
    ]


def test_where_labels_are_free_there_is_nothing_to_script(agent, streams):
    free = streams(reveal="always")
    assert report.compare(agent(Supervised), "supervised", free, free, 4, 0).scripted == []


@pytest.mark.parametrize("published", [True, False])
def test_what_is_printed_fits_a_terminal_and_names_everybody(results, published):
    found = report.stream_report(results, "LSTM on classes of tiny never trained on", published)
    text = console_text(found, Console(width=80))
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("LSTM on classes of tiny never trained on\n")
    for name in (*results.baselines, "interval over 40 episodes", "LSTM, by k-th image of a class"):
        assert name in text
    assert ("published" in text) == published
    assert f"- {report.verdict(results)}" in " ".join(text.split())


def test_tables_and_summary_hold_what_was_measured(results):
    found = report.stream_report(results, "title", published=False, config={"seed": 3})
    table, instances, novelty = found.tables
    assert (table.name, instances.name, novelty.name, found.name) == ("table", "instances", "novelty", "table")
    assert list(table.numbers["policy"]) == ["LSTM", *results.baselines]
    assert table.numbers["mean_return"][0] == results.summary["mean_return"]
    assert list(instances.numbers["count"]) == [row["count"] for row in results.summary["by_instance"]]
    assert found.summary["baselines"] == results.baselines
    assert found.summary["scripted"] == results.scripted
    assert found.summary["gain"] == asdict(results.gain) | {"over": results.best_baseline}
    assert (found.title, found.config) == ("title", {"seed": 3})


def test_figures_over_training_need_an_evaluation(results):
    always = ["accuracy_against_requests", "requests_along_script"]
    lines = [{"kind": "train", "batch": 1, "loss": 0.5}]
    assert list(report.stream_report(results, "", published=True).figures) == always
    assert list(report.stream_report(results, "", published=True, metrics=lines).figures) == always
    lines += [{"kind": "evaluation", "batch": 1, "classes": part, **results.summary} for part in ("train", "test")]
    figures = report.stream_report(results, "", published=False, metrics=lines).figures
    assert list(figures) == [*always, "instances_over_training", "learning_curve"]


def test_nobody_is_evaluated_twice(agent, streams, monkeypatch):
    played = []

    def count(actor, simulation, episodes, seed):
        if episodes == 40:
            played.append(actor)
        return evaluate(actor, simulation, episodes, seed)

    for module in (report, baselines):
        monkeypatch.setattr(module, "evaluate", count)
    report.compare(agent(), "LSTM", streams(), streams(seed=1), 40, seed=3, say=lambda text: None)
    assert len(played) == len(set(map(id, played))) == 6


def test_the_gain_is_paired_with_the_best_baseline(results, agent, streams):
    returns = {name: summary["mean_return"] for name, summary in results.baselines.items()}
    assert returns[results.best_baseline] == max(returns.values())
    gain = results.gain
    assert gain.count == 40
    assert gain.mean == pytest.approx(results.summary["mean_return"] - max(returns.values()), abs=1e-5)


@pytest.mark.parametrize(
    "gain, sentence",
    [
        (
            Difference(2.0, 0.5, 1e-9, 100),
            "LSTM returns 2.00 more than 'rule', the best baseline: difference 2.00 ± 0.50",
        ),
        (Difference(-2.0, 0.5, 0.002, 100), "LSTM returns 2.00 less than 'rule', the best baseline"),
        (Difference(0.1, 0.5, 0.7, 100), "LSTM is not clearly better or worse than 'rule', the best baseline"),
        (Difference(0.0, None, None, 1), "LSTM is not clearly better or worse than 'rule'"),
    ],
)
def test_the_verdict_in_words(gain, sentence, results):
    said = report.verdict(replace(results, best_baseline="rule", gain=gain))
    assert said.startswith(sentence)
    assert ("p < 0.001" in said) == (gain.p_value == 1e-9)
