import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from almeta.agents import LSTMNetwork, QLearning, Supervised
from almeta.envs import make_simulation
from almeta.evaluation import report
from almeta.evaluation.baselines import QUANTILES, nearest_by_threshold
from almeta.evaluation.statistics import Difference
from almeta.evaluation.streams import evaluate
from almeta.seeding import make_generator, seeded_weights


@pytest.fixture
def streams(make_images):
    def make(seed=0, counts=(12,) * 6, **options):
        dataset = make_images(counts, seed=seed)
        return make_simulation(dataset, 20, make_generator(0, "env"), **{"length": 10, **options})

    return make


@pytest.fixture
def agent(streams):
    def make(kind=QLearning):
        with seeded_weights(0):
            return kind(lambda **shape: LSTMNetwork(**shape, hidden_size=4), 16, 3)

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
    console = Console(width=80, record=True)
    with console.capture() as capture:
        report.print_results(results, "LSTM on classes of tiny never trained on", console, published)
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "LSTM on classes of tiny never trained on" in text
    for name in (*results.baselines, "interval over 40 episodes", "LSTM, by k-th image of a class"):
        assert name in text
    assert ("published" in text) == published


def test_what_is_written(results, tmp_path):
    paths = report.write_results(results, tmp_path, published=True)
    assert [path.name for path in paths] == [
        "table.csv",
        "table.md",
        "accuracy_against_requests.png",
        "requests_along_script.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)


def test_figures_over_training_need_an_evaluation(results, tmp_path):
    lines = [{"kind": "train", "batch": 1, "loss": 0.5}]
    assert report.draw_training(lines, results.baselines, tmp_path, published=False) == []
    lines += [{"kind": "evaluation", "batch": 1, "classes": part, **results.summary} for part in ("train", "test")]
    paths = report.draw_training(lines, results.baselines, tmp_path, published=False)
    assert [path.name for path in paths] == ["instances_over_training.png", "learning_curve.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


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
