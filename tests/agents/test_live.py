import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from almeta.agents import QLearning
from almeta.agents.live import LiveStream, prepared
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.seeding import seeded_weights
from tests.agents.pools import make_pool_agent
from tests.agents.streams import PIXELS, SLOTS, glyphs, make_agent, small_network

REQUEST = SLOTS


class Scripted:
    """Does what a list says, and keeps what it was shown."""

    def __init__(self, agent, actions):
        self.inputs, self.reveal, self.network = agent.inputs, agent.reveal, agent.network
        self.actions, self.shown = list(actions), []

    def predict(self, observation, memory=None, episode_start=None):
        self.shown.append((observation[:SLOTS].tolist(), observation[SLOTS:], episode_start))
        return np.int64(self.actions.pop(0)), len(self.shown)


@pytest.fixture
def image():
    return np.random.default_rng(0).random((4, 4)).astype(np.float32)


def play(actions, labels=None):
    agent = Scripted(make_agent("QLearning"), actions)
    return agent, LiveStream(agent, labels)


def test_labels_have_slots_and_arrive_with_the_next_image(image):
    agent, stream = play([REQUEST, 0, REQUEST, 1, 0])
    assert stream.observe(image) is None
    stream.tell("cat")
    assert stream.observe(image) == "cat"
    assert stream.observe(image) is None
    stream.tell("dog")
    assert stream.observe(image) == "dog"
    assert stream.observe(image) == "cat"
    assert stream.requests == 2
    labels = [label for label, _, _ in agent.shown]
    assert labels == [[0] * 4, [1, 0, 0, 0], [0] * 4, [0, 1, 0, 0], [0] * 4]
    assert [start for _, _, start in agent.shown] == [True, False, False, False, False]
    np.testing.assert_allclose(agent.shown[0][1], image.flatten())


def test_a_slot_that_nobody_has_named_is_asked_for(image):
    agent, stream = play([2, 2])
    assert stream.observe(image) is None  # it says slot 2, which has no name
    stream.tell("cat")
    assert stream.observe(image) == "cat"
    assert agent.shown[1][0] == [0, 0, 1, 0]


def test_who_names_all_labels_lets_it_conclude(image):
    _, stream = play([2, REQUEST], ["cat", "dog", "cow"])
    assert stream.observe(image) == "cow"
    assert stream.observe(image) is None
    stream.tell("cat")


def test_a_label_may_be_told_unasked_and_left_unsaid(image):
    agent, stream = play([REQUEST, 0, 0, 1], [7, 8])
    stream.observe(image)
    assert stream.observe(image) == 7  # nothing was told
    stream.tell(8)  # which corrects it
    stream.observe(image)
    assert [label for label, _, _ in agent.shown] == [[0] * 4, [0] * 4, [0, 1, 0, 0]]


def test_a_label_that_is_corrected_was_no_class(image):
    agent, stream = play([REQUEST, 0, REQUEST, 1])
    stream.observe(image)
    stream.tell("cta")
    stream.tell("cat")
    assert stream.observe(image) == "cat"
    stream.tell("cat")  # known before: a second correction takes nothing away
    stream.observe(image)
    stream.tell("dog")
    assert stream.observe(image) == "dog"
    assert [label for label, _, _ in agent.shown] == [[0] * 4, [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("three", [3, np.int64(3), np.array(3), torch.tensor(3), 3.0])
def test_equal_numbers_are_one_label(image, three):
    _, stream = play([REQUEST, 0, 0])
    stream.observe(image)
    stream.tell(three)
    assert stream.observe(image) == 3
    stream.tell(three)
    assert stream.observe(image) == 3


@pytest.mark.parametrize("wrong", [None, [1], np.array([1, 2]), torch.tensor([1]), {}, float("nan")])
def test_what_is_no_label_is_refused(image, wrong):
    _, stream = play([REQUEST])
    stream.observe(image)
    with pytest.raises(AlmetaError, match="the label is .* it must be a text, a number or another key of a dict"):
        stream.tell(wrong)
    with pytest.raises(AlmetaError, match="the label is "):
        play([], ["cat", wrong])


def test_a_trained_agent_plays(image):
    agent = make_agent("QLearning")
    agent.begin_stream(range(SLOTS))
    data, said = glyphs(), []
    for x, y in zip(data.x[::4], data.y[::4], strict=True):
        said.append(agent.observe(x.reshape(4, 4)))
        agent.tell(int(y) % SLOTS)
    stream = agent.begin_stream(range(SLOTS))
    assert stream.requests == 0
    for x, y, before in zip(data.x[::4], data.y[::4], said, strict=True):
        assert agent.observe(x.reshape(4, 4)) == before  # the stream before is forgotten
        agent.tell(int(y) % SLOTS)
    with pytest.raises(AlmetaError, match="acts on problems of kind pool"):
        make_pool_agent("QLearning").observe(image)


def test_a_network_that_treats_all_slots_alike_tells_more_classes_apart():
    agent = make_agent("QLearning", small_network("EpisodicNetwork", capacity=3))
    data = glyphs(num_classes=6)
    for options, slots in (({"labels": range(6)}, 6), ({"num_classes": 6}, 6), ({"labels": ["a"]}, SLOTS)):
        assert agent.begin_stream(**options)._looking.num_slots == slots
    agent.begin_stream(num_classes=6, capacity=9)
    for x, y in zip(data.x[::4], data.y[::4], strict=True):
        agent.observe(x.reshape(4, 4))
        agent.tell(int(y))
    assert len(agent._own_stream._slots) == 6
    assert agent._own_stream._looking._agent.network.capacity == 9 and agent.network.capacity == 3


def test_sizes_of_own_streams_that_cannot_be():
    agent = make_agent("QLearning")
    with pytest.raises(AlmetaError, match="the policy distinguishes 4 classes; choose 4 or fewer, or a policy whose"):
        agent.begin_stream(num_classes=5)
    with pytest.raises(AlmetaError, match="LSTMNetwork has no capacity that could be chosen"):
        agent.begin_stream(capacity=5)
    agent = make_agent("QLearning", small_network("EpisodicNetwork"))
    with pytest.raises(AlmetaError, match="num_classes is 2, and there are 3 labels; leave num_classes out"):
        agent.begin_stream([1, 2, 3], num_classes=2)
    for wrong in ({"num_classes": 0}, {"num_classes": "many"}, {"capacity": 0}):
        with pytest.raises(AlmetaError, match=f"{next(iter(wrong))} is .*; it must be a whole number of at least 1"):
            agent.begin_stream(**wrong)


def test_too_many_labels_name_the_way_to_more_classes(image):
    agent = make_agent("QLearning", small_network("EpisodicNetwork"))
    agent.observe(image)
    for label in "abcd":
        agent.tell(label)
        agent.observe(image)
    with pytest.raises(AlmetaError, match=r"'e' is one label too many: .*; begin_stream\(num_classes=8\) takes more"):
        agent.tell("e")


@pytest.mark.parametrize("labels", [np.array(["a", "b"]), pd.Series(["a", "b"]), ("a", "b"), {"a": 0, "b": 1}])
def test_labels_may_be_an_array_or_a_series(image, labels):
    _, stream = play([1], labels)
    assert stream.observe(image) == "b"


def test_dark_ink_is_turned_over(image):
    agent = Scripted(make_agent("QLearning"), [REQUEST])
    LiveStream(agent, dark_ink=True).observe(1 - image)
    np.testing.assert_allclose(agent.shown[0][1], image.flatten(), atol=1e-6)


@pytest.mark.parametrize("wrong", ["no", 1, None])
def test_dark_ink_is_true_or_false(wrong):
    with pytest.raises(AlmetaError, match=f"dark_ink is {wrong!r}; it must be true or false"):
        make_agent("QLearning").begin_stream(dark_ink=wrong)


@pytest.mark.parametrize("dark_ink", [False, True])
@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_a_ground_that_does_not_fit_the_ink_is_told_once(ground, dark_ink):
    stream = LiveStream(Scripted(make_agent("QLearning"), [REQUEST] * 2), dark_ink=dark_ink)
    image = np.full((4, 4), ground)
    image[1:3, 1:3] = 1 - ground
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        stream.observe(image)
        stream.observe(image)
    said = (
        ["this looks like dark ink on a bright ground: begin_stream(dark_ink=True)"]
        if ground
        else ["this looks like bright ink on a dark ground: leave dark_ink=True out"]
    )
    assert [str(one.message) for one in told] == ([] if bool(ground) == dark_ink else said)


def test_whole_numbers_of_few_levels_are_told():
    with pytest.warns(UserWarning, match="whole numbers up to 15 are read as levels of 255; divide by 15"):
        found = prepared(np.full((4, 4), 15), 4)
    np.testing.assert_allclose(found, 15 / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(np.full((4, 4), 17), 4)
        prepared(np.full((4, 4), 15 / 16), 4)


@pytest.mark.parametrize("shape", [(8, 8), (4, 4), (12, 9), (4, 4, 1), (4, 4, 3), (4, 4, 4)])
def test_images_of_other_sizes_and_kinds(shape):
    bright = np.zeros(shape, np.uint8)
    bright[: shape[0] // 2] = 255
    found = prepared(bright, 4)
    assert found.shape == (PIXELS,) and found.dtype == np.float32
    assert found.reshape(4, 4)[0].min() > 0.9 and found.reshape(4, 4)[-1].max() < 0.1
    np.testing.assert_allclose(prepared(bright / 255, 4), found, atol=1e-6)
    np.testing.assert_allclose(prepared(bright // 255, 4), found, atol=1e-6)  # ink and ground
    np.testing.assert_allclose(prepared(bright > 0, 4), found, atol=1e-6)
    np.testing.assert_allclose(prepared(torch.tensor(bright / 255, requires_grad=True), 4), found, atol=1e-6)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (np.zeros(16), r"the image is float64 of shape \[16\]; it must be numbers \[H, W\], or \[H, W, 3\]"),
        (np.zeros((4, 4, 2)), r"shape \[4, 4, 2\]"),
        (
            np.full((4, 4), 3.5),
            r"from 3\.5 to 3\.5; whole numbers lie in 0 \.\. 255, floats in \[0, 1\]: divide by 255$",
        ),
        (np.full((4, 4), -1.0), r"values from -1 to -1; whole numbers lie in 0 \.\. 255, floats in \[0, 1\]$"),
        (np.full((4, 4), np.nan), "the image holds NaN or infinite numbers"),
        (np.full((4, 4), np.inf), "the image holds NaN or infinite numbers"),
        (np.full((4, 4), 300, np.uint16), r"values from 300 to 300; .*: divide by 65535$"),
        (np.zeros((1, 5, 5)), r"shape \[1, 5, 5\]; .*: use image\[0\]$"),
        ("cat", "it must be"),
        ([[1, 2], [3]], "the image is no array"),
        ([["a", "b"], ["c", "d"]], "it must be"),
        (np.zeros((4, 4), complex), "the image is complex128"),
    ],
)
def test_what_is_no_image_is_refused(wrong, message):
    _, stream = play([REQUEST])
    with pytest.raises(AlmetaError, match=message):
        stream.observe(wrong)


def test_misuse_is_refused(image):
    _, stream = play([REQUEST])
    with pytest.raises(AlmetaError, match=r"no image whose label could be told; call observe\(\) first"):
        stream.tell("cat")
    with pytest.raises(
        AlmetaError, match="'e' is one label too many: .* 4 classes, and knows 'a'.*; choose a policy whose network"
    ):
        play([], list("abcde"))
    for labels in ("abc", 3):
        with pytest.raises(AlmetaError, match="labels are .*; they must be a list of all classes"):
            play([], labels)
    with pytest.raises(AlmetaError, match="Supervised was told every label and never learned to ask"):
        LiveStream(make_agent("Supervised"))
    agent, _ = play([])
    agent.inputs = Images(15, SLOTS)
    with pytest.raises(AlmetaError, match="the policy reads 15 pixels, which make no square image"):
        LiveStream(agent)
    with pytest.raises(AlmetaError, match="acts on problems of kind pool"):
        LiveStream(make_pool_agent("QLearning"))


def test_an_agent_is_told_the_price_of_a_mistake(image):
    with seeded_weights(0):
        agent: Any = QLearning(small_network(), Images(PIXELS, SLOTS, price=True))
    scripted = Scripted(agent, [REQUEST])
    LiveStream(scripted, incorrect=-9).observe(image)
    told = scripted.shown[0][1][PIXELS:]
    np.testing.assert_allclose(told, [np.log(10) / np.log(101)], rtol=1e-6)
    with pytest.raises(AlmetaError, match="incorrect is -200"):
        agent.begin_stream(incorrect=-200)
    with pytest.raises(AlmetaError, match="incorrect=-5 cannot be told to this agent, which learned for one price"):
        make_agent("QLearning").begin_stream(incorrect=-5)


def test_after_a_refused_label_the_next_one_is_told(image):
    _, stream = play([REQUEST, 0], list("abcd"))
    stream.observe(image)
    with pytest.raises(AlmetaError, match="'e' is one label too many"):
        stream.tell("e")
    stream.tell("a")
    assert stream.observe(image) == "a"
