"""The simulation, worked by hand."""

import dataclasses
import math

import pytest
import torch

from almeta.build import named_config
from almeta.envs import StreamOptions, StreamRewards, StreamSimulation
from almeta.errors import AlmetaError
from almeta.runs.streams import evaluation_streams
from almeta.seeding import make_generator
from almeta.tasks import StreamTasks, class_margins
from tests.agents.streams import make_agent, make_streams, small_network


@pytest.fixture
def make(tiny_images):
    def make(num_envs=2, seed=0, **options) -> StreamSimulation:
        return StreamSimulation(tiny_images, StreamOptions(**options), num_envs, make_generator(seed, "test"))

    return make


@pytest.fixture
def by_hand():
    """Two streams of four images: slots 2 0 2 1 and 1 1 0 1."""
    return StreamTasks(
        items=torch.tensor([[5, 20], [6, 21], [7, 22], [8, 23]]),
        targets=torch.tensor([[2, 1], [0, 1], [2, 0], [1, 1]]),
        instances=torch.tensor([[1, 1], [1, 2], [2, 1], [1, 3]]),
    )


class Encoder:
    """Has codes of all steps ready."""

    encoder_version = None

    def __init__(self, codes):
        self.codes = codes

    def encode(self, images):
        assert images.shape[:-1] == self.codes.shape[:-1]
        return self.codes


def actions(*pair):
    return torch.tensor(pair)


def test_values_by_hand(make, by_hand):
    simulation = make(length=4)
    images = simulation.sampler.images
    state = simulation.reset(by_hand)
    assert torch.equal(state.item, images[[5, 20]])
    assert state.label.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert state.action_mask.tolist() == [[True] * 4] * 2
    assert state.start is not None and state.start.tolist() == [True, True]
    #          actions   reward          correct         requested       labels
    expected = [
        ((3, 1), (-0.05, 1.0), (False, True), (True, False), [[0, 0, 1], [0, 0, 0]]),
        ((0, 3), (1.0, -0.05), (True, False), (False, True), [[0, 0, 0], [0, 1, 0]]),
        ((3, 3), (-0.05, -0.05), (False, False), (True, True), [[0, 0, 1], [1, 0, 0]]),
        ((2, 0), (-1.0, -1.0), (False, False), (False, False), [[0, 0, 0], [0, 0, 0]]),
    ]
    for time, (action, reward, correct, requested, labels) in enumerate(expected):
        assert not simulation.finished
        outcome = simulation.step(actions(*action))
        torch.testing.assert_close(outcome.reward, torch.tensor(reward))
        assert outcome.correct.tolist() == list(correct)
        assert outcome.requested.tolist() == list(requested)
        assert outcome.invalid.tolist() == [False, False]
        state = simulation.state()
        assert state.label.dtype == torch.float32 and state.label.tolist() == labels
        assert state.start is None
        assert torch.equal(state.item, images[by_hand.items[min(time + 1, 3)]])
    assert simulation.finished
    with pytest.raises(RuntimeError, match=r"ended; call reset\(\)"):
        simulation.step(actions(0, 0))


def test_an_encoding_takes_the_place_of_the_image(make):
    simulation = make()
    simulation.reset()
    codes = torch.rand(30, 2, 7)
    simulation.show_to(Encoder(codes))
    assert torch.equal(simulation.state().item, codes[0])
    simulation.step(actions(0, 0))
    assert torch.equal(simulation.state().item, codes[1])
    simulation.reset()
    assert simulation.images.shape == (30, 2, 16)
    assert torch.equal(simulation.images[0], simulation.state().item)


def test_rewards_are_options_and_may_be_whole_numbers(make, by_hand):
    simulation = make(length=4, reward={"request": 0, "correct": 2, "incorrect": -7})
    simulation.reset(by_hand)
    reward = simulation.step(actions(2, 2)).reward
    assert reward.dtype == torch.float32 and reward.tolist() == [2.0, -7.0]
    assert simulation.step(actions(3, 3)).reward.tolist() == [0.0, 0.0]


def test_rewards_left_out_keep_their_values(make):
    assert make(reward={"incorrect": -5}).rewards == StreamRewards(-0.05, 1.0, -5)
    assert make().rewards == StreamRewards(-0.05, 1.0, -1.0)


def test_always_reveals_each_label_a_step_late_and_forbids_requests(make, by_hand):
    simulation = make(length=4, reveal="always")
    state = simulation.reset(by_hand)
    for time in range(4):
        assert state.action_mask.tolist() == [[True, True, True, False]] * 2
        outcome = simulation.step(actions(0, 3))
        assert outcome.requested.tolist() == [False, False]
        assert outcome.invalid.tolist() == [False, True]
        assert outcome.reward[1] == torch.tensor(-0.05)
        state = simulation.state()
        assert torch.equal(state.label, torch.eye(3)[by_hand.targets[time]])


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_no_more_than_max_requests(make, limit):
    simulation = make(max_requests=limit)
    for _ in range(2):  # a reset gives the requests back
        state = simulation.reset()
        for time in range(4):  # episode 0 requests from the start, episode 1 from step 2 on
            action = actions(3, 3 if time >= 2 else 0)
            left = torch.tensor([time, max(time - 2, 0)]) < limit
            assert state.action_mask[:, :3].all()
            assert torch.equal(state.action_mask[:, 3], left)
            outcome = simulation.step(action)
            assert torch.equal(outcome.requested, (action == 3) & left)
            assert torch.equal(outcome.invalid, (action == 3) & ~left)
            state = simulation.state()
            assert torch.equal(state.label.sum(1), outcome.requested.float())  # invalid: reveals nothing
            assert outcome.reward[0] == torch.tensor(-0.05)  # and brings a request's reward


def test_masks_that_were_handed_out_do_not_change(make):
    simulation = make(max_requests=1)
    before = simulation.reset().action_mask
    simulation.step(actions(3, 3))
    assert before.all() and not simulation.state().action_mask[:, 3].any()


def test_a_reset_in_the_middle_forgets_everything(make):
    simulation = make(max_requests=1)
    simulation.reset()
    simulation.step(actions(3, 3))
    assert simulation.state().label.any()
    state = simulation.reset()
    assert not state.label.any() and state.action_mask.all()
    assert state.start is not None and state.start.all()
    assert not simulation.finished


def test_a_simulation_can_follow_a_script_on_the_same_images(make):
    simulation = make(max_requests=1)
    simulation.reset()
    scripted = simulation.scripted([[0, 2], [1, 1]])
    assert scripted.finished and scripted.length == 3 and scripted.max_requests == 1
    assert scripted.sampler.images is simulation.sampler.images
    scripted.reset()
    assert scripted.tasks.instances.T.tolist() == [[1, 2, 1]] * 2
    for _ in range(3):
        scripted.step(actions(3, 3))
    assert scripted.finished
    assert not simulation.finished and simulation.length == 30  # the other one goes on as it was
    assert simulation.state().action_mask.all() and simulation.state().start is not None


def test_streams_go_on_with_the_generator(make):
    one, same, other = make(seed=1), make(seed=1), make(seed=2)
    first, second = [(simulation.reset(), simulation.reset()) for simulation in (one, same)]
    assert torch.equal(first[0].item, second[0].item) and torch.equal(first[1].item, second[1].item)
    assert not torch.equal(first[0].item, first[1].item)
    assert not torch.equal(first[0].item, other.reset().item)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reveal": "never"}, "env.reveal is 'never'; it must be 'requested' or 'always'"),
        ({"discount": 1.5}, "env.discount is 1.5; it must be a number from 0 to 1"),
        ({"discount": -0.1}, "env.discount"),
        ({"max_requests": -1}, "env.max_requests is -1; it must be a whole number of at least 0 or null"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"reward": {"incorect": -1}}, "unknown reward 'incorect'; did you mean 'incorrect'"),
        ({"reward": {"incorrect": "a lot"}}, "env.reward.incorrect is 'a lot'; it must be a number"),
        ({"reward": {"request": float("nan")}}, "env.reward.request is nan"),
        ({"classes": 7}, "env.classes=7"),
        ({"slots": 2}, "env.slots=2"),
        ({"length": 31}, "env.length=31"),
    ],
)
def test_mistakes(make, options, message):
    with pytest.raises(AlmetaError, match=message):
        make(**options)


def test_streams_of_another_shape_are_not_played(make, by_hand):
    with pytest.raises(ValueError, match=r"\[T, E / group\] = \[4, 2\]; here they are \[30, 2\]"):
        make().reset(by_hand)


def test_a_group_plays_each_stream_given_as_neighbours(make, by_hand):
    simulation = make(6, length=4, group=3)
    simulation.reset(by_hand)
    assert torch.equal(simulation.tasks.items, by_hand.items.repeat_interleave(3, 1))
    assert simulation.target.tolist() == [2, 2, 2, 1, 1, 1]
    with pytest.raises(ValueError, match=r"= \[4, 6\]; here they are \[4, 2\]"):
        simulation.reset(simulation.tasks)


class SquareRoots:
    """Has the square roots of the first pixels as codes; they may be kept, or not."""

    def __init__(self, version):
        self.encoder_version = version

    def encode(self, images):
        return images[..., :5].sqrt()


@pytest.mark.parametrize("actor", [None, object(), SquareRoots(3)])
@pytest.mark.parametrize("group", [1, 2])
def test_margin_candidates_keep_the_hardest_stream_of_each_few(make, actor, group):
    hard, plain = make(6, group=group, margin_candidates=5), make(6 // group * 5)
    hard.expect(actor)
    hard.reset()
    plain.reset()  # the candidates: 5 for each stream
    codes = plain.images if not isinstance(actor, SquareRoots) else actor.encode(plain.images)
    for number in range(6 // group):
        few = range(5 * number, 5 * number + 5)
        margins = [class_margins(codes[:, [e]], plain.tasks.targets[:, [e]], 3).item() for e in few]
        kept = few[margins.index(min(margins))]
        for e in range(group * number, group * number + group):
            assert torch.equal(hard.tasks.items[:, e], plain.tasks.items[:, kept])
            assert torch.equal(hard.tasks.targets[:, e], plain.tasks.targets[:, kept])


@pytest.mark.parametrize("network", ["EpisodicNetwork", "LSTMNetwork"])
def test_margins_are_those_of_the_encoder_as_it_is_now(make, network):
    """An encoder that learns has no codes to keep; a network without one is not asked for codes."""
    options = {"fine_tune": True} if network == "EpisodicNetwork" else {}
    agent = make_agent("QLearning", small_network(network, **options))
    streams, plain = make_streams(num_envs=4, margin_candidates=3), make_streams(num_envs=12)
    codes = plain.sampler.images
    streams.expect(agent)
    for _ in range(2):
        streams.reset()
        plain.reset()
        if agent.network.encoder is not None:
            codes = agent.encode(plain.sampler.images).detach()
            with torch.no_grad():
                agent.network.encoder.code.weight[0] *= 5
                agent.network.encoder.code.weight[1] = 0
        margins = class_margins(codes[plain.tasks.items], plain.tasks.targets, plain.num_slots).view(4, 3)
        kept = torch.arange(0, 12, 3) + margins.argmin(1)
        assert torch.equal(streams.tasks.items, plain.tasks.items[:, kept])


def test_given_streams_and_evaluations_have_no_candidates(make, by_hand, tiny_images):
    simulation = make(length=4, margin_candidates=7)
    simulation.reset(by_hand)
    assert torch.equal(simulation.tasks.items, by_hand.items)
    trained = StreamOptions(margin_candidates=7, group=2, stickiness=0.5, sticky_share=0.5, distort=0.5)
    judges = evaluation_streams(tiny_images, trained, 2, 0, "cpu")
    assert judges.options == StreamOptions()


@pytest.mark.parametrize("encodes", [False, True])
def test_a_share_of_the_images_is_distorted(make, by_hand, encodes):
    streams, plain = make(40, group=2, length=20, distort=0.3), make(20, length=20)
    actor = SquareRoots(3) if encodes else None
    state = streams.reset()
    plain.reset()
    assert torch.equal(streams.tasks.items[:, ::2], plain.tasks.items)  # what is drawn does not depend on it
    streams.show_to(actor)
    images, as_they_are = streams.images, streams.sampler.images[streams.tasks.items]
    changed = (images != as_they_are).any(-1)  # [T, E]
    assert 0.25 < changed.float().mean() < 0.35 and images.min() >= 0 and images.max() <= 1
    assert torch.equal(images[:, ::2], images[:, 1::2])  # a group sees the same
    assert torch.equal(state.item, images[0])
    codes = images if actor is None else actor.encode(images)
    for time in range(3):
        assert torch.equal(streams.state().item, codes[time])
        streams.step(actions(*[0] * 40))
    given = make(length=4, distort=1.0)
    assert torch.equal(given.reset(by_hand).item, given.sampler.images[[5, 20]])


def test_an_image_is_distorted_anew_each_time(make):
    streams = make(200, length=10, rotations=False, distort=1.0)
    streams.reset()
    items, images = streams.tasks.items.flatten(), streams.images.flatten(0, 1)
    for item in range(3):
        seen = images[items == item]
        assert len(seen) > 5 and len(seen.unique(dim=0)) == len(seen)


def test_generators_of_episodes_draw_what_they_would_draw_alone(make):
    together, alone = make(2, distort=1.0), make(1, distort=1.0)
    together.reset(generators=[make_generator(seed, "episode") for seed in (3, 4)])
    for e, seed in enumerate((3, 4)):
        alone.reset(generators=[make_generator(seed, "episode")])
        torch.testing.assert_close(together.images[:, [e]], alone.images)


def test_what_is_no_square_image_is_not_distorted(tiny_images):
    vectors = dataclasses.replace(tiny_images, image_shape=None)
    StreamSimulation(vectors, StreamOptions(rotations=False))
    with pytest.raises(
        AlmetaError, match=r"'tiny' has no square images \(image shape None\) to distort; set env\.dist"
    ):
        StreamSimulation(vectors, StreamOptions(rotations=False, distort=0.5))


def test_stickiness_reaches_the_streams():
    assert make_streams(num_envs=6, stickiness=[0.0, 0.9]).sampler.stickiness == (0.0, 0.9)
    assert make_streams(num_envs=6, stickiness=0.5).sampler.stickiness == (0.5, 0.5)
    assert make_streams(num_envs=6, stickiness=0.5, sticky_share=0.7).sampler.sticky_share == 0.7


@pytest.mark.parametrize("stickiness", [1.5, -0.1, [0.5], [0.9, 0.1], [0, 0.5, 1]])
def test_a_stickiness_that_is_no_chance(stickiness):
    with pytest.raises(
        AlmetaError, match=r"a chance is between 0 and 1, and a range has two, the lower first, such as \[0, 0.9\]"
    ):
        StreamOptions(stickiness=stickiness)


def test_a_share_of_nothing_sticky():
    with pytest.raises(
        AlmetaError, match=r"env.sticky_share=0.7 has no effect without a stickiness; set it to 1, or env.st"
    ):
        StreamOptions(sticky_share=0.7)


def test_a_script_and_stickiness():
    with pytest.raises(AlmetaError, match=r"env.script orders the classes, so that env.stickiness=0.5 has no effect"):
        StreamOptions(script=[[0, 5]], stickiness=0.5)


def test_the_yaml_has_the_values_of_the_options():
    config = named_config("env", "one_shot")
    assert config.pop("_target_") == "almeta.envs.StreamOptions"
    assert config.pop("slots") == "${.classes}"
    assert StreamOptions(**config) == StreamOptions(reward=vars(StreamRewards()))
    assert config.keys() | {"slots"} == {field.name for field in dataclasses.fields(StreamOptions)}


def test_a_range_of_prices_is_drawn_for_each_task(make):
    streams = make(num_envs=400, group=2, reward={"incorrect": [-20, -1]}, tells_price=True)
    streams.reset()
    price = streams.state().incorrect
    assert torch.equal(price[::2], price[1::2])  # episodes of one task have one price
    share = (-price[::2]).sort().values.log() / math.log(20)  # uniform in [0, 1], by the logarithm
    assert (share - torch.linspace(0, 1, 200)).abs().max() < 0.12
    wrong = (streams.target + 1) % 3
    assert torch.equal(streams.step(wrong).reward, price)
    before = price.clone()
    streams.reset()
    assert not torch.equal(streams.state().incorrect, before)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ({"incorrect": [-1]}, r"env.reward.incorrect=\[-1\]; a range has two numbers from -100 to below 0"),
        ({"incorrect": [-1, 0]}, "a range has two numbers"),
        ({"incorrect": [-200, -1]}, "a range has two numbers"),
        ({"incorrect": -200}, "env.tells_price=true tells numbers from -100 to 0"),
        ({"incorrect": 0.5}, "env.tells_price=true tells numbers from -100 to 0"),
    ],
)
def test_prices_that_cannot_be_told_are_refused(reward, said):
    with pytest.raises(AlmetaError, match=said):
        StreamOptions(reward=reward, tells_price=True)


def test_a_mistake_that_pays_more_than_a_right_answer_is_refused():
    with pytest.raises(AlmetaError, match=r"incorrect=5 .*=1; a mistake cannot pay more than a right answer"):
        StreamOptions(reward={"incorrect": 5})
    with pytest.raises(AlmetaError, match=r"incorrect=\[-9, -1\] .*=-2; a mistake cannot"):
        StreamOptions(reward={"incorrect": [-9, -1], "correct": -2})
    assert StreamOptions(reward={"incorrect": 1}).rewards.bounds == (1, 1)  # labels alone count, or nothing does
