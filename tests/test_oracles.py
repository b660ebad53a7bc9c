import math
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
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


def features(shape: tuple[int, ...]) -> Tensor:
    """Rows around two centres, three in four around the first one, which is denser: `[E, N, 2]`."""
    x = torch.randn(*shape, 2, generator=make_generator(0, "features"))
    far = torch.arange(shape[1]) % 4 == 3
    return torch.where(far[:, None], 2 * x + 20, 0.5 * x)


def answer(oracle, classes=(2, 3, 5), seed=0):
    y, exists, num_classes = tasks(classes)
    x = torch.zeros(*y.shape, 1)  # no region is looked for
    return oracle.answer(x, y, exists, num_classes, make_generator(seed, "test"))


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
    x = torch.zeros(*given[0].shape, 1)
    Oracle(noise=0.5, decline=0.5, price=1, spread=1).answer(x, *given, make_generator(0, "test"))
    assert all(torch.equal(one, other) for one, other in zip(given, tasks(), strict=True))


# ---- regions


def ball(x, exists, centre, share):
    """The rows nearest to a centre, those that come first where distances are equal: a transcription."""
    rows = [i for i in range(len(x)) if exists[i]]
    ordered = sorted(rows, key=lambda i: (math.dist(x[i], x[centre]), i))
    return set(ordered[: round(share * len(rows))])


def densest(x, exists):
    """The row whose ten nearest others are nearest on average."""
    rows = [i for i in range(len(x)) if exists[i]]

    def gap(i):
        return sum(sorted(math.dist(x[i], x[j]) for j in rows if j != i)[:10])

    return min(rows, key=gap)


def two_pools(rows=40):
    """Two pools with a dense and a sparse cloud, the last five rows of the second padding."""
    x, y = features((2, rows)), torch.arange(rows).expand(2, -1) % 2
    exists = torch.ones(2, rows, dtype=torch.bool)
    exists[1, -5:] = False
    return x * exists[..., None], y, exists, torch.tensor([2, 2])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_dense_region_is_a_ball_around_the_densest_row(share):
    x, y, exists, classes = two_pools()
    answers = Oracle(region="dense", region_share=share).answer(x, y, exists, classes, make_generator(0, "test"))
    for pool in range(2):
        centre = densest(x[pool].tolist(), exists[pool])
        assert centre % 4 != 3  # in the dense cloud
        expected = ball(x[pool].tolist(), exists[pool], centre, share)
        assert set(answers.region[pool].nonzero()[:, 0].tolist()) == expected


def test_a_region_at_random_is_a_ball_around_some_row(looks_uniform):
    x, y, exists, classes = (part[1:] for part in two_pools())
    oracle, generator = Oracle(region="random", region_share=0.2), make_generator(0, "test")
    balls = [frozenset(ball(x[0].tolist(), exists[0], row, 0.2)) for row in range(35)]
    found = [
        frozenset(oracle.answer(x, y, exists, classes, generator).region[0].nonzero()[:, 0].tolist())
        for _ in range(200)
    ]
    assert set(found) <= set(balls)
    assert len(set(found)) > 10


def test_answers_are_wrong_more_often_in_the_region():
    x = features((1, 4000))
    y, exists, classes = torch.zeros(1, 4000).long(), torch.ones(1, 4000, dtype=torch.bool), torch.tensor([2])
    oracle = Oracle(noise=0.1, region="dense", region_share=0.5, region_noise=0.6)
    answers = oracle.answer(x, y, exists, classes, make_generator(0, "test"))
    wrong = answers.labels != y
    assert wrong[answers.region].float().mean().item() == near(0.6, 2000)
    assert wrong[~answers.region].float().mean().item() == near(0.1, 2000)
    # The mistakes elsewhere are those of an oracle without a region.
    plain = Oracle(noise=0.1).answer(x, y, exists, classes, make_generator(0, "test")).labels
    assert torch.equal(answers.labels[~answers.region], plain[~answers.region])


def test_a_region_of_which_nothing_is_said_has_errors_of_its_own():
    y = torch.zeros(4, 2000, dtype=torch.int64)
    x, exists = torch.rand(4, 2000, 2, generator=make_generator(0, "test")), torch.ones(4, 2000, dtype=torch.bool)
    answers = Oracle(region="random").answer(x, y, exists, torch.full((4,), 3), make_generator(0, "test"))
    assert (answers.labels[answers.region] != 0).float().mean().item() == near(0.4, 2000)
    assert (answers.labels[~answers.region] == 0).all()


# ---- fatigue


def test_who_is_to_tire_and_never_does_is_told():
    """Without queries of several answers, a pause that makes all of it good leaves nothing."""
    assert Oracle(fatigue=0.4).tired(0.0, 1) == (torch.zeros(1), 0.0)
    with pytest.raises(AlmetaError, match="oracle.fatigue=0.4 has no effect: .* set oracle.recovery below 1, or env.q"):
        Oracle(fatigue=0.4).check_effect(1)
    Oracle(fatigue=0.4).check_effect(2)
    Oracle(fatigue=0.4, recovery=0.5).check_effect(1)
    Oracle().check_effect(1)


def test_errors_grow_with_the_number_of_answers_and_pauses_help():
    oracle = Oracle(fatigue=0.1, recovery=0.75)
    first, left = oracle.tired(0.0, 4)
    torch.testing.assert_close(first, torch.tensor([0.0, 0.1, 0.2, 0.3]))
    assert left == pytest.approx(0.1)  # a quarter of 0.4
    second, left = oracle.tired(left, 4)
    torch.testing.assert_close(second, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert left == pytest.approx(0.125)
    assert Oracle(fatigue=0.1).tired(0.0, 4)[1] == 0.0  # a pause makes all of it good


def test_the_error_rate_at_the_time_of_the_answer_decides():
    """One random number a row: wrong where it is below the rate, and never beyond guessing."""
    y, _, _ = tasks((2,))
    answers = answer(Oracle(noise=0.1, fatigue=0.05), classes=(2,))
    rows = torch.arange(N)[None]
    before = torch.zeros(1, N, dtype=torch.bool)
    for rise, rate in ((0.0, 0.1), (0.15, 0.25), (0.4, 0.5), (3.0, 0.5)):
        wrong = answers.told(rows, torch.full((N,), rise)) != y
        assert wrong.float().mean().item() == near(rate, N)
        assert (wrong | ~before).all()  # who was wrong when fresh is wrong when tired
        before = wrong
    assert torch.equal(answers.told(rows), answers.labels)
    assert answers.told(torch.tensor([[-1, 3]]))[0].tolist() == [-1, int(answers.labels[0, 3])]
    worse = answer(Oracle(noise=0.8), classes=(2,))  # noise beyond guessing is as it is
    assert torch.equal(worse.told(rows, 1.0), worse.labels)


def test_a_tired_oracle_declines_what_it_declines():
    answers = answer(Oracle(decline=0.3), classes=(3,))
    tired = answers.told(torch.arange(N)[None], 0.5)
    assert torch.equal(tired < 0, answers.labels < 0)


# ---- several annotators


def test_annotators_answer_by_themselves():
    y, exists, _ = tasks()
    panel = Oracle(price=1, annotators=[{}, {"noise": 0.3, "price": 0.5}, {"noise": [0.5] * 5, "decline": 0.2}])
    assert panel.num_annotators == 3
    answers = answer(panel)
    labels = answers.labels.unflatten(1, (N, 3))
    assert torch.equal(labels[..., 0], y.where(exists, -1))
    for annotator, rate in ((1, 0.3), (2, 0.5)):
        given = labels[0, :, annotator] >= 0
        wrong = (labels[0, :, annotator] != y[0])[given]
        assert wrong.float().mean().item() == near(rate, int(given.sum()))
    assert torch.equal(answers.prices.unflatten(1, (N, 3))[0, 0], torch.tensor([1, 0.5, 1]))
    assert (labels[..., 2] < 0)[exists].float().mean().item() == near(0.2, int(exists.sum()))
    # The first one answers as if alone, and so does each whoever else is asked.
    again = answer(Oracle(noise=0.3, annotators=[{}, {}])).labels.unflatten(1, (N, 2))
    assert torch.equal(again[..., 0], answer(Oracle(noise=0.3)).labels)
    assert torch.equal(again[..., 1], labels[..., 1])
    both = ((again[..., 0] != y) & (again[..., 1] != y))[exists]
    assert both.float().mean().item() == near(0.09, int(exists.sum()))


def test_annotators_share_the_region():
    x, y, exists, classes = two_pools()
    panel = Oracle(region="random", region_noise=1, annotators=[{}, {"region_noise": 0}])
    answers = panel.answer(x, y, exists, classes, make_generator(0, "test"))
    region = answers.region.unflatten(1, (40, 2))
    assert torch.equal(region[..., 0], region[..., 1])
    wrong = (answers.labels.unflatten(1, (40, 2)) != y[..., None]) & exists[..., None]
    assert torch.equal(wrong[..., 0], region[..., 0])
    assert not wrong[..., 1].any()


MISTAKES = {
    "region": ({"region": "thick"}, "oracle.region is 'thick'; it must be 'dense' or 'random' or null"),
    "region_share": ({"region_share": 2}, "oracle.region_share is 2; it must be a number from 0 to 1"),
    "region_noise": ({"region_noise": -1}, "oracle.region_noise is -1"),
    "no region": (
        {"region_noise": 0.9},
        "oracle.region_noise=0.9 is about a region, and there is none; set oracle.regi",
    ),
    "no region's share": ({"region_share": 0.5}, "oracle.region_share=0.5 is about a region, and there is none"),
    "nobody's region": ({"annotators": [{}, {"region_deviation": 2}]}, "oracle.region_deviation=2 is about a region"),
    "fatigue": ({"fatigue": -0.1}, "oracle.fatigue is -0.1; it must be a number of at least 0"),
    "recovery": ({"recovery": 1.1}, "oracle.recovery is 1.1; it must be a number from 0 to 1"),
    "annotators": ({"annotators": [{}, 3]}, r"oracle.annotators\[1\] is 3; it must be a group of keys"),
    "key": ({"annotators": [{"nois": 0}]}, r"unknown key of oracle.annotators\[0\] 'nois'; did you mean 'noise'"),
    "together": ({"annotators": [{"fatigue": 0.1}]}, r"unknown key of oracle.annotators\[0\] 'fatigue'"),
    "value": ({"annotators": [{}, {"noise": 2}]}, r"oracle.annotators\[1\].noise is 2"),
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
    "region": Oracle(region="dense"),
    "tired": Oracle(fatigue=0.02, recovery=0.8),
    "panel": Oracle(annotators=[{"noise": 0.05, "price": 4}, {"noise": 0.2, "price": 2}, {"noise": 0.35, "price": 1}]),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    with initialize_config_module("almeta.conf", version_base="1.3"):
        options = OmegaConf.to_container(compose(f"oracle/{name}").oracle)
    assert isinstance(options, dict)
    assert options.pop("_target_") == "almeta.oracles.Oracle"
    given = {str(key): value for key, value in options.items()}
    assert Oracle(**given) == replace(PRESETS[name], annotators=list(PRESETS[name].annotators))


# ---- numbers


def numbers(oracle, seed=0, pools=2, rows=4000):
    """Numbers 0 of rows on a line from 0 to 1, and the answers of an oracle; the last ten pad."""
    x = torch.linspace(0, 1, rows).expand(pools, rows)[..., None]
    exists = torch.arange(rows).expand(pools, rows) < rows - 10
    y, classes = torch.zeros(pools, rows), torch.zeros(pools, dtype=torch.int64)
    return exists, oracle.answer(x, y, exists, classes, make_generator(seed, "test"))


def test_numbers_are_answered_as_they_are():
    exists, answers = numbers(Oracle())
    assert answers.labels.dtype == torch.float32
    assert (answers.labels[exists] == 0).all() and answers.labels[~exists].isnan().all()


def test_numbers_have_a_deviation():
    exists, answers = numbers(Oracle(deviation=2.0))
    assert answers.labels[exists].std().item() == pytest.approx(2, rel=0.05)
    assert answers.labels[exists].mean().item() == pytest.approx(0, abs=0.1)


def test_a_region_of_rows_near_one_row_has_it_alone():
    exists, answers = numbers(Oracle(region="random", region_share=0.25, region_deviation=2.0))
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
            "oracle.noise=0.2 is about shares of wrong classes, and targets are numbers; set oracle",
        ),
        (
            Oracle(deviation=0.2),
            answer,
            "oracle.deviation=0.2 is noise of numbers, and targets are classes; set oracle.n",
        ),
        (
            Oracle(region="random", region_noise=0.9),
            numbers,
            "oracle.region_noise=0.9 is about shares of wrong classes, and targets are numbers; set oracle.region_dev",
        ),
        (
            Oracle(fatigue=0.1, recovery=0.5),
            numbers,
            "oracle.fatigue=0.1 is about shares of wrong classes, and targets are numbers; set oracle.deviation",
        ),
        (
            Oracle(region="random", annotators=[{}, {"region_deviation": 9}]),
            answer,
            "oracle.region_deviation=9 is noise of numbers, and targets are classes; set oracle.region_noise",
        ),
    ],
)
def test_mistakes_that_targets_cannot_have_are_told(oracle, answered, message):
    with pytest.raises(AlmetaError, match=message):
        answered(oracle)
