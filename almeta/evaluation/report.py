"""What is printed, written and drawn about an agent of the one-shot stream, by training and by evaluate alike."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from almeta.agents.agent import Agent
from almeta.envs.one_shot import OneShotSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.baselines import make_baselines, nearest_by_threshold, summaries
from almeta.evaluation.figures import (
    accuracy_against_requests,
    instances_over_training,
    learning_curve,
    requests_along_script,
)
from almeta.evaluation.one_shot import evaluate
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
        thresholds: measures of the nearest-example rule, one for each threshold.
        scripted: request rates along scripted episodes.
    """

    policy: str
    summary: Summary
    baselines: dict[str, Summary]
    thresholds: list[Summary]
    scripted: list[dict[str, Any]]


def compare(
    agent: Agent,
    policy: str,
    simulation: OneShotSimulation,
    tuning: OneShotSimulation,
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
    summary = evaluate(agent, simulation, episodes, seed).summary()
    say("evaluating the baselines on the same episodes")
    baselines = summaries(make_baselines(tuning, some, seed), simulation, episodes, seed)
    curve = nearest_by_threshold(tuning, seed)
    thresholds = [evaluate(actor, simulation, some, seed).summary() for actor in curve]
    return Results(policy, summary, baselines, thresholds, _play_scripts(agent, simulation, some, seed))


def _play_scripts(agent: Agent, simulation: OneShotSimulation, episodes: int, seed: int) -> list[dict[str, Any]]:
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
    console.print()
    console.print(rich_table(table_of_instances(results.summary), f"{results.policy}, by k-th image of a class"))


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
    """Draw the figures over training from the lines of `metrics.jsonl`; return the paths."""
    return [
        instances_over_training(metrics, folder / "instances_over_training.png", published),
        learning_curve(metrics, folder / "learning_curve.png", baselines),
    ]


def _table(results: Results, published: bool) -> Any:
    return table_of_policies({results.policy: results.summary}, results.baselines, published)
