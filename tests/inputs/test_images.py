import numpy as np
import pytest
import torch

from almeta.build import as_config, build
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.stream import told_price
from tests.strategies.streams import state

CPU = torch.device("cpu")


def test_a_state_is_read_as_it_is():
    now = state([1.0, 2.0], [None, 1])
    assert Images(1, 2)(now) is now


def test_names_tell_the_sizes():
    assert Images(16, 3).names == ("3 label slots", "16 pixels")
    assert Images(16, 3).names != Images(16, 4).names
    assert build(as_config(Images(16, 3)), "inputs") == Images(16, 3)


@pytest.mark.parametrize("sizes", [{"num_pixels": 0, "num_slots": 3}, {"num_pixels": 4, "num_slots": "many"}])
def test_sizes_of_a_config_are_checked(sizes):
    with pytest.raises(AlmetaError, match=r"inputs\.num_\w+ is .*; it must be a whole number of at least 1"):
        build({"_target_": "almeta.inputs.Images", **sizes}, "inputs")
    with pytest.raises(AlmetaError, match=r"inputs\.num_\w+ is .*; it must be a whole number of at least 1"):
        Images(**sizes)


def test_an_observation_is_the_label_and_then_the_image():
    inputs = Images(num_pixels=4, num_slots=2)
    batch = np.arange(18, dtype=np.float32).reshape(3, 6)
    view, single = inputs.observed(batch, None, None, CPU)
    assert not single and view.start is None
    assert view.label.tolist() == [[0, 1], [6, 7], [12, 13]]
    assert view.item.tolist() == [[2, 3, 4, 5], [8, 9, 10, 11], [14, 15, 16, 17]]
    assert view.action_mask.tolist() == [[True] * 3] * 3
    view, single = inputs.observed(batch[1], [1, 0, 1], True, CPU)
    assert single and view.start is not None and view.start.tolist() == [True]
    assert view.label.tolist() == [[6, 7]] and view.item.tolist() == [[8, 9, 10, 11]]
    assert view.action_mask.tolist() == [[True, False, True]]


def test_the_price_of_a_mistake_follows_the_image():
    told = told_price(torch.tensor([-1.0, -20.0])).numpy()
    batch = np.concatenate((np.zeros((2, 6), np.float32), told[:, None]), 1)
    view, _ = Images(4, 2, price=True).observed(batch, None, None, CPU)
    assert view.incorrect is not None and view.item.shape == (2, 4)
    torch.testing.assert_close(view.incorrect, torch.tensor([-1.0, -20.0]))
    with pytest.raises(AlmetaError, match=r"has the shape \[2, 7\]; here it is \[E, 6\]"):
        Images(4, 2).observed(batch, None, None, CPU)
    with pytest.raises(AlmetaError, match=r"is \[E, 7\]; make the environment with tells_price=True"):
        Images(4, 2, price=True).observed(batch[:, :6], None, None, CPU)
    assert Images(4, 2, price=True).names != Images(4, 2).names
