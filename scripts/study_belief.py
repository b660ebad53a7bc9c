"""A learned belief about the rows of a pool: trained on the tables of four folds, measured on those of the fifth.

python scripts/study_belief.py --fold 0 --batches 120

The belief is a network that reads a pool's rows by distances, and what a Gaussian process and the learner say of them.
It learns to predict the labels of rows without one, on real tables and synthetic tasks. It is measured twice: by how
well it predicts, beside the learner, the Gaussian process and a random forest, along the picks of margin, of the
look-ahead and of its own; and by the learning curves of a look-ahead under it, which refits the learner and asks the
network anew for each label that a row may get.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import pandas as pd
import torch
from torch import Tensor, nn

from almeta.checks import Within, check_value
from almeta.data import load_dataset
from almeta.data.suites import folds, suite
from almeta.envs import PoolOptions
from almeta.envs.pool import PoolSimulation
from almeta.learners import make_learner
from almeta.learners.learner import Learner
from almeta.pool import PoolState
from almeta.scripts.errors import in_one_line
from almeta.scripts.study_look_ahead import summary_of
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.strategies.actor import Memory, Outputs
from almeta.strategies.look_ahead import LookAhead, scales, shares
from almeta.strategies.strategy import PoolStrategy
from almeta.training.progress import Progress
from almeta.training.rollout import greedy, learning_curves, play

UNITS = 32
HEADS = 4
LAYERS = 2
# No probability that is compared or reported is smaller.
LEAST = 1e-3
# After so many picks beliefs are compared.
MEASURED = (2, 5, 10, 19)
# Candidates that a look-ahead under the belief compares, and labels of each.
CANDIDATES, LABELS = 12, 2


class Belief(nn.Module):
    """Probabilities of the classes of all rows, by attention between rows.

    It starts as the Gaussian process's, and depends neither on the order of rows and columns nor on names of classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(8, UNITS)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.residual = nn.Linear(UNITS, 1)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)

    def forward(self, state: PoolState) -> Tensor:
        """Return log-probabilities `[E, N, C]`, -inf for classes that a pool does not have."""
        pairs = pairs_of_rows(state)
        numbers = rows_and_classes(state, pairs)
        possible = torch.arange(numbers.shape[2], device=numbers.device) < state.num_classes[:, None, None]
        hidden = self.read(numbers)
        for layer in self.layers:
            hidden = layer(hidden, pairs, state.exists, possible)
        logits = numbers[..., 0] + self.residual(hidden).squeeze(-1)  # the first number is the process's logarithm
        return logits.masked_fill(~possible, -torch.inf).log_softmax(-1)


class _Layer(nn.Module):
    """Rows attend to each other by distances and by what is known of them; then the classes of a row are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, HEADS))
        self.query, self.key = nn.Linear(UNITS, UNITS), nn.Linear(UNITS, UNITS)
        self.value, self.out = nn.Linear(UNITS, UNITS), nn.Linear(UNITS, UNITS)
        self.classes = nn.Linear(UNITS, UNITS)
        self.mix = nn.Sequential(
            nn.LayerNorm(UNITS), nn.Linear(UNITS, 2 * UNITS), nn.ReLU(), nn.Linear(2 * UNITS, UNITS)
        )

    def forward(self, hidden: Tensor, pairs: Tensor, exists: Tensor, possible: Tensor) -> Tensor:
        """Return `[E, N, C, H]` of `[E, N, C, H]`; `pairs` is `[E, N, N, 4]`."""
        shown = possible[..., None]
        count = possible.sum(-1, keepdim=True)[..., None]
        row = (hidden * shown).sum(2, keepdim=True) / count
        heads = (*row.shape[:2], HEADS, UNITS // HEADS)
        query, key = (part(row).view(heads) for part in (self.query, self.key))
        logits = torch.einsum("euhk,evhk->ehuv", query, key) / heads[-1] ** 0.5 + self.near(pairs).permute(0, 3, 1, 2)
        weight = logits.masked_fill(~exists[:, None, None], -torch.inf).softmax(-1)
        value = self.value(hidden).view(*hidden.shape[:3], HEADS, -1)
        hidden = hidden + self.out(torch.einsum("ehuv,evchk->euchk", weight, value).flatten(3)) + self.classes(row)
        return hidden + self.mix(hidden)


def rows_and_classes(state: PoolState, pairs: Tensor) -> Tensor:
    """Return eight numbers of each row and class, `[E, N, C, 8]`, the process's log-probability first.

    Args:
        state: of E pools.
        pairs: `[E, N, N, 4]`, from `pairs_of_rows`.
    """
    look = LookAhead().look(state)
    classes = state.probabilities.shape[-1]
    told = torch.nn.functional.one_hot(state.labels.clamp_min(0), classes) * (state.labels >= 0)[..., None]
    share = told.sum(1, keepdim=True) / told.sum((1, 2), keepdim=True).clamp_min(1)
    votes = [pairs[..., k].exp() @ told.float() for k in range(2)]
    shape = told.shape
    labelled = (state.labels >= 0)[..., None].expand(shape)
    numbers = [
        shares(look.mean, state.num_classes).clamp_min(LEAST).log(),
        state.probabilities.clamp_min(LEAST).log(),
        told,
        labelled,
        look.variance[..., None].clamp_max(5.0).expand(shape),
        votes[0] / (votes[0].sum(-1, keepdim=True) + 1e-2),
        votes[1] / (votes[1].sum(-1, keepdim=True) + 1e-2),
        share.expand(shape),
    ]
    return torch.stack([number.float() for number in numbers], -1)


def pairs_of_rows(state: PoolState) -> Tensor:
    """Return four numbers of each pair of rows u, v, `[E, N, N, 4]`: distances on two scales, product, a label at v."""

    def fixed() -> Tensor:
        x = state.x
        spread, length = (part.float()[:, None, None] for part in scales(state.geometry))
        square = torch.cdist(x, x).square()
        near = state.geometry.scale[:, None, None].square()
        parts = [-square / spread, -square / near, x @ x.mT / length]
        return torch.stack(parts, -1).clamp(-8.0, 8.0)

    labelled = (state.labels >= 0).float()[:, None, :, None]
    kept = state.geometry.keep("pairs of rows", fixed)
    return torch.cat([kept, labelled.expand(*kept.shape[:3], 1)], -1)


@in_one_line
def main() -> None:
    """Read the arguments, train, measure, print; nothing is trained if an argument is out of range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="tables", help="of data sets (default tables)")
    parser.add_argument("--folds", type=int, default=5, help="parts of the suite (default 5)")
    parser.add_argument("--fold", type=int, default=0, help="the part to measure on, from 0 (default 0)")
    parser.add_argument("--batches", type=int, default=120, help="of 32 pools, for training (default 120)")
    parser.add_argument("--repeats", type=int, default=8, help="tasks of each data set to measure on (default 8)")
    parser.add_argument("--budget", type=int, default=20, help=f"picks (default 20); measured after {MEASURED}")
    options = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(0)
    for name, least in (("folds", 2), ("batches", 1), ("repeats", 1), ("budget", MEASURED[0] + 1)):
        check_value(f"--{name}", getattr(options, name), Annotated[int, Within(least)])
    check_value("--fold", options.fold, Annotated[int, Within(0, options.folds - 1)])
    names = suite(options.suite)
    test = folds(names, options.folds)[options.fold]
    belief = train([name for name in names if name not in test], options.batches, options.budget)
    predictions, curves = measured(belief, test, options.repeats, options.budget)
    print(
        predictions.groupby(["picks of", "belief"], sort=False).mean(numeric_only=True).to_string(float_format="%.3f")
    )
    print(f"\n{gains_of(curves)}")
    print(f"{time.perf_counter() - start:.0f} seconds")


def simulation_of(names: Sequence[str], number: int, budget: int, synthetic: float = 0.0) -> PoolSimulation:
    """Return pools of data sets."""
    options = PoolOptions(budget=budget, synthetic=synthetic, max_classes=10, max_features=64 if synthetic else None)
    datasets = [load_dataset(name) for name in names]
    return PoolSimulation(datasets, options, number, make_generator(0, "belief"), make_learner("logistic_regression"))


def train(names: Sequence[str], batches: int, budget: int) -> Belief:
    """Return a belief trained on the states along the picks of margin, the look-ahead and chance, in turn."""
    belief, simulation = Belief(), simulation_of(names, 32, budget, synthetic=0.5)
    optimizer = torch.optim.Adam(belief.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)
    generator = make_generator(0, "picks")
    for batch in Progress("belief", unit="batch")(range(batches)):
        strategy = make_strategy(("margin", "look_ahead", "random")[batch % 3])
        for step in play(simulation, strategy, greedy(generator)):
            if step.state.spent % 2 != batch % 2:  # states that follow each other are much alike
                continue
            loss = -true_label(belief(step.state), simulation.tasks.y)[step.state.available].mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(belief.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    return belief.eval()


def true_label(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of each row's label, `[E, N]`."""
    return log_probabilities.clamp_min(-20.0).gather(-1, labels[..., None]).squeeze(-1)


class UnderBelief(PoolStrategy):
    """Look one label ahead under a learned belief: for each label that a row may get, the learner is refit and the
    belief asked anew. Only the rows that the closed form likes best are compared.
    """

    name = "under belief"

    def __init__(self, belief: Belief) -> None:
        self.belief = belief

    def score(self, state: PoolState) -> Tensor:
        closed = make_strategy("look_ahead", margin=1.0).score(state).masked_fill(~state.available, -torch.inf)
        best = closed.topk(min(CANDIDATES, closed.shape[1]))
        now = self.belief(state).exp()
        scores = torch.full_like(closed, -1.0)
        for place, row in enumerate(best.indices.unbind(1)):
            expected = self._expected(state, row, now)
            known = best.values[:, place].isfinite()
            scores = scores.scatter(1, row[:, None], expected.where(known, -1.0)[:, None])
        return scores

    def _expected(self, state: PoolState, row: Tensor, now: Tensor) -> Tensor:
        """Return the accuracy `[E]` that is expected after the label of one row `[E]` of each pool."""
        own = now.gather(1, row[:, None, None].expand(-1, 1, now.shape[-1])).squeeze(1)
        likely = own.topk(min(LABELS, own.shape[-1]))
        share = likely.values / likely.values.sum(-1, keepdim=True)
        expected = torch.zeros_like(share[:, 0])
        for weight, label in zip(share.unbind(1), likely.indices.unbind(1), strict=True):
            after = self.belief(with_label(state, row, label)).exp().amax(-1)
            expected += weight * (after * state.exists).sum(1) / state.exists.sum(1)
        return expected


def with_label(state: PoolState, row: Tensor, label: Tensor) -> PoolState:
    """Return the state in which one more row `[E]` of each pool has a label `[E]`, and the learner is refit."""
    labels = state.labels.scatter(1, row[:, None], label[:, None])
    picks = torch.cat([state.picks, row[:, None]], 1)
    told = replace(state, labels=labels, picks=picks, answered=picks.shape[1])
    probabilities = fitted(state.learner, told)
    return replace(told, probabilities=probabilities)


def fitted(learner: Learner, state: PoolState) -> Tensor:
    """Return the probabilities `[E, N, C]` of a learner fit to the labels of a state."""
    model = learner.fit(*state.labelled_rows(), state.probabilities.shape[-1], start=None)
    found: Tensor = model.probabilities(state.x)
    return found


def measured(belief: Belief, names: Sequence[str], repeats: int, budget: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how well each belief predicts along the picks of each rule, and the areas under the learning curves."""
    rules = {
        "margin": make_strategy("margin"),
        "look-ahead": make_strategy("look_ahead"),
        "look-ahead under the belief": UnderBelief(belief),
    }
    rows: list[dict[str, object]] = []
    areas: dict[str, dict[str, float]] = {}
    for number in Progress("measuring", unit="data set")(range(len(names))):
        name = names[number]
        simulation = simulation_of([name], repeats, budget)
        tasks = simulation.sampler.draw_seeded(range(repeats))
        areas[name] = {}
        for rule, strategy in rules.items():
            watched = Watched(strategy, belief, tasks.y)
            curves = learning_curves(simulation, watched, make_generator(0, "ties"), tasks)
            areas[name][rule] = 100 * float(curves.mean())
            rows += [{"picks of": rule, "data set": name, **row} for row in watched.rows]
    return pd.DataFrame(rows), pd.DataFrame(areas).T


class Watched:
    """A strategy that plays while beliefs about the states that it meets are measured.

    Attributes:
        rows: what `predicted` found, after as many picks as `MEASURED` says.
    """

    def __init__(self, strategy: PoolStrategy, belief: Belief, labels: Tensor) -> None:
        self.strategy, self.belief, self.labels = strategy, belief, labels
        self.rows: list[dict[str, object]] = []
        self.initial = strategy.initial

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        if state.spent in MEASURED:
            self.rows += predicted(self.belief, state, self.labels)
        return self.strategy.step(state, memory)


def predicted(belief: Belief, state: PoolState, labels: Tensor) -> Iterator[dict[str, object]]:
    """Yield the accuracy and the mean log-likelihood of each belief on the rows without a label."""
    beliefs = {
        "learner": state.probabilities,
        "Gaussian process": shares(LookAhead().look(state).mean, state.num_classes),
        "random forest": fitted(make_learner("random_forest"), state),
        "learned": belief(state).exp(),
    }
    for name, probabilities in beliefs.items():
        # One floor for all, or a single sure mistake would decide.
        logs = ((1 - LEAST) * probabilities + LEAST / state.num_classes[:, None, None]).log()
        right = (probabilities.argmax(-1) == labels)[state.available]
        likelihood = true_label(logs, labels)[state.available]
        yield {"belief": name, "accuracy": right.float().mean().item(), "log-likelihood": likelihood.mean().item()}


def gains_of(areas: pd.DataFrame) -> str:
    """Return the gain of each rule over margin in the area under the curve, a line for each."""
    return "\n".join(f"{rule}: {summary_of(areas[rule] - areas.margin)}" for rule in areas.columns.drop("margin"))


if __name__ == "__main__":
    main()
