"""What policies read of a state: one file for each set of inputs."""

from almeta.inputs.ahead import LookAheadCandidates
from almeta.inputs.candidates import Candidates
from almeta.inputs.classes import ClassInputs
from almeta.inputs.columns import Columns, ColumnsView
from almeta.inputs.images import Images
from almeta.inputs.inputs import Inputs, PoolInputs, PoolView
from almeta.inputs.lal_rl import LalRL

__all__ = [
    "Candidates",
    "ClassInputs",
    "Columns",
    "ColumnsView",
    "Images",
    "Inputs",
    "LalRL",
    "LookAheadCandidates",
    "PoolInputs",
    "PoolView",
]
