"""The codes of images: right, computed once, and only for images that are shown."""

import gc

import pytest
import torch

from almeta.envs import StreamOptions, StreamSimulation, codes
from almeta.envs.codes import kept_codes
from almeta.seeding import make_generator


class CountingEncoder:
    """An encoder that stays as it is, and notes which images it encodes."""

    def __init__(self, num_pixels, encoder_version=0):
        self.encoder_version, self.calls = encoder_version, []
        self.weights = torch.randint(9, (num_pixels, 3), generator=torch.Generator().manual_seed(0)).double()

    def encode(self, images):
        self.calls.append(images.clone())
        return (256 * images.double()).round() @ self.weights  # whole numbers: no order of adding them matters

    @property
    def sizes(self):
        return [len(images) for images in self.calls if len(images) > 1]  # one image tells the size of a code


@pytest.fixture
def many_images(make_images):
    """700 images, 2,800 with their rotations."""
    return make_images([100] * 7)


def test_only_images_that_are_shown_are_encoded_and_each_once(many_images):
    simulation = StreamSimulation(many_images, None, 2, make_generator(0, "test"))
    actor = CountingEncoder(16)
    everything = actor.encode(simulation.sampler.images)
    actor.calls.clear()
    for blocks in ([512], [512]):
        simulation.reset()
        simulation.show_to(actor)
        for time in range(30):
            expected = everything[simulation.tasks.items[time]]
            assert torch.equal(simulation.state().item, expected)
            simulation.step(torch.tensor([0, 0]))
        assert actor.sizes in (blocks, blocks * 2)  # 60 images need one block, and may lie in the first
    again = simulation.tasks
    before = len(actor.calls)
    simulation.reset(again)
    simulation.show_to(actor)
    assert len(actor.calls) == before
    encoded = {image.numpy().tobytes() for images in actor.calls for image in images}
    assert len(encoded) <= 1024
    shown = {image.numpy().tobytes() for image in simulation.images.flatten(0, 1)}
    assert shown <= encoded


def test_all_images_in_blocks_of_one_size(many_images):
    simulation = StreamSimulation(many_images)
    images, actor = simulation.sampler.images, CountingEncoder(16)
    everything = actor.encode(images)
    actor.calls.clear()
    rows = torch.randperm(2800, generator=torch.Generator().manual_seed(0))
    for some in rows.split(700):
        assert torch.equal(kept_codes(actor, images, some.view(7, -1)), everything[some].view(7, -1, 3))
    assert set(actor.sizes) == {512} and len(actor.sizes) == 6  # 2,800 images, not one more block than they need
    few, fewer = StreamSimulation(many_images, StreamOptions(rotations=False)).sampler.images[:40], CountingEncoder(16)
    assert torch.equal(kept_codes(fewer, few, torch.arange(2)), fewer.encode(few)[:2])
    assert set(fewer.sizes) == {40}


def test_codes_are_those_of_todays_encoder_and_of_their_own_table(many_images, tiny_images):
    images = StreamSimulation(many_images).sampler.images
    actor, rows = CountingEncoder(16), torch.arange(5)
    old = kept_codes(actor, images, rows)
    actor.weights = 2 * actor.weights
    assert torch.equal(kept_codes(actor, images, rows), old)  # it did not say that it had changed
    actor.encoder_version += 1
    assert torch.equal(kept_codes(actor, images, rows), 2 * old)
    other = StreamSimulation(tiny_images).sampler.images
    assert torch.equal(kept_codes(actor, other, rows), actor.encode(other)[:5])
    twin = CountingEncoder(16)
    assert torch.equal(kept_codes(twin, images, rows), old)


def test_codes_live_no_longer_than_whoever_made_them(many_images):
    images = StreamSimulation(many_images).sampler.images
    gc.collect()
    before = len(codes._codes)
    actor = CountingEncoder(16)
    kept_codes(actor, images, torch.arange(5))
    assert len(codes._codes) == before + 1
    del actor
    gc.collect()
    assert len(codes._codes) == before
