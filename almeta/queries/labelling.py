"""Rows of one's own and their labels so far: ask which to label next, tell the answers."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor

from almeta.agents.agent import Agent
from almeta.errors import AlmetaError, did_you_mean
from almeta.learners import make_learner
from almeta.policies import kind_of, load_policy, policy_names
from almeta.pool import Pool, PoolState
from almeta.queries.classifiers import ClassifierPool, is_fitted, is_scikit, take
from almeta.queries.labels import read_labels
from almeta.queries.reasons import num_seen, reasons_for
from almeta.queries.rows import read_rows
from almeta.queries.stopping import Advice, LabelledPool, advise
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import Actor, PoolStrategy, is_strategy, make_strategy, strategy_names
from almeta.strategies.choosing import best_action
from almeta.strategies.typical import by_turns

By = str | Path | Mapping[str, Any] | Spec | Actor[PoolState]
# Labels that a policy thinks will be asked for in all, if nobody says; it is trained with as many.
BUDGET = 20
# More clusters take long and say no more.
MOST_CLUSTERS = 200
# Of more rows a policy reads a random part: it looks at some 10,000 rows a second.
MOST_ROWS = 100_000
# Of how many rows a pick, those of highest utility, clusters are made where the classifier is fixed.
SHORTLIST = 5


@dataclass(frozen=True)
class Questions:
    """Rows to label next.

    Attributes:
        rows: `[n]` int64, row numbers, the best first.
        utilities: `[n]` float32, why in numbers: of each pick when it was made, higher is better.
        probabilities: `[n, C]` float32, the learner's opinion.
        reasons: n sentences; empty unless asked for.
        said: `[N]` float32 each, the utilities of all rows, one for each pick, or one for all picks if a fitted
            classifier stays as it is; `-inf` for rows that could not be picked or were not looked at. Empty unless
            asked for, and while no classifier says anything.
    """

    rows: np.ndarray
    utilities: np.ndarray
    probabilities: np.ndarray
    reasons: tuple[str, ...] = ()
    said: tuple[np.ndarray, ...] = ()


class Labelling:
    """Rows of one's own, and who says which of them to label next.

    Args:
        X: N rows; see `read_rows`.
        y: their labels; see `read_labels`. None for no label at all.
        by: who chooses: the name of a strategy, alone or with options (`{"name": "information_density", "beta": 2}`);
            the name of a trained policy, or the folder of a run; or anything that acts on pools.
        learner: how the classifier is fit to the prepared features: what `make_learner` takes, None for logistic
            regression. A classifier or pipeline of scikit-learn reads X as it is; a fitted one is not fit again.
        classes: the class values; None for those that occur in y.
        budget: labels that will be asked for in all, beyond the first one of each class; policies may look at it. None
            for `BUDGET`, or as many as are asked for, if that is more.
        missing: see `read_labels`.
        keep: see `read_rows`.
        seed: breaks ties, and draws for strategies and learners with chance; or a generator.

    Attributes:
        classes: C class values.
        pool: what may be known.

    Raises:
        AlmetaError: for rows, labels or names that do not fit.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        *,
        by: By = "transfer",
        learner: Any = None,
        classes: Sequence[Any] | None = None,
        budget: int | None = None,
        missing: Any = -1,
        keep: Sequence[str] = (),
        seed: int | torch.Generator = 0,
    ) -> None:
        if not hasattr(X, "__len__") and not hasattr(X, "shape"):
            raise AlmetaError(f"X is {X!r}; give rows: a data frame, an array, a sparse matrix, or texts")
        num_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        self._is_fixed = is_scikit(learner) and is_fitted(learner)
        if self._is_fixed and classes is None:
            classes = learner.classes_.tolist()
        labels, self.classes = read_labels(y, num_rows, classes, missing)
        self._X, self._learner = X, learner
        self._budget = None if budget is None else _whole("budget", budget)
        self._generator = seed if isinstance(seed, torch.Generator) else make_generator(seed, "query")
        self._actor = find_actor(by, self._generator)
        self._memory = self._actor.initial(1)
        rows = np.flatnonzero(labels >= 0)
        told = torch.tensor(rows)[None], torch.tensor(labels[rows])[None]
        self.pool = self._make_pool(X, read_rows(X, labels, keep), *told)

    def _make_pool(self, X: Any, x: Tensor, picks: Tensor, labels: Tensor) -> Pool:
        """Return a pool of rows X with features x `[N, D]`, and labels of the picks, both `[1, L]`."""
        exists, num_classes = torch.ones(1, len(x), dtype=torch.bool), torch.tensor([max(2, len(self.classes))])
        parts = (x[None], exists, picks, labels, num_classes)
        options: dict[str, Any] = {"budget": 0, "generator": self._generator}
        if is_scikit(self._learner):
            return ClassifierPool(X, self._learner, self.classes, *parts, **options)
        learner = "logistic_regression" if self._learner is None else self._learner
        return Pool(*parts, make_learner(learner), **options)

    @property
    def labels(self) -> np.ndarray:
        """`[N]` int64, class numbers; -1 for rows without a label."""
        return self.pool.state().labels[0].numpy().copy()

    def probabilities(self) -> np.ndarray:
        """Return the learner's class probabilities `[N, C]` float32."""
        return self.pool.state().probabilities[0, :, : len(self.classes)].numpy().copy()

    def tell(self, rows: Any, labels: Sequence[Any]) -> None:
        """Add labels of rows; None for one that nobody can label, and which is not asked for again.

        Args:
            rows: row numbers.
            labels: as many class values.

        Raises:
            AlmetaError: for an unknown class, a row number out of range, and a row that was told before.
        """
        told = self._row_numbers(rows)
        numbers, _ = read_labels(list(labels), len(told), self.classes, None)
        self.pool.tell(told[None], torch.tensor(numbers)[None])

    def _row_numbers(self, rows: Any) -> Tensor:
        """Return row numbers as a tensor `[K]` int64.

        Raises:
            AlmetaError: if one is no whole number, or out of range.
        """
        found, size = np.atleast_1d(np.asarray(rows)), self.pool.exists.shape[1]
        if found.dtype.kind not in "iu" and found.size:
            raise AlmetaError(f"rows are {found.dtype}; they must be whole numbers from 0 to {size - 1}")
        if found.size and not 0 <= found.min() <= found.max() < size:
            raise AlmetaError(f"rows are {found.min()} to {found.max()}; they must be from 0 to {size - 1}")
        return torch.tensor(found.astype(np.int64))

    def _mask_of(self, among: Any) -> Tensor:
        """Return row numbers, or a mask `[N]`, as a mask `[1, N]`."""
        nobody, given = torch.zeros_like(self.pool.exists), np.asarray(among)
        if given.dtype == bool and given.shape == (nobody.shape[1],):
            given = np.flatnonzero(given)
        return nobody.index_fill_(1, self._row_numbers(given), True)

    @torch.no_grad()
    def ask(self, n: int = 5, explain: bool = True, among: Any = None, say: bool = False) -> Questions:
        """Return the `n` rows to label next, the best first.

        After each pick the learner is refit as if the row had the label that it predicts, so that the next picks
        differ (the "believer" of Ginsbourger, Le Riche & Carraro, 2010), unless the strategy takes care of that by
        itself. With a fitted classifier, which stays as it
        is, the best row of each of `n` clusters of rows of high utility is chosen.

        While fewer than two classes have labels no classifier says anything: the rows at the centres of clusters
        without a label are chosen, except by strategies that do not go by the learner, such as "random".

        Args:
            n: number of rows.
            explain: whether to give reasons.
            among: the row numbers, or a mask `[N]` bool, that may be picked, of those without a label; None for all.
            say: whether to return the utilities of all rows, too.

        Warns:
            UserWarning: if there are fewer rows left than `n`; all of them are returned.

        Raises:
            AlmetaError: if `n` is below 1.
        """
        n = _whole("n", n)
        allowed = None if among is None else self._mask_of(among)
        state = self._state(self.pool, allowed)
        number = at_most(n, int(state.available.sum()))
        said: list[np.ndarray] = []
        if self._is_cold(state):
            rows, utilities = self._typical(state, number)
        else:
            rows, utilities = self._best(number, allowed, said if say else None)
        found = state.probabilities[0, rows, : len(self.classes)]
        reasons = tuple(reasons_for(self.pool.state(), rows, self.classes)) if explain else ()
        return Questions(rows.numpy(), utilities.numpy(), found.numpy(), reasons, tuple(said))

    def advise(self, drawn: Sequence[int] = ()) -> Advice:
        """Return how good the predictions are, what more labels would bring, and whether to stop.

        Args:
            drawn: the labelled rows that were drawn at random among those without a label; they tell the accuracy
                without bias.

        Raises:
            AlmetaError: for a classifier of scikit-learn, which reads X and not features.
        """
        if is_scikit(self._learner):
            raise AlmetaError(f"advice needs a learner of almeta, not {self._learner}; name one, or give none")
        state = self.pool.state()
        rows = state.picks[0]
        was_random = torch.isin(rows, torch.tensor(list(drawn), dtype=torch.int64))
        labels, num_classes = state.labels[0, rows], int(state.num_classes)
        pool = LabelledPool(state.x[0], rows, labels, was_random, num_classes, self.pool.learner)
        return advise(pool, classes=self.classes)

    def _state(self, pool: Pool, allowed: Tensor | None) -> PoolState:
        """Return what may be known, with the first label of each class as those at the start of an episode.

        Rows beside those that are `allowed`, `[1, N]` bool, cannot be picked.
        """
        state = pool.state()
        told = state.picks.shape[1]
        spent = told - num_seen(state)
        available = state.available if allowed is None else state.available & allowed
        return replace(state, available=available, spent=spent, budget=self._budget or max(BUDGET, spent + 1))

    def _best(self, n: int, allowed: Tensor | None, said: list[np.ndarray] | None) -> tuple[Tensor, Tensor]:
        """Return the rows that the actor picks, and their utilities, `[n]` each; add those of all rows to `said`."""
        pool, looked_at = self._looked_at(n, allowed)
        allowed = None if allowed is None else allowed[:, looked_at]
        spreads = getattr(self._actor, "spreads", False)
        rows, utilities = [], []
        queries = self._state(pool, allowed).spent // max(1, n)  # of this size
        for pick in range(n):
            state = replace(self._state(pool, allowed), query_size=n, queries=queries)
            outputs, self._memory = self._actor.step(state, self._memory)
            if said is not None:
                everywhere = torch.full(self.pool.exists[0].shape, -torch.inf)
                said.append(everywhere.index_copy_(0, looked_at, outputs.utilities[0]).numpy())
            if self._is_fixed and n > 1 and not spreads:
                chosen = _apart(state, outputs.utilities[0], n)
                return looked_at[chosen], outputs.utilities[0, chosen]
            row = best_action(outputs.utilities, state.available, self._generator)
            rows.append(looked_at[row])
            utilities.append(outputs.utilities[0, row])
            if pick + 1 < n:
                pool = pool.copy() if pick == 0 else pool
                pool.pick(row) if spreads else pool.tell(row, state.probabilities[0, row].argmax(-1))
        return torch.cat(rows or [torch.empty(0, dtype=torch.int64)]), torch.cat(utilities or [torch.empty(0)])

    def _looked_at(self, n: int, allowed: Tensor | None) -> tuple[Pool, Tensor]:
        """Return the pool that the actor reads, and the numbers of its rows: all, or for policies a random part."""
        size = len(self.pool.x[0])
        if size <= MOST_ROWS or isinstance(self._actor, PoolStrategy):
            return self.pool, torch.arange(size)
        state = self.pool.state()
        told = state.picks[0]
        lots = torch.rand(size, generator=self._generator)
        lots = (lots if allowed is None else lots.where(allowed[0], 2.0)).index_fill(0, told, -1.0)
        rows = lots.topk(max(MOST_ROWS, len(told) + n), largest=False).indices.sort().values
        place = torch.searchsorted(rows, told)
        warnings.warn(f"the policy looks at {len(rows):,} of the {size:,} rows, drawn at random", stacklevel=4)
        X = take(self._X, rows.numpy()) if is_scikit(self._learner) else None
        pool = self._make_pool(X, state.x[0, rows], place[None], state.labels[:, told])
        return pool, rows

    def _is_cold(self, state: PoolState) -> bool:
        """Return whether no classifier says anything about the rows yet, and the actor would go by it."""
        blind = not getattr(self._actor, "uses_learner", True)
        return not (blind or self._is_fixed or num_seen(state) > 1)

    def _typical(self, state: PoolState, n: int) -> tuple[Tensor, Tensor]:
        """Return rows near the centres of the largest clusters without a label, and the sizes of these, `[n]` each.

        There are as many clusters as rows with and without a label in the end (TypiClust: Hacohen, Dekel & Weinshall,
        ICML 2022, with distance to the centre in place of density).
        """
        x, available = state.x[0].numpy(), state.available[0].numpy()
        count = min(len(x), max(n, min(MOST_CLUSTERS, n + int((~available).sum()))))
        seed = int(torch.randint(2**31 - 1, (1,), generator=self._generator))
        clusters = MiniBatchKMeans(count, random_state=seed, n_init=1).fit(x)
        number, distance = clusters.labels_, np.linalg.norm(x - clusters.cluster_centers_[clusters.labels_], axis=1)
        size = np.bincount(number, minlength=count)
        best = by_turns(number, -distance, available, ~available)[:n]
        return torch.as_tensor(best), torch.as_tensor(size[number[best]].astype(np.float32))


def at_most(n: int, left: int) -> int:
    """Return how many rows to ask for: `n`, or with a warning as many as are left."""
    if left < n:
        what = f"only {left} rows have" if left else "no row is left that has"
        warnings.warn(f"{n} rows are asked for, but {what} no label", stacklevel=4)
    return min(n, left)


def _whole(name: str, value: Any) -> int:
    """Return a whole number of at least 1, or raise an AlmetaError."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise AlmetaError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return int(value)


def _apart(state: PoolState, utilities: Tensor, n: int) -> Tensor:
    """Return rows of high utility that are apart: the best row of each of `n` clusters of the best rows.

    The clusters are of the `SHORTLIST` times n rows of highest utility (Zhdanov, arXiv 1901.05954, 2019, with the best
    row in place of the central one).
    """
    count = min(SHORTLIST * n, int(state.available.sum()))
    best = utilities.topk(count).indices
    number = KMeans(min(n, count), n_init=1, random_state=0).fit(state.x[0, best].numpy()).labels_
    first = np.unique(number, return_index=True)[1]  # the best row of each cluster
    others = np.setdiff1d(np.arange(count), first)[: n - len(first)]  # equal rows are in one cluster
    return best[np.sort(np.concatenate([first, others]))]


def find_actor(by: By, generator: torch.Generator) -> Actor[PoolState]:
    """Return who chooses: a strategy by name or spec, a policy by name or folder, or an actor as it is.

    Raises:
        AlmetaError: if there is no such strategy or policy, the policy does not act on pools, and for an object that is
            no actor.
    """
    if isinstance(by, Mapping | Spec) or is_strategy(by):
        return make_strategy(by, generator)
    if isinstance(by, str | Path):
        _check_kind(str(by), kind_of_actor(by))
        return load_policy(by)
    if not (hasattr(by, "initial") and hasattr(by, "step")) or isinstance(by, type):
        raise AlmetaError(f"by is {by!r}; give the name of a strategy or policy, or an object with initial and step")
    if isinstance(by, Agent):
        _check_kind(type(by).__name__, by.inputs.kind)
    return by


def kind_of_actor(by: str | Path | Mapping[str, Any] | Spec) -> str:
    """Return the kind of problem that a strategy or policy acts in; one that is not there is an AlmetaError."""
    if isinstance(by, Mapping | Spec) or is_strategy(by):
        return "pool"
    if str(by) not in policy_names() and not Path(by).exists():
        raise AlmetaError(did_you_mean(str(by), [*strategy_names(), *policy_names()], "strategy or policy"))
    return kind_of(by)


def _check_kind(policy: str, kind: str) -> None:
    if kind != "pool":
        raise AlmetaError(f"the policy {policy} acts on problems of kind '{kind}'; rows need one of kind 'pool'")
