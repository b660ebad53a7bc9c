"""What policies read of a state: one file for each set of inputs."""

from almeta.inputs.candidates import Candidates
from almeta.inputs.images import Images
from almeta.inputs.inputs import Inputs, PoolInputs, PoolView
from almeta.inputs.lal_rl import LalRL

__all__ = ["Candidates", "Images", "Inputs", "LalRL", "PoolInputs", "PoolView"]
