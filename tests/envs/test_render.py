"""Frames of both environments: what is to be seen in them, and that they are arrays of one size."""

import dataclasses
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from matplotlib.figure import Figure

from almeta.envs import OneShotStreamEnv, OneShotStreamVectorEnv, PoolSelectionEnv, PoolSelectionVectorEnv, render
from almeta.envs.render import Answer, draw_pool, draw_stream, principal_components
from almeta.oracles import Oracle

POOL: dict[str, Any] = {"dataset": "iris", "pool_size": 20, "budget": 3}


@pytest.fixture
def figures(monkeypatch):
    """The figures behind the frames, the latest last."""
    drawn: list[Figure] = []
    frame = render._frame

    def keep(figure):
        drawn.append(figure)
        return frame(figure)

    monkeypatch.setattr(render, "_frame", keep)
    return drawn


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def points(axes):
    """Positions and colours of all dots that are drawn."""
    return [
        (tuple(place), tuple(colour))
        for collection in axes.collections
        for place, colour in zip(
            collection.get_offsets(),
            np.resize(collection.get_facecolors(), (len(collection.get_offsets()), 4)),
            strict=True,
        )
    ]


def assert_frame(frame):
    assert isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape == (320, 640, 3)
    assert frame.std() > 5  # there is something on it


# --- the environments ---


def test_frames_of_a_pool(figures):
    env = PoolSelectionEnv(**POOL, render_mode="rgb_array", oracle=Oracle(decline=0.5), score="true_probability")
    env.reset(seed=0)
    assert_frame(env.render())
    simulation, scores = env.batch.simulation, [float(env.batch.simulation.score[0])]
    for time in range(3):
        row = int(env.action_masks().nonzero()[0][-1])
        env.step(row)
        scores.append(float(simulation.score[0]))
        assert_frame(env.render())
        pool, curve = figures[-1].axes
        assert titles(figures[-1]) == [f"iris: {time + 1} of 3 labels", "true probability"]
        np.testing.assert_allclose(curve.lines[0].get_ydata(), scores)
        labels, where = simulation.state().labels[0].numpy(), principal_components(simulation.tasks.x[0].numpy())
        grey, known, mark = pool.collections
        np.testing.assert_allclose(grey.get_offsets(), where[labels < 0])
        np.testing.assert_allclose(known.get_offsets(), where[labels >= 0])
        colours = {tuple(colour) for colour in known.get_facecolors()}
        assert len(colours) == len(set(labels[labels >= 0].tolist()))
        np.testing.assert_allclose(mark.get_offsets(), where[[row]])


def test_frames_of_a_stream(figures, tiny_images):
    env = OneShotStreamEnv(tiny_images, length=3, render_mode="rgb_array")
    env.reset(seed=0)
    assert_frame(env.render())
    assert titles(figures[-1]) == ["", "step 1 of 3", "reward 0.00"]
    simulation = env.batch.simulation
    targets, images = simulation.tasks.targets[:, 0].tolist(), simulation.images[:, 0].view(3, 4, 4).numpy()
    env.step(3)
    assert_frame(env.render())
    assert titles(figures[-1]) == [f"requested\nlabel is {targets[0]}", "step 2 of 3", "reward -0.05"]
    for axes, image in zip(figures[-1].axes, images[:2], strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
    env.step(targets[1])
    env.render()
    assert titles(figures[-1]) == [f"predicted {targets[1]}: right", "step 3 of 3", "reward 0.95"]
    wrong = (targets[2] + 1) % 3
    env.step(wrong)
    assert_frame(env.render())
    assert titles(figures[-1]) == [f"predicted {wrong}: wrong", "", "reward -0.05"]
    before, now, curve = figures[-1].axes
    np.testing.assert_array_equal(before.images[0].get_array(), images[2])
    assert not now.images
    np.testing.assert_allclose(curve.lines[0].get_ydata(), [0, -0.05, 0.95, -0.05], atol=1e-6)


@pytest.mark.parametrize("kind", ["pool", "stream"])
def test_a_batch_has_one_frame_an_episode_and_no_mode_none(kind, tiny_images):
    made = {"pool": (PoolSelectionVectorEnv, POOL), "stream": (OneShotStreamVectorEnv, {"dataset": tiny_images})}
    make, options = made[kind]
    env = make(2, **options, render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) before render\(\)"):
        env.render()
    env.reset(seed=0)
    frames = env.render()
    assert len(frames) == 2
    for frame in frames:
        assert_frame(frame)
    assert (frames[0] != frames[1]).any()
    frames[0][:] = 0  # they are the caller's
    assert_frame(env.render()[0])
    plain = make(2, **options)
    plain.reset(seed=0)
    assert plain.render() is None and plain.render_mode is None


@pytest.mark.parametrize("kind", ["pool", "stream"])
def test_drawing_changes_nothing(kind, tiny_images):
    make, options = {"pool": (PoolSelectionEnv, POOL), "stream": (OneShotStreamEnv, {"dataset": tiny_images})}[kind]
    plain, drawn = make(**options), make(**options, render_mode="rgb_array")
    rng = np.random.default_rng(0)
    _, info = plain.reset(seed=0)
    drawn.reset(seed=0)
    for _ in range(3):
        drawn.render()
        action = rng.choice(np.flatnonzero(info["action_mask"]))
        (observation, reward, *_, info), other = plain.step(action), drawn.step(action)
        np.testing.assert_equal(other[0], observation)
        assert other[1] == reward


def test_frames_of_a_stream_of_vectors(figures, tiny_images):
    vectors = dataclasses.replace(tiny_images, image_shape=None)
    env = OneShotStreamEnv(vectors, rotations=False, render_mode="rgb_array")
    env.reset(seed=0)
    assert_frame(env.render())
    assert figures[-1].axes[1].images[0].get_array().shape == (1, 16)  # a strip


def test_frames_show_images_as_they_are_distorted(figures, tiny_images):
    env = OneShotStreamEnv(tiny_images, distort=1.0, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    env.render()
    np.testing.assert_array_equal(figures[-1].axes[1].images[0].get_array().ravel(), observation[-16:])


@pytest.mark.parametrize("kind", ["pool", "stream"])
def test_a_film_of_an_episode(kind, tiny_images, tmp_path):
    pytest.importorskip("moviepy", reason="Gymnasium's RecordVideo needs it")
    options = {"pool": POOL, "stream": {"dataset": tiny_images, "length": 3}}[kind]
    name = {"pool": "PoolSelection", "stream": "OneShotStream"}[kind]
    env = gym.make(f"almeta:almeta/{name}-v0", render_mode="rgb_array", **options)
    env = gym.wrappers.RecordVideo(env, str(tmp_path), episode_trigger=lambda _: True)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    env.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


@pytest.mark.parametrize("kind", ["pool", "stream"])
def test_a_list_of_frames(kind, tiny_images):
    """RenderCollection calls render() at each step, as RecordVideo does."""
    options = {"pool": POOL, "stream": {"dataset": tiny_images, "length": 3}}[kind]
    name = {"pool": "PoolSelection", "stream": "OneShotStream"}[kind]
    env = gym.make(f"almeta:almeta/{name}-v0", render_mode="rgb_array_list", **options)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    frames = env.render()
    assert isinstance(frames, list) and len(frames) == 4
    for frame in frames:
        assert_frame(frame)


def test_nothing_is_drawn_on_a_global_figure():
    program = """
import sys, almeta, gymnasium as gym
env = gym.make("almeta/PoolSelection-v0", dataset="iris", render_mode="rgb_array", budget=2)
env.reset(seed=0)
print("matplotlib" in sys.modules)
env.render()
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "False"]


# --- the drawings ---


def test_pools_of_one_column_and_of_more_columns_than_rows():
    rng = np.random.default_rng(0)
    for shape in ((5, 1), (5, 40), (2, 2)):
        labels = np.array([0, -1, 1, -1, -1])[: shape[0]]
        assert_frame(draw_pool(rng.normal(size=shape), labels, None, [0.5], 3, "pool", "accuracy"))
    assert_frame(draw_pool(np.zeros((3, 2)), np.full(3, -1), 1, [0.5, 0.6], 1, "all rows alike", "accuracy"))


def test_images_that_are_none():
    """Rows of a table are shown as a strip."""
    assert_frame(draw_stream(np.random.default_rng(0).random((2, 1, 9)), Answer(1, False, None), [-1.0], 4))


def test_principal_components_are_those_of_sklearn():
    from sklearn.decomposition import PCA

    x = np.random.default_rng(0).normal(size=(30, 6)) * [5, 4, 3, 2, 1, 1]
    expected = PCA(2).fit_transform(x)
    ours = principal_components(x)
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), atol=1e-8)
    assert (ours.max(0) >= -ours.min(0)).all()
    np.testing.assert_allclose(principal_components(x.astype(np.float32)), ours, atol=1e-4)


def test_a_film_colours_each_class_alike(figures):
    x = np.random.default_rng(0).normal(size=(6, 3))
    draw_pool(x, np.array([0, 1, -1, -1, -1, -1]), None, [0.5], 3, "pool", "accuracy")
    draw_pool(x, np.array([0, 1, 2, 0, -1, -1]), 3, [0.5, 0.6], 3, "pool", "accuracy")
    early, late = (dict(points(figure.axes[0])) for figure in figures)
    places = [tuple(place) for place in principal_components(x)]
    assert early[places[0]] == late[places[0]] and early[places[1]] == late[places[1]]
    assert early[places[0]] != early[places[1]]


def test_answers_in_words():
    assert str(Answer(None, False, 2)) == "requested; label is 2"
    assert str(Answer(None, False, None)) == "requested"
    assert str(Answer(1, True, None)) == "predicted 1: right"
    assert str(Answer(1, False, 0)) == "predicted 1: wrong; label is 0"
