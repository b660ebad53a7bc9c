"""The supervised baseline of Woodward & Finn 2017 (Table 1): every label comes one step late, without asking."""

import torch
from torch import Tensor

from almeta.agents.agent import Agent, Rollout


class Supervised(Agent):
    """Cross-entropy on the label slots at every step; plays streams with `reveal="always"`."""

    reveal = "always"

    def explore(self, outputs: Tensor, action_mask: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        return self.greedy(outputs, action_mask, generator)

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        logits = rollout.outputs[..., :-1].flatten(0, 1)  # the request has no target
        return torch.nn.functional.cross_entropy(logits, rollout.tasks.targets.flatten()), {}
