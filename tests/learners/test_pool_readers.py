"""Learners that read the pool: what all keep to, pseudo-labels, virtual adversarial training, and siamese encoders."""

import math
from typing import Any

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import CNN, MLP, VAT, LogisticRegression, Prototype, PseudoLabels, Siamese, make_learner
from almeta.learners.learner import PoolFit, ReadsPool
from almeta.learners.networks import possible_log_softmax
from almeta.learners.siamese import contrastive_loss
from almeta.learners.vat import virtual_adversarial_loss
from almeta.pool import Pool

READERS: dict[str, Any] = {
    "pseudo_labels": PseudoLabels(Prototype(temperature=0.2), threshold=0.6),
    "vat": VAT(MLP(steps=20, hidden_size=8), epsilon=0.5, pool_batch=8),
}
CLASSES, EPISODES, ROWS = 4, 3, 30

every = pytest.mark.parametrize("name", sorted(READERS))


def problem() -> tuple[torch.Tensor, ...]:
    """Pools of classes 0, 1 and 3 in three groups, the first six rows labelled, and which rows have no label."""
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1, 3]).repeat(EPISODES, ROWS // 3)
    x = torch.randn(EPISODES, ROWS, 2, generator=generator)
    x[..., 0] += y
    unlabelled = (torch.arange(ROWS) >= 6).repeat(EPISODES, 1)
    return x, y, unlabelled


def fit(learner, x, y, unlabelled, weight=None) -> PoolFit:
    weight = torch.ones(len(x), 6) if weight is None else weight
    generator = torch.Generator().manual_seed(0)
    fitted: PoolFit = learner.fit_with_pool(x[:, :6], y[:, :6], weight, CLASSES, x, unlabelled, generator=generator)
    return fitted


# --- what all keep to ---


@every
def test_it_reads_the_pool(name):
    learner, (x, y, unlabelled) = READERS[name], problem()
    assert isinstance(learner, ReadsPool) and not isinstance(Prototype(), ReadsPool)
    found = fit(learner, x, y, unlabelled)
    p = found.model.probabilities(x)
    assert p.shape == (EPISODES, ROWS, CLASSES) and (p[..., 2] == 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(EPISODES, ROWS))
    assert found.assumed.shape == unlabelled.shape and found.assumed.dtype == torch.int64
    assert (found.assumed[~unlabelled] == -1).all()
    moved = torch.where(unlabelled[..., None], x + 0.5, x)
    assert (fit(learner, moved, y, unlabelled).model.probabilities(x) - p).abs().max() > 1e-3


@every
def test_what_stands_in_rows_that_do_not_count_does_not_matter(name):
    learner, (x, y, unlabelled) = READERS[name], problem()
    unlabelled[:, 20:] = False  # rows that pad
    other = torch.where(torch.arange(ROWS)[:, None] >= 20, 7.0, x)
    weight = torch.ones(EPISODES, 6)
    weight[1, 4:] = 0
    wrong = y.clone()
    wrong[1, 4:6] = 2
    got = fit(learner, other, wrong, unlabelled, weight).model.probabilities(x)
    torch.testing.assert_close(got, fit(learner, x, y, unlabelled, weight).model.probabilities(x))


@every
def test_without_unlabelled_rows_it_is_its_plain_fit(name):
    learner, (x, y, unlabelled) = READERS[name], problem()
    got = fit(learner, x[:, :6], y, unlabelled[:, :6])
    plain = learner.fit(x[:, :6], y[:, :6], torch.ones(EPISODES, 6), CLASSES)
    torch.testing.assert_close(got.model.probabilities(x), plain.probabilities(x))
    assert (got.assumed == -1).all()


@every
def test_without_a_label_all_classes_are_alike_and_one_class_is_sure(name):
    learner, (x, y, unlabelled) = READERS[name], problem()
    weight = torch.zeros(EPISODES, 6)
    weight[1, 1] = 1
    found = fit(learner, x, y, unlabelled, weight)
    p = found.model.probabilities(x)
    torch.testing.assert_close(p[0], torch.full((ROWS, CLASSES), 0.25))
    assert (p[1, :, 1] == 1).all()
    assert (found.assumed == -1).all()


@every
def test_a_pool_lets_it_read_its_unlabelled_rows(name):
    x, y, unlabelled = problem()
    exists = torch.ones(EPISODES, ROWS, dtype=torch.bool)
    exists[:, 25:] = False
    rows = torch.arange(6).repeat(EPISODES, 1)
    classes = torch.full((EPISODES,), CLASSES)
    generator = torch.Generator().manual_seed(0)
    pool = Pool(x, exists, rows, y[:, :6], classes, READERS[name], generator=generator)
    expected = fit(READERS[name], x, y, unlabelled & exists)
    torch.testing.assert_close(pool.state().probabilities, expected.model.probabilities(x))
    assert torch.equal(pool.assumed, expected.assumed)
    pool.tell(torch.tensor([6, 7, 8]), torch.tensor([0, 1, 3]))
    assert (pool.assumed.gather(1, torch.tensor([[6], [7], [8]])) == -1).all()


@pytest.mark.parametrize("name", READERS)
def test_a_row_counts_once_however_many_annotators_may_be_asked_about_it(name, monkeypatch):
    """It reads one question about each row without any label, whoever gave the labels of the others."""
    x, y, _ = problem()
    exists = torch.ones(EPISODES, ROWS, dtype=torch.bool)
    exists[:, 25:] = False
    rows, classes = torch.arange(6).repeat(EPISODES, 1), torch.full((EPISODES,), CLASSES)
    asked = 3 * rows + torch.tensor([0, 1, 2, 2, 1, 0])
    shown, kind = [], type(READERS[name])
    own = kind.fit_with_pool

    def fit_with_pool(*given):
        shown.append(given[6])
        return own(*given)

    monkeypatch.setattr(kind, "fit_with_pool", fit_with_pool)
    pool = Pool(
        x.repeat_interleave(3, 1), exists.repeat_interleave(3, 1), asked, y[:, :6], classes, READERS[name], annotators=3
    )
    expected = torch.zeros(EPISODES, ROWS, dtype=torch.bool)
    expected[:, 6:25] = True
    assert torch.equal(shown[0].unflatten(1, (-1, 3))[..., 0], expected)
    assert not shown[0].unflatten(1, (-1, 3))[..., 1:].any()
    assert torch.equal(shown[0], pool.state().is_unlabelled)
    if name == "pseudo_labels":  # it draws nothing: all is as with one annotator
        alone = Pool(x, exists, rows, y[:, :6], classes, READERS[name])
        assert torch.equal(pool.assumed[:, ::3], alone.assumed) and (alone.assumed >= 0).any()
        torch.testing.assert_close(pool.state().probabilities[:, ::3], alone.state().probabilities)


def test_other_learners_assume_nothing():
    x, y, _ = problem()
    exists = torch.ones(EPISODES, ROWS, dtype=torch.bool)
    rows = torch.arange(6).repeat(EPISODES, 1)
    pool = Pool(x, exists, rows, y[:, :6], torch.full((EPISODES,), CLASSES), Prototype())
    assert (pool.assumed == -1).all()


# --- pseudo-labels ---


@pytest.mark.parametrize("threshold, share", [(0.6, 1.0), (None, 0.25), (0.6, 0.25), (None, 1.0), (0.0, 1.0)])
def test_pseudo_labels_as_by_hand(threshold, share):
    """Entropies and shares row by row, then one fit to labels and pseudo-labels."""
    x, y, unlabelled = problem()
    unlabelled[0, 25:] = False
    base = LogisticRegression()
    found = fit(PseudoLabels(base, threshold=threshold, share=share, trust=0.5), x, y, unlabelled)
    for e in range(EPISODES):
        one = slice(e, e + 1)
        p = base.fit(x[one, :6], y[one, :6], torch.ones(1, 6), CLASSES).probabilities(x[one])[0]
        entropy = [-sum(q * math.log(q) for q in row if q > 0) for row in p.tolist()]
        free = sorted((row for row in range(ROWS) if unlabelled[e, row]), key=lambda row: entropy[row])
        kept = [row for row in free[: round(share * len(free))] if threshold is None or entropy[row] <= threshold]
        labels = [int(p[row].argmax()) for row in kept]
        assert found.assumed[e].tolist() == [labels[kept.index(r)] if r in kept else -1 for r in range(ROWS)]
        rows, told = x[e, [*range(6), *kept]], torch.tensor([*y[e, :6].tolist(), *labels])
        weight = torch.tensor([1.0] * 6 + [0.5] * len(kept))
        again = base.fit(rows[None], told[None], weight[None], CLASSES).probabilities(x[one])
        torch.testing.assert_close(found.model.probabilities(x)[one], again, atol=1e-3, rtol=0)


def test_a_second_round_goes_on_from_the_first():
    x, y, unlabelled = problem()
    base = LogisticRegression()
    once, twice = (fit(PseudoLabels(base, threshold=0.7, rounds=rounds), x, y, unlabelled) for rounds in (1, 2))
    p = once.model.probabilities(x)
    sure = unlabelled & (torch.special.entr(p).sum(-1) <= 0.7)
    assert torch.equal(twice.assumed, p.argmax(-1).where(sure, -1))
    assert (twice.assumed >= 0).sum() > (once.assumed >= 0).sum()


def test_labels_of_the_pool_help_where_classes_are_apart():
    """Two far groups and one label of each at its rim: the mean of the group is nearer to the truth than the label."""
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1]).repeat(1, 50)
    x = torch.randn(1, 100, 2, generator=generator)
    x[0, :2], x[..., 0] = torch.tensor([[0.0, 3.0], [0.0, -3.0]]), x[..., 0] + 8 * y

    def right(learner):
        model = learner.fit_with_pool(
            x[:, :2], y[:, :2], torch.ones(1, 2), 2, x, torch.arange(100)[None] >= 2
        ).model  # fmt: skip
        apart = torch.stack((torch.full((60,), 4.4), torch.linspace(-6, 6, 60)), 1)[None]  # beyond the middle, at 4
        return (model.probabilities(apart).argmax(-1) == 1).float().mean()

    assert right(PseudoLabels(Prototype(0.2), threshold=0.6)) > 0.9
    assert right(PseudoLabels(Prototype(0.2), threshold=0.6, share=0.0)) < 0.8


def test_a_base_may_read_the_pool_too():
    x, y, unlabelled = problem()
    base = VAT(MLP(steps=5, dropout=0.0))
    found = fit(PseudoLabels(base, threshold=0.0), x, y, unlabelled)  # no row is that sure: it is fit twice to the same
    generator = torch.Generator().manual_seed(0)
    given = (x[:, :6], y[:, :6], torch.ones(EPISODES, 6), CLASSES, x, unlabelled)
    first, second = (base.fit_with_pool(*given, generator=generator).model.probabilities(x) for _ in range(2))
    torch.testing.assert_close(found.model.probabilities(x), second)
    assert not torch.equal(first, second)


# --- virtual adversarial training ---


def test_the_virtual_adversarial_loss_as_row_by_row():
    generator = torch.Generator().manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    possible = torch.tensor([[True, True, False, True]] * 2)
    x = torch.randn(2, 4, 3, generator=generator)
    got = virtual_adversarial_loss(
        lambda rows: possible_log_softmax(network(rows), possible), x, 0.7, 0.1, 2, torch.Generator().manual_seed(2)
    )
    first = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))

    def kl(row, move):
        p, q = (network(one)[[0, 1, 3]].softmax(0) for one in (row, row + move))
        return sum(p[c].detach() * (p[c].detach().log() - q[c].log()) for c in range(3))

    for e in range(2):
        for m in range(4):
            d = first[e, m] / first[e, m].norm()
            for _ in range(2):
                d = d.detach().requires_grad_()
                gradient = torch.autograd.grad(kl(x[e, m], 0.1 * d), d)[0]
                d = gradient / gradient.norm()
            torch.testing.assert_close(got[e, m], kl(x[e, m], 0.7 * d), atol=1e-4, rtol=1e-3)
    assert got.requires_grad and (got > 0).all()


def test_a_network_without_the_second_loss_is_its_base():
    x, y, unlabelled = problem()
    base = MLP(steps=20, dropout=0.0)
    got = fit(VAT(base, alpha=0.0), x, y, unlabelled).model.probabilities(x)
    generator = torch.Generator().manual_seed(0)
    plain = base.fit(x[:, :6], y[:, :6], torch.ones(EPISODES, 6), CLASSES, generator=generator)
    torch.testing.assert_close(got, plain.probabilities(x))


def test_answers_move_less_where_moves_cost():
    x, y, unlabelled = problem()
    base = MLP(steps=60, dropout=0.0, weight_decay=0.0)

    def moved(alpha):
        model = fit(VAT(base, epsilon=1.0, alpha=alpha), x, y, unlabelled).model
        return (model.probabilities(x + 0.5) - model.probabilities(x)).abs().mean()

    assert moved(10.0) < 0.7 * moved(0.0)


@pytest.mark.parametrize("kind", ["vat", "siamese"])
def test_images_too(kind):
    x, y = torch.rand(1, 8, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1] * 4])
    learner = make_learner({"name": kind, "base": {"name": "cnn", "maps": 2, "hidden_size": 4, "steps": 2}})
    assert vars(learner)["_network"] == CNN(maps=2, hidden_size=4, steps=2)
    p = learner.fit(x, y, torch.ones(1, 8), 2).probabilities(x)
    torch.testing.assert_close(p.sum(-1), torch.ones(1, 8))


# --- siamese encoders ---


def test_the_contrastive_loss_as_pair_by_pair():
    codes = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[0, 1, 0, 1, 1], [2, 2, 2, 2, 0]])
    counted = torch.tensor([[True] * 5, [True, True, True, False, False]])
    got = contrastive_loss(codes, y, counted, margin=2.0)
    for e in range(2):
        alike, apart = [], []
        for i in range(5):
            for j in range(5):
                if i != j and counted[e, i] and counted[e, j]:
                    distance = (codes[e, i] - codes[e, j]).norm()
                    if y[e, i] == y[e, j]:
                        alike.append(distance**2)
                    else:
                        apart.append(max(torch.tensor(0.0), 2.0 - distance) ** 2)
        halves = [sum(costs) / len(costs) if costs else torch.tensor(0.0) for costs in (alike, apart)]
        torch.testing.assert_close(got[e], torch.as_tensor(sum(halves) / 2))


def test_codes_of_one_class_come_together():
    x, y, _ = problem()
    learner = Siamese(MLP(steps=100), code_size=4)
    model = learner.fit(x, y, torch.ones(EPISODES, ROWS), CLASSES)
    codes = model.codes(x)
    distances, same = torch.cdist(codes, codes), y[:, :, None] == y[:, None]
    assert codes.shape == (EPISODES, ROWS, 4)
    assert distances[same].mean() < 0.5 * distances[~same].mean()


# --- mistakes ---

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "base": ({"name": "pseudo_labels", "base": "cnm"}, "unknown learner 'cnm'; did you mean 'cnn'"),
    "numbers": ({"name": "pseudo_labels", "base": "ridge_regression"}, "base=ridge_regression learns numbers; name a"),
    "threshold": ({"name": "pseudo_labels", "threshold": -1}, "learner.threshold is -1; it must be a number of at"),
    "share": ({"name": "pseudo_labels", "share": 2}, "learner.share is 2; it must be a number from 0 to 1"),
    "trust": ({"name": "pseudo_labels", "trust": 0}, "learner.trust is 0; it must be a number above 0"),
    "rounds": ({"name": "pseudo_labels", "rounds": 0}, "learner.rounds is 0; it must be a whole number of at least 1"),
    "no network": ({"name": "vat", "base": "svc"}, "learner vat: base=svc is no network that it can train; choose mlp"),
    "epsilon": ({"name": "vat", "epsilon": 0}, "learner.epsilon is 0; it must be a number above 0"),
    "alpha": ({"name": "vat", "alpha": -1}, "learner.alpha is -1; it must be a number of at least 0"),
    "xi": ({"name": "vat", "xi": 0}, "learner.xi is 0; it must be a number above 0"),
    "iterations": ({"name": "vat", "power_iterations": 0}, "learner.power_iterations is 0; it must be a whole number"),
    "batch": ({"name": "vat", "pool_batch": 0}, "learner.pool_batch is 0; it must be a whole number of at least 1"),
    "no encoder": ({"name": "siamese", "base": "ridge"}, "learner siamese: base=ridge is no network that it can train"),
    "code": ({"name": "siamese", "code_size": 0}, "learner.code_size is 0; it must be a whole number of at least 1"),
    "margin": ({"name": "siamese", "margin": 0}, "learner.margin is 0; it must be a number above 0"),
    "temperature": ({"name": "siamese", "temperature": 0}, "learner.temperature is 0; it must be a number above 0"),
}


@pytest.mark.parametrize("given, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(given, message):
    with pytest.raises(AlmetaError, match=message):
        make_learner(given)
