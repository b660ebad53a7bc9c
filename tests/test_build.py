import os

import pytest

from almeta.agents import LSTMNetwork
from almeta.build import build
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.training.agents import load_agent
from almeta.training.checkpoint import load_checkpoint, save_checkpoint


def test_build_calls_with_arguments():
    network = build({"_target_": "almeta.agents.LSTMNetwork", "_partial_": True, "hidden_size": 5}, "network")
    assert isinstance(network(inputs=Images(4, 2), num_values=1), LSTMNetwork)


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
        "network": {"_target_": "almeta.files.os.system", "command": f"touch {victim}"},
        "agent": {"_target_": "almeta.agents.QLearning"},
    }
    save_checkpoint(tmp_path / "last.pt", {"config": config, "num_pixels": 4, "num_slots": 2, "agent": {}})
    assert load_checkpoint(tmp_path / "last.pt")["config"] == config
    with pytest.raises(AlmetaError, match="must be a class or function that almeta.agents defines"):
        load_agent(tmp_path)
    assert not os.path.exists(victim)
