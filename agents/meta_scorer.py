"""A network whose weights another network writes for each table, after Pang et al. 2018 (arXiv 1806.04798)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from almeta.agents.agent import Network
from almeta.checks import Count, Weight
from almeta.errors import AlmetaError
from almeta.inputs import Columns, ColumnsView
from almeta.strategies.actor import Memory


@dataclass(eq=False, repr=False)
class MetaScorer(Network):
    """A scorer of rows of any width: a network writes the encoder's weights of each column from what is known of it.

    The code of row i is W_e^T z_i, where row j of W_e is Psi of the numbers about column j, and its score is Phi of the
    code: the same two networks serve every table. The order of columns does not matter. A decoder, written in the same
    way, rebuilds rows from their codes; its error is an auxiliary loss. There is always a state value, linear in the
    mean of the numbers about the columns.

    Args:
        hidden_size: units H of each layer, and numbers in a code.
        aux_coef: weight of the reconstruction error in the loss.

    Raises:
        AlmetaError: for other inputs than `Columns`.
    """

    kind: ClassVar[str] = "pool"

    inputs: Columns
    hidden_size: Count = 64
    aux_coef: Weight = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.inputs, Columns):
            raise AlmetaError(
                f"the network MetaScorer reads columns, not {type(self.inputs).__name__}; set inputs=columns"
            )
        size, hidden_size = len(self.inputs.names), self.hidden_size
        self.encoder, self.decoder = (
            nn.Sequential(nn.Linear(size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size))
            for _ in range(2)
        )
        self.mix = nn.Linear(hidden_size, hidden_size)
        self.score = nn.Linear(hidden_size, 1)
        self.value = nn.Linear(size, 1)

    def initial(self, num_envs: int) -> Memory:
        return ()

    def step(self, view: ColumnsView, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """Return scores `[E, N]`, the value `[E]` of the pools, and the next memory."""
        scores = self.score(self.mix(self._codes(view)).relu()).squeeze(-1)
        about = view.columns.sum(-2) / view.varies.sum(-1, keepdim=True).clamp_min(1)
        return scores, self.value(about).squeeze(-1), memory

    def auxiliary_loss(self, view: ColumnsView) -> Tensor:
        """Return `aux_coef` times the mean squared error of the rebuilt rows that may be picked, a scalar."""
        rebuilt = self._codes(view) @ self.decoder(view.columns).mT  # [E, N, D]
        counted = view.action_mask[..., None] & view.varies[:, None]
        error = (rebuilt - view.rows).square().where(counted, 0.0)
        return self.aux_coef * error.sum() / counted.sum().clamp_min(1)

    def _codes(self, view: ColumnsView) -> Tensor:
        """Return the codes of the rows `[E, N, H]`; columns that pad are 0 and add nothing."""
        scale = view.varies.sum(-1).clamp_min(1).sqrt()[:, None, None]  # a sum over more columns is no larger
        return view.rows @ self.encoder(view.columns) / scale
