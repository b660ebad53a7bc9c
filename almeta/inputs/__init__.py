"""What policies read of a state: one file for each set of inputs."""

from almeta.inputs.ahead import LookAheadCandidates
from almeta.inputs.candidates import Candidates
from almeta.inputs.cells import Cells
from almeta.inputs.classes import ClassInputs
from almeta.inputs.columns import Columns, ColumnsView
from almeta.inputs.images import Images
from almeta.inputs.inputs import CellInputs, Inputs, PoolInputs, PoolView
from almeta.inputs.lal_rl import LalRL

__all__ = [
    "Candidates",
    "CellInputs",
    "Cells",
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
