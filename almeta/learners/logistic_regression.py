"""L2 logistic regression for E episodes at once: scikit-learn's `LogisticRegression`, refit as labels arrive.

The objective is the sum of the rows' cross-entropies plus half the squared norm of the weights over C, intercepts free.
It is minimised by Newton's method, whose systems are solved by conjugate gradients: nothing but batched products. With
fewer rows than features the unknowns are coefficients of the rows (w = X^T a), else the weights themselves.
"""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from almeta.checks import Positive, Within
from almeta.learners.learner import Rng, counted_labels, possible_classes, seen_classes
from almeta.learners.networks import errors, in_blocks, square

_MAX_NEWTON, _MAX_CG, _MAX_HALVINGS = 100, 200, 30
# A Newton system is solved until a step of conjugate gradients adds less than this share (squared) of what was gained.
_FORCING = 0.1**2
# Squared residuals below this share of the first are rounding of float32: a step along them would be noise.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class LogisticModel:
    """Fitted weights.

    Attributes:
        weights: `[E, C, D]` float32.
        bias: `[E, C, 1]` float32; -inf for classes not seen.
        state: the start of a later fit.
    """

    weights: Tensor
    bias: Tensor
    state: "_Start"

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows `[E, M, D]`; 0 for classes not seen in the fit."""
        return torch.baddbmm(self.bias, self.weights, x.mT).softmax(1).mT

    def logits(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32 of rows `[E, M, D]`, as `HasInputGradients` says."""
        return torch.baddbmm(self.bias, self.weights, x.mT).mT

    def embed(self, x: Tensor) -> Tensor:
        """Return the rows: there is no layer before the linear one."""
        return x

    def gradient_lengths(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32, as `HasGradients` says: ||p - e_c|| ||[x, 1]||, for a class not seen too."""
        return in_blocks(self._gradient_lengths, x)

    def _gradient_lengths(self, x: Tensor) -> Tensor:
        inputs = square(x) + 1  # that of the intercept is 1
        return torch.stack([(square(error) * inputs).sqrt() for error in errors(self.probabilities(x))], -1)


@dataclass(frozen=True)
class _Start:
    """The end of one fit, all float64 and classes first."""

    dual: bool
    unknowns: Tensor  # [E, C, L] or [E, C, D]
    bias: Tensor  # [E, C, 1], of centred features
    fitted: Tensor  # [E, C, L]
    weights: Tensor  # [E, C, D]


@dataclass(frozen=True)
class LogisticRegression:
    """Multinomial logistic regression with an L2 penalty, as scikit-learn's.

    With two classes seen, scikit-learn fits one weight vector; two opposite ones under twice the penalty are the same.

    Args:
        C: inverse of the penalty's weight, above 0.
        tol: approximate largest distance of a row's logits from the optimum at which the fit ends.
    """

    C: Positive = 1.0
    tol: Annotated[float, Within(1e-8, 1.0)] = 0.02

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> LogisticModel:
        """Fit E classifiers, as `Learner.fit` says."""
        if not x.shape[1]:  # no row at all is one row that does not count
            x, y, weight = x.new_zeros(len(x), 1, x.shape[2]), y.new_zeros(len(x), 1), weight.new_zeros(len(x), 1)
        y = counted_labels(y, weight)
        seen = seen_classes(y, weight, num_classes)
        possible = possible_classes(seen)
        total = weight.sum(1)[:, None, None].clamp_min(1e-9)
        mean = (x * weight[..., None]).sum(1, keepdim=True) / total  # centring makes the intercept nearly independent
        centred = ((x - mean) * (weight > 0)[..., None]).double()
        penalty = torch.where(seen.sum(1) == 2, 2.0, 1.0).double()[:, None, None] / self.C
        barred = torch.where(possible, 0.0, -torch.inf).double()[..., None]
        problem = _problem(centred, y, weight, penalty, barred)
        end = _minimise(_begin(problem, start.state if start else None), self.tol)
        weights = end.weights(centred)
        bias = end.bias - weights @ mean.double().mT
        state = _Start(end.dual, end.unknowns / end.size if end.dual else end.unknowns, end.bias, end.fitted, weights)
        return LogisticModel(weights.float(), (bias + barred).float(), state)


@dataclass(frozen=True)
class _Problem:
    """E minimisations and how far they are; float64, axes [E, C, L] throughout.

    In the dual the matrix is the Gram matrix of the rows over its largest entry, in the primal the features over a
    diagonal that makes the problem round; the penalty is in the same units.
    """

    dual: bool
    matrix: Tensor  # [E, L, L], or [E, D, L]
    size: Tensor  # [E, 1, 1], or [E, 1, D]: what unknowns are divided by
    penalty: Tensor  # [E, 1, 1], or [E, 1, D]
    bound: Tensor  # [E, 1, 1]: squared logits moved by a unit of energy, at most
    barred: Tensor  # [E, C, 1]
    labels: Tensor  # [E, 1, L]
    target: Tensor  # [E, C, L], one-hot
    weight: Tensor  # [E, 1, L]
    unknowns: Tensor  # [E, C, U]
    bias: Tensor  # [E, C, 1]
    logits: Tensor  # [E, C, L], without the bias
    fitted: Tensor  # [E, C, L], probabilities
    expected: Tensor  # [E, C, L], what the last step expected them to be
    value: Tensor  # [E, 1, 1], of the objective

    def select(self, kept: Tensor) -> "_Problem":
        """Return some of the E problems."""
        return replace(self, **{f.name: getattr(self, f.name)[kept] for f in fields(self) if f.name != "dual"})

    def put(self, rows: Tensor, ended: "_Problem") -> None:
        """Write the state of the problems `ended` into the problems `rows`."""
        for name in ("unknowns", "bias", "fitted"):
            getattr(self, name)[rows] = getattr(ended, name)

    def push(self, unknowns: Tensor) -> Tensor:
        """Return the logits `[E, C, L]`, without the bias, of unknowns `[E, C, U]`."""
        return unknowns @ self.matrix

    def evaluate(self, unknowns: Tensor, logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objective `[E, 1, 1]` and the probabilities `[E, C, L]`."""
        log_p = (logits + bias + self.barred).log_softmax(1)
        # A row that does not count may bear the label of a class that is barred.
        losses = -log_p.gather(1, self.labels).where(self.weight > 0, 0.0)
        loss = (losses * self.weight).sum((1, 2), keepdim=True)
        other = logits if self.dual else unknowns
        return loss + 0.5 * _dot(self.penalty * unknowns, other), log_p.exp_()

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights `[E, C, D]` of features `[E, L, D]`."""
        return (self.unknowns / self.size) @ x if self.dual else self.unknowns / self.size


def _problem(x: Tensor, y: Tensor, weight: Tensor, penalty: Tensor, barred: Tensor) -> _Problem:
    """Set up the minimisation for rows `[E, L, D]`, at zero."""
    episodes, rows, features = x.shape
    counted = weight.double()[:, None]
    if dual := rows <= features:
        matrix = x @ x.mT
        largest = matrix.diagonal(dim1=1, dim2=2).amax(1)[:, None, None]
        size = torch.where(largest > 1e-12, largest, 1.0)  # rows that are all alike
        bound, matrix, penalty = size / penalty, matrix / size, penalty / size
    else:
        squares = x.square()
        bound = squares.sum(2).amax(1)[:, None, None].clamp_min(1e-12) / penalty
        size = ((squares * counted.mT).sum(1, keepdim=True) * 0.1 + penalty).sqrt()
        matrix, penalty = (x / size).mT.contiguous(), penalty / size.square()
    shape = (episodes, barred.shape[1], rows)
    target = x.new_zeros(shape).scatter_(1, y[:, None], 1.0)
    unknowns = x.new_zeros(*shape[:2], rows if dual else features)
    zeros = x.new_zeros(shape)
    return _Problem(
        dual=dual,
        matrix=matrix,
        size=size,
        penalty=penalty,
        bound=bound,
        barred=barred,
        labels=y[:, None],
        target=target,
        weight=counted,
        unknowns=unknowns,
        bias=x.new_zeros(*shape[:2], 1),
        logits=zeros,
        fitted=zeros,
        expected=target.clone(),
        value=bound,
    )


def _begin(problem: _Problem, start: _Start | None) -> _Problem:
    """Move to the end of an earlier fit, whose rows were the first of these."""
    unknowns, bias, expected = problem.unknowns, problem.bias, problem.expected
    if start is not None and (start.dual or not problem.dual):
        rows = start.fitted.shape[2]
        if problem.dual:
            unknowns = torch.nn.functional.pad(start.unknowns, (0, unknowns.shape[2] - rows)) * problem.size
        else:
            unknowns = start.weights * problem.size
        bias = start.bias
        expected = torch.cat((start.fitted, expected[..., rows:]), -1)
    logits = problem.push(unknowns)
    value, fitted = problem.evaluate(unknowns, logits, bias)
    # Where a new row contradicts sharp probabilities, going back takes longer than starting at zero.
    none, alike = _at_zero(problem)
    good = value <= none
    return replace(
        problem,
        unknowns=unknowns.where(good, 0.0),
        bias=bias.where(good, 0.0),
        logits=logits.where(good, 0.0),
        value=value.where(good, none),
        fitted=fitted.where(good, alike),
        expected=expected.where(good, problem.target),
    )


def _at_zero(problem: _Problem) -> tuple[Tensor, Tensor]:
    """Return the objective `[E, 1, 1]` and the probabilities `[E, C, 1]` where all unknowns are 0."""
    possible = problem.barred.exp()
    classes = possible.sum(1, keepdim=True)
    return problem.weight.sum(2, keepdim=True) * classes.log(), possible / classes


def _minimise(problem: _Problem, tol: float) -> _Problem:
    """Take Newton steps until no logit would move by more than `tol`; finished episodes are dropped."""
    whole, rows = problem, torch.arange(len(problem.target), device=problem.target.device)
    for _ in range(_MAX_NEWTON):
        curvature = _curvature(problem)
        step, bias_step, moved = _newton_step(problem, curvature, tol)
        logits_step = problem.push(step)
        problem, stuck = _line_search(problem, step, bias_step, logits_step, curvature)
        active = ((moved > tol) & ~stuck).flatten()
        left = int(active.sum())  # on a GPU this waits for it, as the ends of the loops below do
        if left == 0:
            break
        if left < 0.7 * len(rows):
            whole.put(rows, problem)
            rows, problem = rows[active], problem.select(active)
    whole.put(rows, problem)
    return whole


def _curvature(problem: _Problem) -> Tensor:
    """Return the probabilities `[E, C, L]` for the Hessian: halfway to those that the last step expected.

    At saturated rows the Hessian at the current point is nearly zero, and steps overshoot; halfway it is not.
    """
    ahead = problem.expected.clamp(0, 1)
    ahead = ahead / ahead.sum(1, keepdim=True).clamp_min(1e-9)
    return 0.5 * (problem.fitted + ahead)


def _newton_step(problem: _Problem, curvature: Tensor, tol: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return steps of unknowns `[E, C, U]` and bias `[E, C, 1]`, and about how far logits move `[E, 1, 1]`."""
    residual = (problem.target - problem.fitted) * problem.weight
    downhill = residual if problem.dual else residual @ problem.matrix.mT
    downhill = downhill - problem.penalty * problem.unknowns
    bias_downhill = residual.sum(2, keepdim=True)
    other = problem.push(downhill) if problem.dual else downhill
    square = _dot(downhill, other) + _dot(bias_downhill, bias_downhill)
    norm = square.clamp_min(1e-20).sqrt()
    # Rows that are all alike have a residual of length 0: a direction that leads nowhere.
    downhill = downhill.where(square > 1e-20, 0.0)
    floor = ((0.1 * tol) ** 2 / (problem.bound * norm.square())).float()
    # In float32: a direction needs no more, and the line search, which sees float64, has the last word.
    step, bias_step, energy = _conjugate_gradients(
        problem, curvature.float(), (downhill / norm).float(), (bias_downhill / norm).float(), floor
    )
    moved = (energy.double() * norm.square() * problem.bound).sqrt()
    return step.double() * norm, bias_step.double() * norm, moved


def _conjugate_gradients(
    problem: _Problem, curvature: Tensor, residual: Tensor, bias_residual: Tensor, floor: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve the Newton systems, float32: the Hessian is the penalty plus X^T (diag(p) - p p^T) X.

    In the dual, unknowns stand for functions of the rows, and the inner product is that of those functions.

    Returns:
        The solution, `[E, C, U]` and `[E, C, 1]`, and its energy `[E, 1, 1]`.
    """
    matrix, penalty = problem.matrix.float(), problem.penalty.float()
    weighted = curvature * problem.weight.float()
    dual = problem.dual
    pushed = residual @ matrix
    norm = _dot(residual, pushed if dual else residual) + _dot(bias_residual, bias_residual)
    step, bias_step, energy = torch.zeros_like(residual), torch.zeros_like(bias_residual), torch.zeros_like(norm)
    ahead, bias_ahead, pushed_ahead = residual.clone(), bias_residual.clone(), pushed
    going = norm > 0
    for _ in range(_MAX_CG):
        logits = pushed_ahead + bias_ahead
        curved = (logits - (curvature * logits).sum(1, keepdim=True)).mul_(weighted)
        energy_ahead = _dot(ahead * penalty, pushed_ahead if dual else ahead) + _dot(curved, logits)
        # With next to no curvature float32 cannot tell how far to go, and would overflow.
        length = torch.where(going & (energy_ahead > 1e-30), norm / energy_ahead, 0.0)
        step.addcmul_(ahead, length)
        bias_step.addcmul_(bias_ahead, length)
        gain = length * norm
        energy = energy + gain
        going = gain > torch.maximum(energy * _FORCING, floor)
        if not going.any():
            break
        bias_residual = bias_residual - length * curved.sum(2, keepdim=True)
        fall = curved if dual else curved @ matrix.mT
        residual = residual - length * torch.addcmul(fall, ahead, penalty)
        pushed = residual @ matrix
        before, norm = norm, _dot(residual, pushed if dual else residual) + _dot(bias_residual, bias_residual)
        going = going & (norm > _ROUNDING)
        keep = torch.where(before > 0, norm / before, 0.0)
        ahead = torch.addcmul(residual, ahead, keep)
        bias_ahead = torch.addcmul(bias_residual, bias_ahead, keep)
        pushed_ahead = torch.addcmul(pushed, pushed_ahead, keep)
    return step, bias_step, energy


def _line_search(
    problem: _Problem, step: Tensor, bias_step: Tensor, logits_step: Tensor, curvature: Tensor
) -> tuple[_Problem, Tensor]:
    """Take the whole step; where that raises the objective, take half of it, a quarter, ..., in the end none.

    Returns:
        The problems after the step, and `[E, 1, 1]` bool: those in which no part of the step lowers the objective.
    """
    length = torch.ones_like(problem.value)
    for _ in range(_MAX_HALVINGS):
        unknowns = problem.unknowns + length * step
        bias, logits = problem.bias + length * bias_step, problem.logits + length * logits_step
        value, fitted = problem.evaluate(unknowns, logits, bias)
        worse = ~(value <= problem.value + 1e-9 * problem.value.abs())  # or not a number
        if not worse.any():
            break
        length = torch.where(worse, 0.5 * length, length)
    moved = length * (logits_step + bias_step)
    expected = problem.fitted + curvature * (moved - (curvature * moved).sum(1, keepdim=True))
    now: dict[str, Any] = {
        "unknowns": unknowns,
        "bias": bias,
        "logits": logits,
        "value": value,
        "fitted": fitted,
        "expected": expected,
    }
    if worse.any():
        now = {name: getattr(problem, name).where(worse, part) for name, part in now.items()}
    return replace(problem, **now), worse


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner product of each episode, `[E, 1, 1]`."""
    return torch.linalg.vecdot(first.flatten(1), second.flatten(1))[:, None, None]
