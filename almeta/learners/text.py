"""Classifiers of texts that average trained embeddings of their words, E of them trained at once."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from almeta.checks import Count, Positive, Weight, Within
from almeta.errors import AlmetaError
from almeta.learners.learner import Rng, counted_labels, possible_classes, rows_of, seen_classes
from almeta.learners.networks import (
    LastLayer,
    cross_entropy,
    draw_kept,
    draw_samples,
    errors,
    in_blocks,
    shares,
    square,
    train,
    uniform,
)

# Distances between words that are computed at once.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class EmbeddingAverageModel:
    """Trained embeddings.

    Attributes:
        words: `[W]` float32, sorted: the numbers of the words of all labelled rows.
        embeddings: `[E, W + 1, H]` float32; the first, which is 0, is of all other words.
        last: the layer after the average.
        dropout: share of the average's units that samples leave out.
    """

    words: Tensor
    embeddings: Tensor
    last: LastLayer
    dropout: float

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows of word numbers `[E, M, D]`, without dropout."""
        return self.last.probabilities(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """Return the mean embedding `[E, M, H]` float32 of the words of each row; 0 for a row without words."""
        return in_blocks(lambda part: _average(self.embeddings, _places(self.words, part), part > 0), x)

    def sample(self, x: Tensor, num_samples: int, generator: Rng = None) -> Tensor:
        """Return class probabilities `[E, S, M, C]` float32 by S networks with units of the average left out.

        Raises:
            AlmetaError: if the networks have no dropout.
        """
        (kept,) = draw_samples([self.embeddings.shape[2]], num_samples, self.dropout, generator, x)
        return self.last.sample(self.embed(x), kept)

    def gradient_lengths(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32, as `HasGradients` says, in closed form."""
        average = self.embed(x)
        units, inputs = square(average) + 1, square(in_blocks(_distinct_shares, x))
        lengths = [
            (units * square(error) + inputs * square(error @ self.last.weights.mT)).sqrt()
            for error in errors(self.last.probabilities(average))
        ]
        return torch.stack(lengths, -1)

    def word_gradient_lengths(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32: for each label, the longest gradient by the embedding of a word of the row.

        Y. Zhang, M. Lease and B. C. Wallace. Active discriminative text representation learning. AAAI 2017. In an
        average, the gradient by a word's embedding is that by the average, times the word's share of the row.
        """
        largest = in_blocks(_distinct_shares, x).amax(-1)
        found = errors(self.probabilities(x))
        return torch.stack([largest * (error @ self.last.weights.mT).norm(dim=-1) for error in found], -1)

    def word_swaps(self, x: Tensor, num_neighbours: int) -> Tensor:
        """Return `[E, M]` float32, as `EmbedsWords` says, exactly: each swap moves the logits by itself.

        The words that take their place are those of the episode's labelled rows. Towards each rival class every word
        has its best swap, and the best swaps of the row come first.
        """
        gains, classes = self._swap_gains(num_neighbours), self.last.weights.shape[2]

        def swaps(part: Tensor) -> Tensor:
            logits = self.last.logits(_average(self.embeddings, _places(self.words, part), part > 0))
            label = logits.argmax(-1, keepdim=True)
            lead = (logits.gather(2, label) - logits).scatter(2, label, torch.inf)  # inf for classes not seen, too
            lead = lead * (part > 0).sum(-1, keepdim=True)  # a word moves the average by its share of the row
            rows = (_places(self.words, part) * classes + label).flatten(1)
            gain = gains.gather(1, rows[..., None].expand(-1, -1, classes)).unflatten(1, part.shape[1:])
            gain = gain.where((part > 0)[..., None], 0.0).sort(2, descending=True).values  # [E, B, D, C]
            before = gain.cumsum(2) - gain
            needed = (lead[:, :, None] - before) / gain  # of each swap, in the order of gains
            done = (gain > 0) & (needed < 1)
            place = torch.arange(part.shape[2], device=part.device)[:, None]
            return (place + needed.clamp_min(0)).where(done, torch.inf).amin((2, 3))

        return in_blocks(swaps, x, cost=4 * classes)

    def _swap_gains(self, num_neighbours: int) -> Tensor:
        """Return `[E, (W + 1) * C, C]`: what swapping a word gives each class's logit over another's, at best, times n.

        Row w * C + l is of word w and label l, and n is the number of words of the text. It is 0 where no swap helps.
        """
        logits, near = self.embeddings @ self.last.weights, self._near_words(num_neighbours)
        change = rows_of(logits, near.flatten(1)).unflatten(1, near.shape[1:]) - logits[:, :, None]
        change = change.where((near >= 0)[..., None], 0.0)  # [E, W + 1, K, C]
        over_each = [(change - one).amax(2) for one in change.split(1, 3)]
        return torch.stack(over_each, 2).clamp_min(0).flatten(1, 2)

    def _near_words(self, count: int) -> Tensor:
        """Return `[E, W + 1, K]` int64: the nearest known words of the episode, without the word; -1 for no further."""
        embeddings = self.embeddings
        unknown = (embeddings == 0).all(-1)[:, None]
        words = torch.arange(embeddings.shape[1], device=embeddings.device)
        found = []
        for block in words.split(max(1, _BLOCK // unknown.numel())):
            distance = torch.cdist(embeddings[:, block], embeddings).masked_fill(unknown, torch.inf)
            distance = distance.masked_fill(block[:, None] == words, torch.inf)
            near = distance.topk(min(count, len(words)), largest=False)
            found.append(near.indices.where(near.values.isfinite(), -1))
        return torch.cat(found, 1)


@dataclass(frozen=True)
class EmbeddingAverage:
    """The mean of the embeddings of a text's words, dropout, and a softmax of linear functions; trained anew by Adam.

    It reads word numbers, as the text sets have with `form="tokens"`: whole numbers above 0, and 0 where a row has no
    further word. Embeddings begin at 0, so that words that no labelled row has stay at 0.

    Args:
        embedding_size: H, numbers that embed a word.
        dropout: share of the average's units dropped in each step, at most 0.9.
        steps: of Adam.
        learning_rate: of Adam.
        weight_decay: weight of half the squared weights in the loss, which is a mean over rows.
    """

    embedding_size: Count = 32
    dropout: Annotated[float, Within(0, 0.9)] = 0.25
    steps: Count = 100
    learning_rate: Positive = 0.02
    weight_decay: Weight = 1e-3

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> EmbeddingAverageModel:
        """Fit E classifiers, as `Learner.fit` says; `start` has no effect, and the default generator has seed 0.

        Raises:
            AlmetaError: if the labelled rows are not word numbers.
        """
        generator = generator or torch.Generator(x.device).manual_seed(0)
        x = x.where(weight[..., None] > 0, 0.0)
        if bool(((x < 0) | (x != x.round())).any()):
            raise AlmetaError(
                "learner text reads texts as word numbers, and these features are no word numbers; give it text sets "
                "alone, with form=tokens (options.form=tokens, dataset.form=tokens), or choose another learner: mlp"
            )
        y, share = counted_labels(y, weight), shares(weight)
        seen = seen_classes(y, weight, num_classes)
        possible = possible_classes(seen)
        words = x[x > 0].unique()
        places, present, size = _places(words, x), x > 0, self.embedding_size
        embeddings = torch.zeros((len(x), len(words) + 1, size), device=x.device).requires_grad_()
        last, bias = (uniform((len(x), rows, num_classes), size, generator, x.device) for rows in (size, 1))

        def loss() -> Tensor:
            average = _average(embeddings, places, present)
            kept = draw_kept(average.shape, self.dropout, generator, x.device)
            return cross_entropy(torch.baddbmm(bias, average * kept, last), y, share, possible)

        decayed = (embeddings, last)
        trained = train(self, (*decayed, bias), decayed, loss)
        return EmbeddingAverageModel(words, trained[0], LastLayer.after(trained[1], trained[2], seen), self.dropout)


def _places(words: Tensor, x: Tensor) -> Tensor:
    """Return where the words of `[E, M, D]` stand among sorted `words` `[W]`, from 1; 0 for others and for none."""
    place = torch.searchsorted(words, x.contiguous())
    return torch.where(pad(words, (0, 1), value=-1)[place] == x, place + 1, 0)


def _average(embeddings: Tensor, places: Tensor, present: Tensor) -> Tensor:
    """Return the mean embedding `[E, M, H]` of the words at `places` `[E, M, D]`, `present` or not."""
    episodes, rows, _ = places.shape
    begin = torch.arange(episodes, device=places.device)[:, None, None] * embeddings.shape[1]
    share = present / present.sum(-1, keepdim=True).clamp_min(1)
    numbers, table, weights = (part.flatten(0, 1) for part in (places + begin, embeddings, share))
    average = embedding_bag(numbers, table, mode="sum", per_sample_weights=weights)
    return average.unflatten(0, (episodes, rows))


def _distinct_shares(x: Tensor) -> Tensor:
    """Return `[E, M, D]`: the share of the row that each different word is, once; 0 elsewhere."""
    ordered = x.sort(-1).values.contiguous()
    first = torch.searchsorted(ordered, ordered)
    count = torch.searchsorted(ordered, ordered, right=True) - first
    counted = (ordered > 0) & (first == torch.arange(x.shape[-1], device=x.device))
    return count.where(counted, 0) / (x > 0).sum(-1, keepdim=True).clamp_min(1)
