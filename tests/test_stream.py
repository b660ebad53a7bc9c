"""What may be known of a stream, and the examples that whoever acts may keep."""

import torch

from almeta.stream import Examples, StreamState
from tests.strategies.streams import state

INF = torch.inf


def test_a_label_belongs_to_the_image_before_it():
    ring = Examples.none(1, 4, 1, 2, torch.zeros(1))
    assert ring.slot_distances(torch.tensor([[0.0]])).tolist() == [[INF, INF]]
    ring.remember(state([5.0], start=[True]))
    assert ring.slot_distances(torch.tensor([[5.0]])).tolist() == [[INF, INF]]  # its label is not known
    ring.remember(state([7.0], [1]))  # 5 has label 1
    assert ring.slot_distances(torch.tensor([[7.0]])).tolist() == [[INF, 2.0]]
    ring.remember(state([6.0], [None]))  # 7 stays without
    assert ring.slot_distances(torch.tensor([[7.0]])).tolist() == [[INF, 2.0]]
    ring.remember(state([0.0], [0]))  # 6 has label 0
    assert ring.slot_distances(torch.tensor([[7.0]])).tolist() == [[1.0, 2.0]]
    ring.remember(state([0.0], [1]))  # 0 has label 1, and the nearest counts
    assert ring.slot_distances(torch.tensor([[1.0]])).tolist() == [[5.0, 1.0]]


def test_the_ring_forgets_the_oldest():
    ring = Examples.none(1, 3, 1, 2, torch.zeros(1))
    ring.remember(state([10.0], start=[True]))
    ring.remember(state([20.0], [0]))  # 10 has label 0
    ring.remember(state([30.0], [1]))  # 20 has label 1
    query = torch.tensor([[10.0]])
    assert ring.slot_distances(query).tolist() == [[0.0, 10.0]]
    ring.remember(state([40.0], [1]))  # 30 has label 1, over the end of the ring; 40 takes the place of 10
    assert ring.slot_distances(query).tolist() == [[INF, 10.0]]
    ring.remember(state([50.0], [None]))  # 40 stays without, 50 takes the place of 20
    assert ring.slot_distances(query).tolist() == [[INF, 20.0]]
    ring.remember(state([60.0], [0]))  # 50 has label 0, 60 takes the place of 30
    assert ring.slot_distances(query).tolist() == [[40.0, INF]]
    ring.remember(state([70.0], [0]))  # 60 has label 0, over the end again; 70 takes the place of 40
    assert ring.slot_distances(torch.tensor([[62.0]])).tolist() == [[2.0, INF]]


def test_a_start_forgets_the_labels_of_its_episode_alone():
    ring = Examples.none(2, 3, 1, 2, torch.zeros(1))
    ring.remember(state([1.0, 1.0], start=[True, True]))
    ring.remember(state([2.0, 2.0], [0, 0]))  # 1 has label 0 in both
    ring.remember(state([3.0, 3.0], [1, None], start=[False, True]))  # 2 has label 1 in the first
    assert ring.slot_distances(torch.tensor([[1.0], [1.0]])).tolist() == [[0.0, 1.0], [INF, INF]]
    ring.remember(state([4.0, 4.0], [None, 1]))  # 3 has label 1 in the second
    assert ring.slot_distances(torch.tensor([[1.0], [1.0]])).tolist() == [[INF, 1.0], [INF, 2.0]]


def test_an_empty_ring_is_of_the_asked_sizes_and_kind():
    ring = Examples.none(2, 3, 5, 4, torch.zeros(1, dtype=torch.float64))
    assert ring.items.shape == (2, 3, 5) and ring.labels.shape == (2, 3, 4) and ring.time == 0
    assert ring.items.dtype == ring.labels.dtype == torch.float64
    assert not ring.items.any() and not ring.labels.any()


def test_the_mean_of_a_slot_has_labelled_images_and_those_that_were_taken_to_be_of_it():
    ring = Examples.none(2, 4, 1, 3, torch.zeros(1))
    steps = [(0.0, None, 1), (4.0, 0, 1), (10.0, None, None), (1.0, None, None)]
    for item, label, said in steps:  # the label is of the step before; what was said of it gives way
        state = StreamState(torch.full((2, 1), item), slots(label), torch.ones(2, 4, dtype=torch.bool))
        ring.remember(state)
        ring.guess(slots(said))
    # Slot 0: the image at 0, by its label. Slot 1: the image at 4, as it was said. Slot 2: none.
    found = ring.mean_distances(torch.tensor([[1.0], [7.0]]))
    assert found.tolist() == [[1.0, 3.0, torch.inf], [7.0, 3.0, torch.inf]]
    ring.guess(slots(1))  # and the image at 1
    assert ring.mean_distances(torch.tensor([[1.0], [7.0]]))[:, 1].tolist() == [1.5, 4.5]
    ring.remember(
        StreamState(torch.zeros(2, 1), slots(None), torch.ones(2, 4, dtype=torch.bool), torch.tensor([True, False]))
    )
    assert ring.mean_distances(torch.tensor([[1.0], [7.0]]))[:, 0].tolist() == [torch.inf, torch.inf]


def slots(number):
    """Return a slot for both episodes, `[2, 3]`; None for zeros."""
    return torch.zeros(2, 3) if number is None else torch.eye(3)[number].expand(2, 3)


def test_sums_of_slots_are_those_of_what_is_in_the_ring():
    generator = torch.Generator().manual_seed(0)
    ring = Examples.none(6, 4, 3, 2, torch.zeros(1))
    for time in range(11):
        label = torch.nn.functional.one_hot(torch.randint(3, (6,), generator=generator), 3)[:, :2].float()
        start = torch.rand(6, generator=generator) < 0.1
        item = torch.randn(6, 3, generator=generator)
        ring.remember(StreamState(item, label * (time > 0), torch.ones(6, 3, dtype=torch.bool), start))
        said = torch.nn.functional.one_hot(torch.randint(3, (6,), generator=generator), 3)[:, :2].float()
        ring.guess(said)
        taken = ring.labels + ring.guesses
        torch.testing.assert_close(ring.sums, taken.mT @ ring.items)
        torch.testing.assert_close(ring.counts, taken.sum(1))
        distances = torch.linalg.norm(item[:, None] - ring.items, dim=-1)
        torch.testing.assert_close(ring.distances(item), distances.where(ring.labels.any(-1), INF), atol=2e-3, rtol=0)
        torch.testing.assert_close(ring.squares, ring.items.square().sum(-1))


def test_the_order_of_slots_is_followed_past_the_ends_of_the_ring():
    """By hand: the slot of a step is its label, or else what was said; pairs of steps that both have one count."""
    generator = torch.Generator().manual_seed(0)
    ring = Examples.none(5, 2, 1, 2, torch.zeros(1))
    seen: list[list[int | None]] = [[] for _ in range(5)]
    said: list[int | None] = [None] * 5
    for time in range(12):
        label = [int(k) if k < 2 and time else None for k in torch.randint(3, (5,), generator=generator)]
        start = torch.rand(5, generator=generator) < 0.15
        ring.remember(state([0.0] * 5, label, start=start.tolist()))
        ring.follow(start)
        for episode, told in enumerate(label):
            seen[episode] = [] if start[episode] else [*seen[episode], said[episode] if told is None else told]
            known = [slot for slot in seen[episode][-1:] if slot is not None]
            assert ring.last[episode].tolist() == [float(k in known) for k in range(2)]
            pairs = [pair for pair in zip(seen[episode], seen[episode][1:], strict=False) if None not in pair]
            stays = sum(one == other for one, other in pairs)
            assert (ring.stays[episode], ring.changes[episode]) == (stays, len(pairs) - stays)
        said = [int(k) if k < 2 else None for k in torch.randint(3, (5,), generator=generator)]
        ring.guess(torch.stack([torch.eye(3)[2 if k is None else k][:2] for k in said]))
