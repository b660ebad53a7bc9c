import math
from dataclasses import replace

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import EmbeddingAverage, LogisticRegression, Ridge
from almeta.seeding import make_generator
from almeta.strategies.adversarial import DeepFool, WordSwaps, nearest_first
from tests.strategies.pools import make_pools, utilities_of


def test_the_least_effort_comes_first_and_what_does_not_count_last():
    effort = torch.tensor([[3.0, 1.0, math.inf, 0.5, 2.0], [math.inf] * 5])
    counted = torch.tensor([[True, True, True, False, True]] * 2)
    assert nearest_first(effort, counted).tolist() == [[-3, -1, -4, -4, -2], [-1] * 5]


def fitted(learner, state):
    """The pools, of another learner."""
    x, y, weight = state.labelled_rows()
    model = learner.fit(x, y, weight, 3)
    return replace(state, model=model, learner=learner, probabilities=model.probabilities(state.x))


# --- DeepFool ---


def linear_pools():
    """Pools whose learner is logistic regression."""
    state = make_pools(sizes=(14, 14), columns=(3, 3), classes=(3, 3), labelled=(6, 6), seed=1).state
    return fitted(LogisticRegression(), state)


def distances(state):
    """To the nearest boundary of linear classes, `[E][N]`."""
    logits, weights = state.model.logits(state.x), state.model.weights
    found: list[list[float]] = []
    for e, rows in enumerate(logits):
        found.append([])
        for f in rows:
            own = int(f.argmax())
            others = [k for k in range(3) if k != own]
            found[-1].append(min(float((f[own] - f[k]) / (weights[e, own] - weights[e, k]).norm()) for k in others))
    return torch.tensor(found)


def test_deepfool_asks_for_the_row_nearest_to_the_boundary():
    state = linear_pools()
    scores = DeepFool(steps=3).score(state)
    torch.testing.assert_close(scores[state.available], -distances(state)[state.available], rtol=1e-4, atol=1e-5)


def test_deepfool_looks_at_some_rows_only():
    state = linear_pools()
    strategy = DeepFool(candidates=4)
    looked = []
    for seed in range(2):
        strategy.generator = make_generator(seed, "test")
        scores = strategy.score(state)
        lowest = scores.amin(1, keepdim=True)
        seen = scores > lowest
        assert seen.sum(1).tolist() == [4, 4] and not (seen & ~state.available).any()
        torch.testing.assert_close(scores[seen], -distances(state)[seen], rtol=1e-4, atol=1e-5)
        looked.append(seen)
    assert not torch.equal(*looked)


def test_deepfool_needs_gradients_by_features():
    state = fitted(Ridge(), make_pools().state)
    message = "needs a learner with logits that can be derived by the features; Ridge has none: .* mlp, cnn or torch"
    with pytest.raises(AlmetaError, match=message):
        utilities_of(DeepFool(), state)


# --- word swaps ---


def text_pools():
    """Sentences of up to seven of 30 words, two pools of 40, 15 of them labelled."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(1, 30, (2, 40, 7), generator=generator).float()
    x = x.where(torch.arange(7) < torch.randint(1, 8, (2, 40, 1), generator=generator), 0.0)
    y = torch.randint(0, 3, (2, 40), generator=generator)
    learner = EmbeddingAverage(embedding_size=4, steps=20, dropout=0.0)
    model = learner.fit(x[:, :15], y[:, :15], torch.ones(2, 15), 3)
    state = make_pools(sizes=(40, 40), columns=(7, 7), classes=(3, 3), labelled=(15, 15)).state
    return replace(state, x=x, model=model, learner=learner, probabilities=model.probabilities(x))


def swaps_of_row(model, e, words, count):
    """The least number of swaps that change a row's label, and the share of the last one that is needed."""
    place = {int(word): 1 + number for number, word in enumerate(model.words)}
    table, weights, bias = model.embeddings[e], model.last.weights[e], model.last.bias[e, 0]
    places = [place.get(int(word), 0) for word in words]
    known = [p for p in range(len(table)) if table[p].abs().sum() > 0]
    logits = table[places].mean(0) @ weights + bias
    label, fewest = int(logits.argmax()), math.inf
    for rival in range(3):
        if rival == label:
            continue
        towards = weights[:, rival] - weights[:, label]
        gains = []
        for p in places:
            near = sorted((q for q in known if q != p), key=lambda q: float((table[p] - table[q]).norm()))[:count]
            gains.append(max(0.0, *(float((table[q] - table[p]) @ towards) / len(places) for q in near)))
        lead = float(logits[label] - logits[rival])
        for number, gain in enumerate(sorted(gains, reverse=True)):
            if gain > lead:
                fewest = min(fewest, number + lead / gain)
                break
            lead -= gain
    return fewest


@pytest.mark.parametrize("count", [2, 6])
def test_word_swaps_against_a_loop(count, monkeypatch):
    monkeypatch.setattr("almeta.learners.text._BLOCK", 300)  # blocks of five words
    state = text_pools()
    scores = WordSwaps(num_neighbours=count).score(state)
    swaps = state.model.word_swaps(state.x, count)
    for e in range(2):
        for row in range(40):
            words = state.x[e, row][state.x[e, row] > 0]
            expected = swaps_of_row(state.model, e, words, count)
            assert float(swaps[e, row]) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    open_to = state.available & swaps.isfinite()
    assert open_to.any() and (swaps > 1).any() and swaps.isinf().any()
    torch.testing.assert_close(scores[open_to], -swaps[open_to])
    for e in range(2):
        assert (scores[e, ~open_to[e]] < scores[e, open_to[e]].min()).all()


def test_one_swap_changes_the_label_where_it_is_said():
    """Each known word is tried in the place of each word: one swap changes the label where one is said to do."""
    state = text_pools()
    model, swaps = state.model, state.model.word_swaps(state.x, 1000)
    for row in range(40):
        words = state.x[0, row]
        label = int(model.probabilities(words.expand(2, 1, -1))[0, 0].argmax())
        known = [word for number, word in enumerate(model.words) if model.embeddings[0, 1 + number].abs().sum() > 0]
        tried = []
        for position in range(int((words > 0).sum())):
            for word in known:
                other = words.clone()
                other[position] = word
                tried.append(other)
        labels = model.probabilities(torch.stack(tried).expand(2, -1, -1))[0].argmax(-1)
        assert bool((labels != label).any()) == bool(swaps[0, row] < 1)


def test_without_a_rival_no_swap_changes_the_label():
    x, y = torch.tensor([[[3.0, 4.0], [5.0, 0.0]]]), torch.zeros(1, 2, dtype=torch.int64)
    for weight in (torch.ones(1, 2), torch.zeros(1, 2)):
        model = EmbeddingAverage(steps=3).fit(x, y, weight, 2)
        assert model.word_swaps(torch.cat((x, 0 * x), 1), 5).isinf().all()


def test_word_swaps_needs_words():
    state = fitted(Ridge(), make_pools().state)
    with pytest.raises(AlmetaError, match="strategy word_swaps needs a learner with an embedding of words"):
        utilities_of(WordSwaps(), state)
