"""Gradient strategies: ask for the rows that would change the learner most."""

from typing import cast

import torch
from torch import Tensor

from almeta.learners.learner import Embeds, EmbedsWords, HasGradients
from almeta.pool import PoolState
from almeta.strategies.choosing import draw_row
from almeta.strategies.strategy import BatchStrategy, PoolStrategy

# Squared distances below this share of the squared lengths are 0 but for rounding.
_NOTHING = 1e-13


def expected_length(probabilities: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum over classes of p times the gradient's length if the row had that label.

    Args:
        probabilities: `[..., C]`, of the learner.
        lengths: `[..., C]`, at least 0. For softmax regression they are ||p - e_c|| ||[x, 1]||, with e_c the one-hot
            label.

    Returns:
        `[...]`, at least 0.
    """
    return (probabilities * lengths).sum(-1)


def gradient_factors(probabilities: Tensor) -> Tensor:
    """Return p - onehot(argmax p) of probabilities `[..., C]`: the gradient by the logits for the predicted label.

    The gradient of the last layer's weights, BADGE's embedding, is its outer product with what the layer reads.
    """
    predicted = torch.zeros_like(probabilities).scatter_(-1, probabilities.argmax(-1, keepdim=True), 1.0)
    return probabilities - predicted


def distant_gradients(
    factors: Tensor, inputs: Tensor, available: Tensor, uniform: Tensor, pending: Tensor | None = None
) -> Tensor:
    """Choose rows by the seeding of k-means++ (Arthur & Vassilvitskii, SODA 2007) among gradients a x h.

    The first row is the one with the longest gradient, as in the code of BADGE's authors; k-means++ itself draws it at
    random. Each later one is drawn with probability proportional to the squared distance to the nearest of those chosen
    so far. No gradient is written out: the squared distance of a x h and b x k is
    |a|^2 |h|^2 + |b|^2 |k|^2 - 2 (a.b) (h.k).

    Args:
        factors: `[E, N, C]` float32, a of each row.
        inputs: `[E, N, H]` float32, h of each row.
        available: `[E, N]` bool, rows that may be chosen.
        uniform: `[E, K]` float64 in [0, 1), random numbers, one for each row to choose.
        pending: `[E, P]` int64, rows that count as chosen already; -1 for none.

    Returns:
        `[E, K]` int64, rows in the order in which they were chosen; -1 where no row with another gradient is left.
    """
    factors, inputs = factors.double(), inputs.double()  # else equal gradients would be apart by what is rounded
    squares = factors.square().sum(-1) * inputs.square().sum(-1)
    nearest = torch.full_like(squares, torch.inf)
    for row in pending.unbind(1) if pending is not None else ():
        nearest = torch.minimum(nearest, _squared_distances(factors, inputs, squares, row))
    chosen = []
    for uniform_of_row in uniform.unbind(1):
        longest = squares.where(available, -1.0).amax(1, keepdim=True)
        weight = torch.where(nearest.isinf(), squares.where(squares == longest, 0.0), nearest)
        row = draw_row(weight.where(available, 0.0), uniform_of_row)
        available = available.scatter(1, row.clamp_min(0)[:, None], False)
        nearest = torch.minimum(nearest, _squared_distances(factors, inputs, squares, row))
        chosen.append(row)
    return torch.stack(chosen, 1)


def _squared_distances(factors: Tensor, inputs: Tensor, squares: Tensor, row: Tensor) -> Tensor:
    """Return the squared distances `[E, N]` of all rows' gradients to that of one row `[E]`; inf where it is -1."""
    pools, one = torch.arange(len(row), device=row.device), row.clamp_min(0)
    products = (factors @ factors[pools, one, :, None]) * (inputs @ inputs[pools, one, :, None])
    both = squares + squares[pools, one][:, None]
    distances = both - 2 * products[..., 0]
    return distances.where(distances > _NOTHING * both, 0.0).masked_fill((row < 0)[:, None], torch.inf)


class ExpectedGradientLength(PoolStrategy):
    """Ask for the row whose label is expected to give the longest gradient: Settles, Craven & Ray, NIPS 2007.

    The gradient is that of the row's own loss by all parameters; over the labelled rows it is about 0 after the fit.
    """

    name = "expected_gradient_length"
    needs = (HasGradients,)

    def score(self, state: PoolState) -> Tensor:
        model = cast(HasGradients, state.model)
        return expected_length(state.probabilities, model.gradient_lengths(state.x))


class ExpectedWordGradientLength(PoolStrategy):
    """Ask for the text with the word whose embedding is expected to change most: Zhang, Lease & Wallace, AAAI 2017.

    This is their "EGL-word". For each label it takes the longest gradient by the embedding of a word of the text, and
    then the expectation over the labels. They expect first and take the longest then, which is the same where one word
    has the longest gradient for all labels, as in a learner that averages the embeddings.
    """

    name = "expected_word_gradient_length"
    needs = (EmbedsWords,)

    def score(self, state: PoolState) -> Tensor:
        model = cast(EmbedsWords, state.model)
        return expected_length(state.probabilities, model.word_gradient_lengths(state.x))


class Badge(BatchStrategy):
    """Ask for rows whose gradients are long and differ: BADGE, Ash et al., ICLR 2020, algorithm 1.

    A row's gradient is that of the last layer's weights if the learner's prediction is right. `distant_gradients`
    chooses the rows of a query; once no gradient differs from all of theirs, rows are picked at random.
    """

    name = "badge"
    needs = (Embeds,)

    def select(self, state: PoolState, size: int) -> Tensor:
        pools, device = len(state.x), state.x.device
        uniform = torch.rand(pools, size, generator=self.generator, dtype=torch.float64, device=device)
        factors, inputs = gradient_factors(state.probabilities), cast(Embeds, state.model).embed(state.x)
        return distant_gradients(factors, inputs, state.available, uniform, state.pending)
