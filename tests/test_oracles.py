import math

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.oracles import Oracle
from almeta.seeding import make_generator

N = 20_000


def tasks(classes=(2, 3, 5)) -> tuple[Tensor, Tensor, Tensor]:
    """Pools of N rows, the last hundred of the second padding: y, exists, num_classes."""
    num_classes = torch.tensor(classes)
    y = torch.arange(N) % num_classes[:, None]
    exists = torch.ones(len(classes), N, dtype=torch.bool)
    if len(classes) > 1:
        exists[1, -100:] = False
        y[1, -100:-50], y[1, -50:] = -1, 99
    return y, exists, num_classes


def answer(oracle, classes=(2, 3, 5), seed=0):
    return oracle.answer(*tasks(classes), make_generator(seed, "test"))


def near(share, count):
    """A share within four standard errors."""
    return pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count) + 1e-9)


def test_a_perfect_oracle():
    y, exists, _ = tasks()
    answers = answer(Oracle())
    assert answers.labels.dtype == torch.int64
    assert answers.prices.dtype == torch.float32
    assert torch.equal(answers.labels, y.where(exists, -1))
    assert torch.equal(answers.prices, torch.zeros(3, N))


def test_a_share_of_the_answers_is_wrong_in_every_way_alike(looks_uniform):
    y, exists, num_classes = tasks()
    labels = answer(Oracle(noise=0.3)).labels
    for pool, classes in enumerate(num_classes.tolist()):
        here = exists[pool]
        wrong = labels[pool, here] != y[pool, here]
        assert wrong.float().mean().item() == near(0.3, int(here.sum()))
        assert labels[pool, here].min() == 0
        assert labels[pool, here].max() == classes - 1
        steps = (labels[pool, here] - y[pool, here])[wrong] % classes
        assert classes == 2 or looks_uniform(steps - 1, classes - 1)
    assert (labels[~exists] == -1).all()


def test_noise_by_class():
    y, exists, _ = tasks()
    labels = answer(Oracle(noise=[0.1, 0.5, 0.0, 1, 0.9])).labels
    for pool in range(3):
        for index, rate in enumerate((0.1, 0.5, 0.0, 1.0, 0.9)):
            rows = exists[pool] & (y[pool] == index)
            if rows.any():
                wrong = (labels[pool, rows] != index).float().mean()
                assert wrong.item() == near(rate, int(rows.sum()))


def test_all_may_be_wrong_and_none():
    y, exists, _ = tasks()
    assert (answer(Oracle(noise=1)).labels != y)[exists].all()
    assert (answer(Oracle(noise=0)).labels == y)[exists].all()


def test_a_task_of_one_class_has_no_wrong_answer():
    assert (answer(Oracle(noise=1.0), classes=(1,)).labels == 0).all()


def test_a_share_is_declined():
    y, exists, _ = tasks()
    labels = answer(Oracle(decline=0.25)).labels
    given = labels >= 0
    for pool in range(3):
        here = exists[pool]
        assert given[pool, here].float().mean().item() == near(0.75, int(here.sum()))
    assert torch.equal(labels[given], y[given])
    assert not given[~exists].any()
    assert (answer(Oracle(decline=1)).labels == -1).all()


def test_one_price():
    _, exists, _ = tasks()
    prices = answer(Oracle(price=0.25)).prices
    assert torch.equal(prices, torch.full((3, N), 0.25).where(exists, 0.0))


def test_prices_that_differ():
    _, exists, _ = tasks()
    prices = answer(Oracle(price=2.0, spread=0.5)).prices
    assert (prices[~exists] == 0).all()
    assert (prices[exists] > 0).all()
    assert prices[exists].mean().item() == pytest.approx(2.0, rel=0.02)
    logs = prices[exists].log()
    assert logs.std().item() == pytest.approx(0.5, rel=0.02)
    assert logs.mean().item() == pytest.approx(math.log(2) - 0.125, abs=0.01)


def test_the_seed_decides():
    oracle = Oracle(noise=0.3, decline=0.2, price=1.0, spread=1.0)
    first, again, other = answer(oracle), answer(oracle), answer(oracle, seed=1)
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.prices, again.prices)
    assert not torch.equal(first.labels, other.labels)
    assert not torch.equal(first.prices, other.prices)


def test_options_do_not_disturb_each_other():
    """From the same generator: other prices, the same mistakes; more mistakes, among them the same."""
    y, exists, _ = tasks()
    noisy, dear = answer(Oracle(noise=0.1)), answer(Oracle(noise=0.1, price=1.0, spread=0.3))
    assert torch.equal(noisy.labels, dear.labels)
    assert torch.equal(dear.prices, answer(Oracle(decline=0.4, price=1.0, spread=0.3)).prices)
    noisier = answer(Oracle(noise=0.2)).labels
    wrong = (noisy.labels != y) & exists
    assert torch.equal(noisier[wrong], noisy.labels[wrong])
    # Mistakes and silence are independent.
    silent = answer(Oracle(decline=0.5)).labels < 0
    both = (silent & wrong)[0].float().mean()
    assert both.item() == near(0.05, N)


def test_what_is_given_is_left_as_it_was():
    given = tasks()
    Oracle(noise=0.5, decline=0.5, price=1, spread=1).answer(*given, make_generator(0, "test"))
    assert all(torch.equal(one, other) for one, other in zip(given, tasks(), strict=True))


MISTAKES = {
    "share": ({"noise": 1.5}, "oracle.noise is 1.5; it must be a number from 0 to 1 or a list"),
    "a class's share": ({"noise": [0.1, -1]}, r"oracle.noise\[1\] is -1; it must be a number from 0 to 1"),
    "text": ({"noise": "a lot"}, "oracle.noise is 'a lot'"),
    "decline": ({"decline": -0.1}, "oracle.decline is -0.1; it must be a number from 0 to 1"),
    "price": ({"price": -1}, "oracle.price is -1; it must be a number of at least 0"),
    "spread": ({"spread": math.inf}, "oracle.spread is inf"),
}


@pytest.mark.parametrize("options, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(options, message):
    with pytest.raises(AlmetaError, match=message):
        Oracle(**options)


def test_noise_for_too_few_classes():
    with pytest.raises(AlmetaError, match="oracle.noise has 2 shares, but a task has 5 classes; give 5"):
        answer(Oracle(noise=[0.1, 0.2]))


PRESETS = {
    "perfect": Oracle(),
    "noisy": Oracle(noise=0.1),
    "priced": Oracle(price=0.005, spread=0.5),
    "declining": Oracle(decline=0.2),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    with initialize_config_module("almeta.conf", version_base="1.3"):
        options = dict(compose(f"oracle/{name}").oracle)
    assert options.pop("_target_") == "almeta.oracles.Oracle"
    assert Oracle(**options) == PRESETS[name]


# ---- numbers


def numbers(oracle, seed=0, pools=2, rows=4000):
    """Numbers 0 of rows on a line from 0 to 1, and the answers of an oracle; the last ten pad."""
    x = torch.linspace(0, 1, rows).expand(pools, rows)[..., None]
    exists = torch.arange(rows).expand(pools, rows) < rows - 10
    y, classes = torch.zeros(pools, rows), torch.zeros(pools, dtype=torch.int64)
    return exists, oracle.answer(y, exists, classes, make_generator(seed, "test"), x)


def test_numbers_are_answered_as_they_are():
    exists, answers = numbers(Oracle())
    assert answers.labels.dtype == torch.float32
    assert (answers.labels[exists] == 0).all() and answers.labels[~exists].isnan().all()


def test_numbers_have_a_deviation():
    exists, answers = numbers(Oracle(deviation=2.0))
    assert answers.labels[exists].std().item() == pytest.approx(2, rel=0.05)
    assert answers.labels[exists].mean().item() == pytest.approx(0, abs=0.1)


def test_a_region_of_rows_near_one_row_has_it_alone():
    exists, answers = numbers(Oracle(deviation=2.0, region=0.25))
    for pool in range(2):
        noisy = (answers.labels[pool] != 0) & exists[pool]
        places = noisy.nonzero().flatten()
        assert noisy.sum() == round(0.25 * 3990)
        assert places.max() - places.min() == len(places) - 1  # side by side
    assert not torch.equal(answers.labels[0] != 0, answers.labels[1] != 0)


def test_an_oracle_of_numbers_may_decline_and_cost_as_any_other():
    exists, answers = numbers(Oracle(decline=0.3, price=0.5, spread=0.2))
    assert answers.labels[exists].isnan().float().mean().item() == near(0.3, int(exists.sum()))
    assert answers.prices[exists].mean().item() == pytest.approx(0.5, rel=0.05)
    _, free = numbers(Oracle(decline=0.3, deviation=1.0))
    assert torch.equal(free.labels.isnan(), answers.labels.isnan())  # of other mistakes, the same rows


@pytest.mark.parametrize(
    "oracle, answered, message",
    [
        (
            Oracle(noise=0.2),
            numbers,
            "oracle.noise=0.2 is a share of wrong classes, and targets are numbers; set oracle",
        ),
        (
            Oracle(deviation=0.2),
            answer,
            "oracle.deviation=0.2 is noise of numbers, and targets are classes; set oracle.n",
        ),
    ],
)
def test_mistakes_that_targets_cannot_have_are_told(oracle, answered, message):
    with pytest.raises(AlmetaError, match=message):
        answered(oracle)
