"""What is printed, written and drawn about an agent of the one-shot stream, by training and by evaluate alike."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from almeta.agents.agent import Agent
from almeta.envs.stream import StreamSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.baselines import make_baselines, nearest_by_threshold, summaries
from almeta.evaluation.figures import (
    accuracy_against_requests,
    instances_over_training,
    learning_curve,
    requests_along_script,
)
from almeta.evaluation.statistics import Difference, paired_difference
from almeta.evaluation.streams import evaluate
from almeta.evaluation.tables import rich_table, table_of_instances, table_of_policies, write_table

# Figure 3 of Woodward & Finn: five or ten images of one class, then one of another; and the same without the new one.
SCRIPTS = {
    "AAAAAB": [[0, 5], [1, 1]],
    "AAAAAA": [[0, 6]],
    "AAAAAAAAAAB": [[0, 10], [1, 1]],
    "AAAAAAAAAAA": [[0, 11]],
}

Summary = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """An agent and its baselines on the same streams.

    Attributes:
        policy: what the agent is called.
        summary: its measures.
        baselines: theirs, by name.
        best_baseline: the name of the one that returns most.
        gain: in return over that one, episode by episode.
        thresholds: measures of the nearest-example rule, one for each threshold.
        scripted: request rates along scripted episodes.
    """

    policy: str
    summary: Summary
    baselines: dict[str, Summary]
    best_baseline: str
    gain: Difference
    thresholds: list[Summary]
    scripted: list[dict[str, Any]]


def compare(
    agent: Agent,
    policy: str,
    simulation: StreamSimulation,
    tuning: StreamSimulation,
    episodes: int,
    seed: int,
    say: Callable[[str], None] = print,
) -> Results:
    """Measure an agent and all baselines on the same streams.

    Args:
        agent: greedy from here on.
        policy: what it is called.
        simulation: streams of the classes it is judged on.
        tuning: streams of training classes, on which baselines choose their threshold.
        episodes: how many streams each plays; a quarter of it for thresholds and scripts.
        seed: draws the streams.
        say: told what is being done.
    """
    some = max(1, episodes // 4)
    say(f"evaluating {policy} on {episodes:,} episodes of {simulation.sampler.name}")
    own = evaluate(agent, simulation, episodes, seed)
    say("evaluating the baselines on the same episodes")
    rules = make_baselines(tuning, some, seed)
    baselines = summaries(rules, simulation, episodes, seed)
    best = max(baselines, key=lambda name: baselines[name]["mean_return"])
    gain = paired_difference(own.returns.tolist(), evaluate(rules[best], simulation, episodes, seed).returns.tolist())
    curve = nearest_by_threshold(tuning, seed)
    thresholds = [evaluate(actor, simulation, some, seed).summary() for actor in curve]
    return Results(
        policy, own.summary(), baselines, best, gain, thresholds, _play_scripts(agent, simulation, some, seed)
    )


def _play_scripts(agent: Agent, simulation: StreamSimulation, episodes: int, seed: int) -> list[dict[str, Any]]:
    """Request rates along the scripts that the stream allows: none if labels come without a request."""
    if simulation.reveal == "always":
        return []
    results = []
    for script, runs in SCRIPTS.items():
        try:
            scripted = simulation.scripted(runs)
        except AlmetaError:  # too few classes or images for this script: one panel less
            continue
        rates = evaluate(agent, scripted, episodes, seed).step_request_rates
        results.append({"script": script, "request_rates": rates})
    return results


def print_results(results: Results, title: str, console: Console, published: bool) -> None:
    """Print the table of all policies, and the agent's measures by k-th instance of a class."""
    console.print(rich_table(_table(results, published), title))
    console.print(verdict(results), markup=False, highlight=False)
    console.print()
    console.print(rich_table(table_of_instances(results.summary), f"{results.policy}, by k-th image of a class"))


def verdict(results: Results) -> str:
    """Return in words whether the agent is better than the best baseline."""
    gain, best = results.gain, f"'{results.best_baseline}', the best baseline"
    if not gain.is_clear:
        return f"{results.policy} is not clearly better or worse than {best}: {_test(gain)}."
    more = "more" if gain.mean > 0 else "less"
    return f"{results.policy} returns {abs(gain.mean):.2f} {more} than {best}: {_test(gain)}."


def _test(gain: Difference) -> str:
    interval = "" if gain.half_width is None else f" ± {gain.half_width:.2f}"
    test = (
        ""
        if gain.p_value is None
        else f", paired t-test p {f'= {gain.p_value:.3f}' if gain.p_value >= 0.001 else '< 0.001'}"
    )
    return f"difference {gain.mean:.2f}{interval} over {gain.count:,} episodes played by both{test}"


def write_results(results: Results, folder: Path, published: bool) -> list[Path]:
    """Write the table and draw the figures of an evaluation; return the paths."""
    paths = write_table(_table(results, published), folder)
    points = {results.policy: results.summary}
    rules: dict[str, Any] = {**results.baselines, "nearest labelled image, all thresholds": results.thresholds}
    paths.append(accuracy_against_requests(points, folder / "accuracy_against_requests.png", published, rules))
    if results.scripted:
        paths.append(requests_along_script(results.scripted, folder / "requests_along_script.png", published))
    return paths


def draw_training(
    metrics: list[dict[str, Any]], baselines: dict[str, Summary], folder: Path, published: bool
) -> list[Path]:
    """Draw the figures over training from the lines of `metrics.jsonl`; return the paths.

    There are none without an evaluation, as when a checkpoint was moved away from its `metrics.jsonl`.
    """
    if not any(line["kind"] == "evaluation" for line in metrics):
        return []
    return [
        instances_over_training(metrics, folder / "instances_over_training.png", published),
        learning_curve(metrics, folder / "learning_curve.png", baselines),
    ]


def _table(results: Results, published: bool) -> Any:
    return table_of_policies({results.policy: results.summary}, results.baselines, published)
