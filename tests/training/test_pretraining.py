"""Losses of image encoders, by loops over single images, and that encoders learn by them."""

import copy
import itertools

import pytest
import torch

from almeta.agents.encoders import ConvEncoder, ResidualEncoder
from almeta.errors import AlmetaError
from almeta.evaluation.few_shot import few_shot_accuracy
from almeta.seeding import make_generator, seeded_weights
from almeta.tasks import StreamSampler
from almeta.training.pretraining import pretrain_encoder, prototypical_loss, siamese_loss, triplet_loss
from tests.agents.streams import glyphs

WAYS, SHOTS = 3, 2
PLACES = list(itertools.product(range(WAYS), range(SHOTS)))


@pytest.fixture
def codes():
    return torch.randn(WAYS, SHOTS, 2, generator=make_generator(0, "test"), requires_grad=True)


def distance(codes, one, other):
    return float((codes[one] - codes[other]).norm().detach())


def test_prototypical_loss(codes):
    costs = []
    for (k, m), shot in itertools.product(PLACES, range(SHOTS)):
        if shot != m:
            logits = torch.tensor([-(distance(codes, (k, m), (way, shot)) ** 2) for way in range(WAYS)])
            costs.append(-logits.log_softmax(0)[k])
    assert prototypical_loss(codes).item() == pytest.approx(torch.stack(costs).mean().item(), rel=1e-5)


@pytest.mark.parametrize("margin", [0.5, 3.0])
def test_siamese_loss(codes, margin):
    pull, push = [], []
    for one, other in itertools.permutations(PLACES, 2):
        far = distance(codes, one, other)
        if one[0] == other[0]:
            pull.append(far**2)
        else:
            push.append(max(0.0, margin - far) ** 2)
    expected = (sum(pull) / len(pull) + sum(push) / len(push)) / 2
    assert siamese_loss(codes, margin).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [0.1, 4.0])
def test_triplet_loss(codes, margin):
    with torch.no_grad():
        codes[0, 1] += 10.0  # farther from its own class than any other is
    costs, kinds = [], set()
    for anchor, positive in itertools.permutations(PLACES, 2):
        if anchor[0] != positive[0]:
            continue
        near = distance(codes, anchor, positive) ** 2
        others = [distance(codes, anchor, place) ** 2 for place in PLACES if place[0] != anchor[0]]
        semi_hard = [far for far in others if far > near]
        kinds.add(bool(semi_hard))
        costs.append(max(0.0, near - (min(semi_hard) if semi_hard else max(others)) + margin))
    assert kinds == {True, False}  # both ways to choose are tried
    assert triplet_loss(codes, margin).item() == pytest.approx(sum(costs) / len(costs), rel=1e-4)


@pytest.mark.parametrize("loss", [prototypical_loss, lambda c: siamese_loss(c, 1.0), lambda c: triplet_loss(c, 1.0)])
def test_images_that_are_alike_have_a_gradient_without_nan(loss):
    codes = torch.zeros(3, 2, 4, requires_grad=True)
    loss(codes).backward()
    assert codes.grad is not None and codes.grad.isfinite().all()


@pytest.mark.parametrize("kind", [ConvEncoder, ResidualEncoder])
@pytest.mark.parametrize("loss", ["prototypical", "siamese", "triplet"])
def test_an_encoder_learns_to_tell_classes_apart(loss, kind):
    """Of noisy images only one pixel tells the class."""
    dataset = glyphs(10, 12, noise=0.6)
    sampler = StreamSampler(dataset, length=6, rotations=False)
    with seeded_weights(0):
        encoder = kind(4, 8, 8).eval()
    judge = make_generator(1, "judge")

    class Encoding:
        encoder_version = 0

        def encode(self, images):
            return encoder(images).detach()

    before = few_shot_accuracy(Encoding(), sampler, 5, 1, 50, judge).mean or 0.0
    losses = pretrain_encoder(encoder, sampler, make_generator(0, "test"), 120, ways=10, shots=4, loss=loss)
    after = few_shot_accuracy(Encoding(), sampler, 5, 1, 50, judge).mean or 0.0
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert after > 0.75 > before + 0.2
    assert not any(parameter.requires_grad for parameter in encoder.parameters()) and not encoder.training


@pytest.mark.parametrize("channels", [2, 6, 12])
def test_residual_blocks_of_few_channels_have_the_gradients_of_double_precision(channels):
    """With a stride in the convolution of 1 x 1, single precision wrote them beyond their memory."""
    with seeded_weights(0):
        encoder = ResidualEncoder(28, 4, channels)
    exact = copy.deepcopy(encoder).double()
    images = torch.rand(80, 784, generator=make_generator(0, "test"))
    encoder(images).square().mean().backward()
    exact(images.double()).square().mean().backward()
    for own, other in zip(encoder.parameters(), exact.parameters(), strict=True):
        assert own.grad is not None and other.grad is not None
        assert (own.grad - other.grad).norm() < 0.02 * other.grad.norm()  # a unit near zero may be on or off


@pytest.mark.parametrize("change", ["distort", "thicken"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_images_is_changed(share, change):
    """What the encoder reads in its first batch is an image of the data set, or none."""
    dataset = glyphs(6, 20, noise=0.6)
    sampler = StreamSampler(dataset, length=6, rotations=False)
    read = []
    encoder = ConvEncoder(4, 4, 4)
    encoder.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    pretrain_encoder(encoder, sampler, make_generator(0, "test"), 10, ways=6, shots=20, **{change: share})
    distances = torch.cdist(torch.cat(read), sampler.images).amin(1)
    assert (distances > 1e-2).float().mean().item() == pytest.approx(share, abs=0.05)


def test_one_image_of_a_class_is_not_enough():
    sampler = StreamSampler(glyphs(4, 1), length=3, rotations=False)
    with pytest.raises(AlmetaError, match=r"pretraining\.shots=4, and the smallest class .* has 1 image"):
        pretrain_encoder(ConvEncoder(4, 4, 4), sampler, make_generator(0, "test"), 1)
