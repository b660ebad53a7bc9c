import os

import pytest

from almeta.agents import LSTMNetwork
from almeta.build import build, prepare
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.training.agents import load_agent
from almeta.training.checkpoint import CONFIG_KEYS, load_checkpoint
from tests.training.small_run import make_trainer


def test_build_calls_with_arguments():
    config = {"_target_": "almeta.agents.LSTMNetwork", "hidden_size": 5}
    network = build(config, "network", inputs=Images(4, 2), num_values=1)
    assert isinstance(network, LSTMNetwork)
    assert network.memory.hidden_size == 5
    assert network.head.out_features == 2 + 1 + 1
    later = prepare(config, "network", ("inputs", "num_values"))
    assert later(inputs=Images(4, 2), num_values=0).head.out_features == 2 + 1


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "almeta.files.os.system",
        "almeta.training.checkpoint.write_atomically",
        "almeta.agents.networks.nn.Linear",
        "almeta.agents.networks",
        "almeta.agents.nowhere",
        "almeta",
        "None",
        "almeta..x",
    ],
)
def test_only_what_the_room_defines_is_built(target):
    with pytest.raises(AlmetaError, match="network._target_ is"):
        build({"_target_": target}, "network")


def test_a_checkpoint_cannot_name_a_command(tmp_path):
    """What a stranger's checkpoint names is not called, even by a way round through an import of almeta's own."""
    victim = tmp_path / "touched"
    config = {
        **dict.fromkeys(CONFIG_KEYS),
        "env": {"_target_": "almeta.envs.StreamOptions"},
        "network": {"_target_": "almeta.files.os.system", "command": f"touch {victim}"},
        "agent": {"_target_": "almeta.agents.QLearning"},
    }
    make_trainer("QLearning", tmp_path, 1, config=config).save("last.pt")
    assert load_checkpoint(tmp_path / "last.pt")["config"] == config
    with pytest.raises(AlmetaError, match="must be a class or function that almeta.agents defines"):
        load_agent(tmp_path)
    assert not os.path.exists(victim)


LSTM = {"_target_": "almeta.agents.LSTMNetwork"}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "network is None; it must be a group of keys"),
        ([1], r"network is \[1\]; it must be"),
        ({"hidden_size": 3}, "network is .*; it must be a group of keys with a '_target_'"),
        (
            LSTM | {"hiden_size": 3},
            "unknown key of network 'hiden_size'; did you mean",
        ),
        (LSTM | {"_partial_": True}, "unknown key of network '_partial_'"),
        (
            LSTM | {"hidden_size": "3"},
            "network.hidden_size is '3'; it must be a whole",
        ),
        ({"_target_": "almeta.agents.encoders.ConvEncoder"}, "ConvEncoder.* is not complete: .*'inputs'"),
    ],
)
def test_a_part_that_is_wrong_is_told_in_a_line(config, says):
    with pytest.raises(AlmetaError, match=says) as told:
        build(config, "network", inputs=Images(4, 2), num_values=1)
    assert "\n" not in str(told.value)


def test_a_missing_argument_is_told():
    with pytest.raises(AlmetaError, match=r"inputs \(almeta.inputs.Images\) is not complete: .*'num_slots'"):
        build({"_target_": "almeta.inputs.Images", "num_pixels": 4}, "inputs")
