import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch

from almeta.data import Dataset
from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.tasks import StreamSampler, class_margins, options_for_streams, split_classes


def draw(sampler, num_envs=2000, seed=0):
    return sampler.draw(num_envs, make_generator(seed, "test"))


def unpack(dataset, sampler, tasks):
    """What the items `[T, E]` are: rotation, row and class of each."""
    rotation, row = np.divmod(tasks.items.numpy(), len(dataset))
    return rotation, row, dataset.y[row]


def repeats(values):
    """Whether any column of `[T, E]` holds a value twice."""
    ordered = np.sort(values, axis=0)
    return (ordered[1:] == ordered[:-1]).any()


# --- splitting by class ---


@pytest.mark.parametrize("num_train, expected", [(4, 4), (0.75, 4), (0.5, 3), (1, 1), (5, 5)])
def test_a_split_holds_every_class_once(tiny_images, num_train, expected):
    train, test = split_classes(tiny_images, num_train, seed=0)
    assert (train.num_classes, test.num_classes) == (expected, 6 - expected)
    assert sorted(train.class_names + test.class_names) == sorted(tiny_images.class_names)


def test_a_split_keeps_images_with_their_class(make_images):
    whole = make_images([3, 4, 5, 6])
    for part in split_classes(whole, 2, seed=3):
        assert list(part.class_names) == sorted(part.class_names)  # in the order they had
        for k, name in enumerate(part.class_names):
            expected = whole.x[whole.y == whole.class_names.index(name)]
            np.testing.assert_array_equal(part.x[part.y == k], expected)
        assert part.image_shape == whole.image_shape


def test_the_seed_names_the_split(tiny_images):
    def names(seed):
        return split_classes(tiny_images, 3, seed)[0].class_names

    assert names(1) == names(1)
    assert len({names(seed) for seed in range(20)}) > 5


@pytest.mark.parametrize("num_train", [0, 6, 7, -1, 0.0, 1.0, 0.05])
def test_a_split_leaves_no_part_empty(tiny_images, num_train):
    with pytest.raises(AlmetaError, match=rf"train_classes={num_train} of data set 'tiny'.*choose 1 to 5"):
        split_classes(tiny_images, num_train, seed=0)


# --- sentences ---


@pytest.fixture
def sentences():
    """Counts of 6 terms in 12 sentences of 4 classes; a sentence has few terms."""
    counts = np.random.default_rng(3).poisson(0.7, (12, 6)).astype(np.float32)
    counts[:, 0] += 1
    names = tuple(f"kind {k}" for k in range(4))
    return Dataset("kinds", counts, np.arange(12) % 4, names, "made up", columns=tuple("abcdef"), kind="text")


def test_sentences_become_vectors_by_the_terms_of_the_training_classes(sentences, monkeypatch):
    monkeypatch.setattr("almeta.tasks.stream._SHOWN_TERMS", 3)
    train, test = split_classes(sentences, 2, seed=0)

    def counts(part):
        return sentences.x[np.isin(sentences.y, [sentences.class_names.index(name) for name in part.class_names])]

    own = counts(train)
    terms = sorted(sorted(range(6), key=lambda term: (-own[:, term].sum(), term))[:3])
    weights = [np.log((1 + len(own)) / (1 + (own[:, term] > 0).sum())) + 1 for term in terms]
    for part in (train, test):
        expected = counts(part)[:, terms] * weights
        expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-30)
        np.testing.assert_allclose(part.x, expected, rtol=1e-5)
        assert (part.kind, part.num_classes, part.columns) == ("table", 2, ())


def test_sentences_of_the_other_classes_change_nothing(sentences):
    train, test = split_classes(sentences, 2, seed=0)
    x = sentences.x.copy()
    x[np.isin(sentences.y, [sentences.class_names.index(name) for name in test.class_names]), 5] = 40
    changed, _ = split_classes(dataclasses.replace(sentences, x=x), 2, seed=0)
    np.testing.assert_array_equal(changed.x, train.x)


@pytest.mark.parametrize("kind", ["text", "tokens"])
def test_sentences_are_shown_as_vectors_alone(sentences, kind):
    with pytest.raises(AlmetaError, match=r"data set 'kinds' has sentences.*show the classes of one part"):
        StreamSampler(dataclasses.replace(sentences, kind=kind), length=3, rotations=False)


def test_sentences_are_loaded_with_all_their_terms():
    assert options_for_streams("trec") == {"terms": 10_000}
    assert options_for_streams("omniglot") == options_for_streams("csv:a.csv") == {}


# --- images ---


def test_images_are_turned_by_multiples_of_90_degrees(tiny_images):
    images = StreamSampler(tiny_images).images.numpy()
    assert images.shape == (4 * 60, 16)
    for turns in range(4):
        for row in (0, 17, 59):
            expected = np.rot90(tiny_images.x[row].reshape(4, 4), turns).ravel()
            np.testing.assert_array_equal(images[turns * 60 + row], expected)


def test_without_rotations_images_are_taken_as_they_are(make_images):
    tabular = make_images(image_shape=None)
    sampler = StreamSampler(tabular, rotations=False)
    np.testing.assert_array_equal(sampler.images.numpy(), tabular.x)
    assert draw(sampler).items.max() < len(tabular)


def test_samplers_of_one_data_set_share_its_images(make_images):
    dataset = make_images()
    images = StreamSampler(dataset).images
    assert StreamSampler(dataset, num_classes=2, length=20).images is images
    assert StreamSampler(make_images()).images is not images
    assert StreamSampler(dataset, rotations=False).images is not images
    alive = weakref.ref(images)
    del images, dataset
    gc.collect()
    assert alive() is None  # nothing keeps them once data set and samplers are gone


# --- streams ---


@pytest.mark.parametrize("script", [None, [[0, 5], [1, 1], [2, 3], [0, 4]]])
def test_a_stream_is_what_the_paper_says(tiny_images, script):
    sampler = StreamSampler(tiny_images, script=script)
    tasks = draw(sampler)
    steps = 13 if script else 30
    assert sampler.length == steps
    rotation, _, shown = unpack(tiny_images, sampler, tasks)
    assert shown.shape == tasks.targets.shape == tasks.instances.shape == (steps, 2000)
    assert not repeats(tasks.items.numpy())  # without replacement; a class has one rotation, so rows differ too
    for episode in range(50):
        targets, instances = tasks.targets[:, episode].numpy(), tasks.instances[:, episode].numpy()
        classes = np.unique(shown[:, episode])
        assert len(classes) == 3
        slots: list[int] = []
        for k in classes:
            mine = shown[:, episode] == k
            assert len(np.unique(rotation[mine, episode])) == 1
            slots.append(*np.unique(targets[mine]))
            assert instances[mine].tolist() == list(range(1, mine.sum() + 1))
        assert sorted(slots) == [0, 1, 2]


def test_class_counts_are_unequal_with_mean_ten(make_images):
    """30 of 60 images, 20 of them of the class: hypergeometric, variance 30 * 1/3 * 2/3 * 30/59."""
    tasks = draw(StreamSampler(make_images([20] * 4)), 10_000)
    counts = np.stack([(tasks.targets == slot).sum(0).numpy() for slot in range(3)])
    np.testing.assert_allclose(counts.mean(1), 10, atol=0.08)
    np.testing.assert_allclose(counts.var(1), 30 * (1 / 3) * (2 / 3) * (30 / 59), rtol=0.06)


@pytest.mark.parametrize("script", [None, [[0, 5], [1, 1], [2, 3]]])
@pytest.mark.parametrize("step", [0, -1])
def test_everything_is_drawn_uniformly(tiny_images, looks_uniform, script, step):
    sampler = StreamSampler(tiny_images, script=script)
    tasks = draw(sampler, 10_000)
    rotation, row, shown = unpack(tiny_images, sampler, tasks)
    slot = tasks.targets[step].numpy()
    assert looks_uniform((shown[step] * 3 + slot) * 4 + rotation[step], 6 * 3 * 4)
    assert looks_uniform(row[step], 60)


@pytest.mark.parametrize("stickiness", [(0.6, 0.6), (0.2, 1.0)])
def test_sticky_streams_show_classes_in_runs(make_images, looks_uniform, stickiness):
    """At the second step 19 of 59 images are of the same class; the class stays anyway by 0.6, in the mean."""
    dataset = make_images([20] * 3)
    sampler = StreamSampler(dataset, stickiness=stickiness)
    tasks = draw(sampler, 10_000)
    _, row, shown = unpack(dataset, sampler, tasks)
    assert (shown[1] == shown[0]).mean() == pytest.approx(0.6 + 0.4 * 19 / 59, abs=0.015)
    assert looks_uniform(shown[1], 3)
    assert all(len(np.unique(column)) == 30 for column in row.T[:200])  # no image twice
    assert all(np.bincount(column).max() <= 20 for column in shown.T)
    # With one chance for all, eight steps stay or not with a variance of about 0.7 x 0.3 / 8 of their share.
    variance = (shown[1:9] == shown[:8]).mean(0).var()
    assert variance > 0.04 if stickiness[0] < stickiness[1] else variance == pytest.approx(0.026, abs=0.004)


def test_a_share_of_the_streams_is_sticky(make_images):
    sampler = StreamSampler(make_images([20] * 3), stickiness=(1.0, 1.0), sticky_share=0.3)
    tasks = draw(sampler, 4_000)
    whole = (tasks.targets[:20] == tasks.targets[0]).all(0)
    assert whole.float().mean() == pytest.approx(0.3, abs=0.03)
    others = (tasks.targets[1:] == tasks.targets[:-1])[:, ~whole].float().mean()
    assert others == pytest.approx(19 / 59, abs=0.02)  # the random order


def test_who_always_stays_shows_a_class_whole(make_images):
    sampler = StreamSampler(make_images([20, 20, 20]), stickiness=(1.0, 1.0))
    tasks = draw(sampler, 50)
    assert (tasks.targets[:20] == tasks.targets[0]).all()
    assert (tasks.targets[20:] == tasks.targets[20]).all() and (tasks.targets[20] != tasks.targets[0]).all()


def test_classes_slots_and_rotations_of_an_episode_are_independent(tiny_images, looks_uniform):
    sampler = StreamSampler(tiny_images, script=[[0, 1], [1, 1], [2, 1]])
    tasks = draw(sampler, 10_000)
    rotation, _, shown = unpack(tiny_images, sampler, tasks)
    second_among_others = shown[1] - (shown[1] > shown[0])
    assert looks_uniform(shown[0] * 5 + second_among_others, 30)
    assert looks_uniform(rotation[0] * 16 + rotation[1] * 4 + rotation[2], 64)
    orders = {order: n for n, order in enumerate([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])}
    assert looks_uniform([orders[a, b] for a, b in tasks.targets[:2].T.tolist()], 6)


def test_spare_slots_are_drawn_anew(tiny_images, looks_uniform):
    tasks = draw(StreamSampler(tiny_images, num_classes=2, num_slots=3, length=20), 5000)
    used = torch.stack([(tasks.targets == slot).any(0) for slot in range(3)])
    assert (used.sum(0) == 2).all()
    assert looks_uniform(used.int().argmin(0), 3)


@pytest.mark.parametrize("script", [None, [[0, 2], [1, 3]]])
def test_classes_of_unequal_size_show_only_their_own_images(make_images, looks_uniform, script):
    dataset = make_images([3, 9, 4, 7])
    # 7 steps: exactly what the two smallest classes hold together
    sampler = StreamSampler(dataset, num_classes=2, num_slots=2, length=7, script=script)
    tasks = draw(sampler, 5000)
    _, row, shown = unpack(dataset, sampler, tasks)
    assert not repeats(row)
    assert (np.array([len(np.unique(column)) for column in shown.T]) == 2).all() or script is None
    assert (np.array([len(np.unique(column)) for column in shown.T]) <= 2).all()
    for k, count in enumerate(dataset.class_counts):
        assert looks_uniform(np.searchsorted(np.flatnonzero(dataset.y == k), row[shown == k]), count)


def test_the_generator_names_the_streams(tiny_images):
    sampler = StreamSampler(tiny_images)
    first, again, other = draw(sampler, 5, 1), draw(sampler, 5, 1), draw(sampler, 5, 2)
    assert torch.equal(first.items, again.items) and torch.equal(first.targets, again.targets)
    assert not torch.equal(first.items, other.items)


def test_repeated_streams_are_neighbours(tiny_images):
    tasks = draw(StreamSampler(tiny_images), 2)
    repeated = tasks.repeat(3)
    assert tasks.repeat(1) is tasks
    for name, part in vars(repeated).items():
        assert part.shape == (30, 6)
        for episode in range(6):
            assert torch.equal(part[:, episode], getattr(tasks, name)[:, episode // 3])


def test_a_script_shows_its_runs(tiny_images):
    sampler = StreamSampler(tiny_images, num_slots=5, length=99, script=[[2, 2], [0, 1], [2, 1]])
    tasks = draw(sampler, 100)
    _, _, shown = unpack(tiny_images, sampler, tasks)
    assert sampler.length == 4
    assert tasks.instances.T.tolist() == [[1, 2, 1, 3]] * 100
    assert (shown[0] == shown[1]).all() and (shown[0] == shown[3]).all() and (shown[0] != shown[2]).all()


def test_a_sampler_can_follow_a_script_on_the_same_images(tiny_images):
    sampler = StreamSampler(tiny_images)
    script = [[0, 2], [1, 3]]
    scripted, fresh = sampler.scripted(script), StreamSampler(tiny_images, script=script)
    assert scripted.images is sampler.images
    assert torch.equal(draw(scripted, 50).items, draw(fresh, 50).items)
    assert sampler.script is None and sampler.length == 30 and len(draw(sampler, 5).items) == 30
    for wrong in ([[0, 11]], [[3, 1]], [], [0, 5]):
        with pytest.raises(AlmetaError, match=r"env\.script"):
            sampler.scripted(wrong)  # type: ignore[arg-type]


def test_draw_classes_gives_images_of_different_classes(make_images):
    dataset = make_images([5, 7, 6])
    sampler = StreamSampler(dataset, length=18)
    images = sampler.images[sampler.draw_classes(ways=2, shots=4, generator=make_generator(0, "test"))]
    assert images.shape == (2, 4, 16)
    items = [[(sampler.images == image).all(1).nonzero().item() for image in row] for row in images]
    rotation, row = np.divmod(np.array(items), len(dataset))
    assert (rotation == rotation[:, :1]).all()
    assert len(np.unique(row)) == 8
    shown = dataset.y[row]
    assert (shown == shown[:, :1]).all() and shown[0, 0] != shown[1, 0]
    assert sampler.draw_classes(99, sampler.fewest_images, make_generator(0, "test")).shape == (3, 5)


# --- mistakes ---


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 7, "num_slots": 7}, "env.classes=7, but .* 'tiny' has 6 classes; choose 1 to 6"),
        ({"num_classes": 0}, "env.classes=0"),
        ({"num_slots": 2}, "env.slots=2 cannot tell env.classes=3 apart"),
        ({"length": 31}, "env.length=31, but 3 classes of data set 'tiny' may hold as few as 30 images"),
        ({"length": 0}, "env.length=0"),
        ({"script": []}, "env.script is empty"),
        (
            {"script": [[3, 1]]},
            r"the run \[3, 1\]; a run is \[class, count\] with a class below env.classes=3",
        ),
        ({"script": [[-1, 1]]}, r"the run \[-1, 1\]"),
        ({"script": [[0, 0], [1, 1]]}, r"the run \[0, 0\]; .* a count of at least 1"),
        ({"script": [[0, 8], [1, 1], [0, 3]]}, "env.script shows 11 images of one class, .* has only 10"),
        ({"script": [[0, 1, 2]]}, r"env.script=\[\[0, 1, 2\]\] is not a list of runs \[class, count\]"),
        ({"script": [0, 5]}, "not a list of runs"),
        ({"script": "many"}, "not a list of runs"),
        ({"script": 5}, "not a list of runs"),
    ],
)
def test_options_that_do_not_fit(tiny_images, options, message):
    with pytest.raises(AlmetaError, match=message):
        StreamSampler(tiny_images, **options)


def test_the_length_fits_whatever_classes_are_drawn(make_images):
    dataset = make_images([3, 9, 4, 7])
    with pytest.raises(AlmetaError, match="as few as 7 images"):
        StreamSampler(dataset, num_classes=2, num_slots=2, length=8)
    with pytest.raises(AlmetaError, match=r"shows 4 images of one class, .* has only 3"):
        StreamSampler(dataset, num_classes=2, num_slots=2, script=[[0, 4]])


@pytest.mark.parametrize("shape", [None, (2, 8)])
def test_only_square_images_are_rotated(make_images, shape):
    dataset = make_images(image_shape=shape)
    with pytest.raises(AlmetaError, match=r"no square images .* set env.rotations=false"):
        StreamSampler(dataset)
    StreamSampler(dataset, rotations=False)


# --- margins ---


def test_margins_of_classes_by_a_direct_transcription():
    generator = make_generator(0, "test")
    codes = torch.rand((9, 20, 5), generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (9, 20), generator=generator)
    targets[:, :2] = torch.tensor([[3, 1]] * 4 + [[3, 2]] * 5)  # one class alone, and two
    expected = []
    for e in range(20):
        shown = targets[:, e].unique().tolist()
        means = [codes[targets[:, e] == slot, e].mean(0) for slot in shown]
        pairs = [torch.dist(one, other).item() for k, one in enumerate(means) for other in means[:k]]
        expected.append(min(pairs, default=float("inf")))
    assert expected[0] == float("inf")
    torch.testing.assert_close(class_margins(codes, targets, 4), torch.tensor(expected, dtype=torch.float64))
