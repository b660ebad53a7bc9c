import numpy as np
import pytest
import torch

from almeta.build import as_config, build
from almeta.errors import AlmetaError
from almeta.inputs import Images
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
