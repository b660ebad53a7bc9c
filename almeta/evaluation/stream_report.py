"""The report of an agent on one-shot streams beside baselines, after its training and by `evaluate`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from almeta.envs.stream import StreamRewards, StreamSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.baselines import make_baselines, measure, nearest_by_threshold, summary_of
from almeta.evaluation.published import rows_at
from almeta.evaluation.report import Report
from almeta.evaluation.statistics import Difference, paired_difference
from almeta.evaluation.stream_figures import accuracy_against_requests, requests_along_script
from almeta.evaluation.stream_tables import novelty_table, shown_table, table_of_instances, table_of_policies
from almeta.evaluation.streams import evaluate
from almeta.evaluation.training_report import instances_over_training, learning_curve
from almeta.strategies.actor import Actor
from almeta.stream import StreamState

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
        policy: name of the agent.
        summary: its measures.
        baselines: their measures, by name.
        best_baseline: name of the baseline with the highest mean return.
        gain: in return over the best baseline, episode by episode.
        thresholds: measures of the nearest-example rule at several thresholds.
        scripted: request rates along scripted episodes.
        rewards: of the streams.
    """

    policy: str
    summary: Summary
    baselines: dict[str, Summary]
    best_baseline: str
    gain: Difference
    thresholds: list[Summary]
    scripted: list[dict[str, Any]]
    rewards: StreamRewards


def compare(
    agent: Actor[StreamState],
    policy: str,
    simulation: StreamSimulation,
    tuning: StreamSimulation,
    episodes: int,
    seed: int,
    say: Callable[[str], None] = print,
) -> Results:
    """Measure an agent and all baselines on the same streams.

    Args:
        agent: an agent or another actor, which acts greedily.
        policy: name of the agent.
        simulation: streams of the classes to judge on.
        tuning: streams of training classes, on which baselines choose their threshold.
        episodes: number of streams; a quarter of them for thresholds and scripts.
        seed: of the streams.
        say: prints what is being done.
    """
    some = max(1, episodes // 4)
    say(f"evaluating {policy} on {episodes:,} episodes of {simulation.sampler.name}")
    own = evaluate(agent, simulation, episodes, seed)
    say("evaluating the baselines on the same episodes")
    rules = make_baselines(tuning, some, seed)
    theirs = measure(rules, simulation, episodes, seed)
    baselines = {name: summary_of(rules[name], measures) for name, measures in theirs.items()}
    best = max(baselines, key=lambda name: baselines[name]["mean_return"])
    gain = paired_difference(own.returns.tolist(), theirs[best].returns.tolist())
    nearest = nearest_by_threshold(tuning, seed)
    thresholds = [evaluate(actor, simulation, some, seed).summary() for actor in nearest]
    scripted = _play_scripts(agent, simulation, some, seed)
    return Results(policy, own.summary(), baselines, best, gain, thresholds, scripted, simulation.rewards)


def _play_scripts(
    agent: Actor[StreamState], simulation: StreamSimulation, episodes: int, seed: int
) -> list[dict[str, Any]]:
    """Return request rates along the scripts that the stream allows: none if it reveals all labels."""
    if simulation.reveal == "always":
        return []
    results = []
    for script, runs in SCRIPTS.items():
        try:
            scripted = simulation.scripted(runs)
        except AlmetaError:  # too few classes or images for this script
            continue
        rates = evaluate(agent, scripted, episodes, seed).step_request_rates
        results.append({"script": script, "request_rates": rates})
    return results


def stream_report(
    results: Results,
    title: str,
    published: bool,
    metrics: Sequence[Mapping[str, Any]] = (),
    config: Mapping[str, Any] | None = None,
) -> Report:
    """Return the report of an agent and its baselines; its `summary` holds `baselines`, `gain` and `scripted`.

    The tables are `table` (all policies), `instances` (the agent by k-th image of a class), and `novelty` if scripts
    were played (the agent's requests at new and at known classes). The figures are
    `accuracy_against_requests`, `requests_along_script` if scripts were played, and `instances_over_training` and
    `learning_curve` if `metrics` holds an evaluation.

    Args:
        results: from `compare`.
        title: of the report.
        published: whether to show the results of Woodward & Finn, too; in the table, those at the same rewards.
        metrics: lines of the run's `metrics.jsonl`.
        config: plain values that the report shows.
    """
    policy, own = results.policy, results.summary
    thresholds = {"nearest labelled image, all thresholds": results.thresholds}
    points: dict[str, Any] = {policy: own, **results.baselines, **thresholds}
    figures = {"accuracy_against_requests": accuracy_against_requests(points, published)}
    if results.scripted:
        figures["requests_along_script"] = requests_along_script(results.scripted, published)
    if any(line["kind"] == "evaluation" for line in metrics):
        figures["instances_over_training"] = instances_over_training(metrics, published)
        figures["learning_curve"] = learning_curve(metrics, results.baselines, policy)
    rows = rows_at(results.rewards) if published else ()
    tables = [
        shown_table("table", table_of_policies({policy: own}, results.baselines, rows)),
        shown_table("instances", table_of_instances(own), f"{policy}, by k-th image of a class"),
        *novelty_table({policy: [results.scripted]}),
    ]
    summary = {
        "baselines": results.baselines,
        "gain": asdict(results.gain) | {"over": results.best_baseline},
        "scripted": results.scripted,
    }
    return Report(title, "table", tables, [verdict(results)], figures, summary, config)


def verdict(results: Results) -> str:
    """Return a sentence on whether the agent is better than the best baseline."""
    gain, best = results.gain, f"'{results.best_baseline}', the best baseline"
    if not gain.is_clear:
        return f"{results.policy} is not clearly better or worse than {best}: {_test(gain)}."
    more = "more" if gain.mean > 0 else "less"
    return f"{results.policy} returns {abs(gain.mean):.2f} {more} than {best}: {_test(gain)}."


def _test(gain: Difference) -> str:
    p_value, interval = gain.p_value, "" if gain.half_width is None else f" ± {gain.half_width:.2f}"
    test = "" if p_value is None else f", paired t-test p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'}"
    return f"difference {gain.mean:.2f}{interval} over {gain.count:,} episodes played by both{test}"
