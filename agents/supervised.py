"""The supervised baseline of Woodward & Finn 2017 (Table 1): every label is revealed one step later."""

from typing import Any

import torch
from torch import Tensor

from almeta.agents.agent import Agent, Rollout
from almeta.strategies.choosing import best_action


class Supervised(Agent):
    """Cross-entropy on the label slots at every step; plays streams with `reveal="always"`."""

    kinds = ("stream",)
    reveal = "always"

    def explore(self, utilities: Tensor, action_mask: Tensor, target: Any, generator: torch.Generator) -> Tensor:
        return best_action(utilities, action_mask, generator)

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        assert rollout.targets is not None  # streams have them
        logits = rollout.utilities[..., :-1].flatten(0, 1)  # the request has no target
        return torch.nn.functional.cross_entropy(logits, rollout.targets.flatten()), {}
