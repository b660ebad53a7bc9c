"""A simulation of E episodes as a Gymnasium VectorEnv, and a batch of one as a Gymnasium Env: thin views, no more."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from almeta.errors import did_you_mean
from almeta.seeding import make_generator

Info = dict[str, Any]


class BatchEnv(gym.vector.VectorEnv[Any, np.ndarray, np.ndarray]):
    """E episodes at once. They have equal lengths: they begin and end together, and nothing is truncated.

    Subclasses say what is observed (`_observe`), what the judge is told (`_judge`) and what actions mean.

    Args:
        simulation: what this is a view of.
        num_envs: its episodes E.
        observation_space: of one episode.
        action_space: of one episode.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}
    meaning = ""  # of the actions, for messages

    def __init__(
        self,
        simulation: Any,
        num_envs: int,
        observation_space: gym.Space[Any],
        action_space: gym.spaces.Discrete,
    ) -> None:
        self.simulation, self.num_envs = simulation, num_envs
        self.discount = simulation.discount
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Begin new episodes in the whole batch.

        Args:
            seed: the same seed gives the same episodes, here and in the resets without a seed that follow.
            options: `tasks`, those to play (of this environment's sampler) in place of drawn ones; `reset_mask` `[E]`
                bool, which must be True everywhere, since episodes of equal length begin together.

        Returns:
            Observations and `info`, with `action_mask` in it.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := sorted(options.keys() - {"tasks", "reset_mask"}):
            raise ValueError(did_you_mean(unknown[0], ("tasks", "reset_mask"), "option of reset"))
        whole = np.asarray(options.get("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if whole.shape != (self.num_envs,) or not whole.all():
            raise ValueError(
                f"options['reset_mask'] is {whole.tolist()}; all episodes have the same length and begin "
                f"together, so that it must be True {self.num_envs} times, or left out"
            )
        # Gymnasium's generator is the one whose state counts.
        self.simulation.generator = make_generator(int(self.np_random.integers(2**63)), "env")
        self.simulation.reset(options.get("tasks"))
        return self._observe()

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Take the actions `[E]`, whole numbers.

        Returns:
            Observations, rewards, terminated, truncated, info.

        Raises:
            gymnasium.error.InvalidAction: for anything else.
            gymnasium.error.ResetNeeded: if the episodes have ended or not begun.
        """
        simulation = self.simulation
        if simulation.finished:
            raise gym.error.ResetNeeded("the episodes have ended or not begun; call reset() before step()")
        outcome = simulation.step(self._checked(actions))
        observation, info = self._observe()
        info |= self._judge(outcome)
        terminated = np.full(self.num_envs, simulation.finished)
        return observation, outcome.reward.double().numpy(), terminated, np.zeros_like(terminated), info

    def _observe(self) -> tuple[Any, Info]:
        """Return fresh arrays of what is observed, and `info` with the action mask."""
        raise NotImplementedError

    def _judge(self, outcome: Any) -> Info:
        """Return fresh arrays `[E]` of what the judge is told of a step, and the policy is not."""
        raise NotImplementedError

    def _checked(self, actions: Any) -> Tensor:
        actions = np.asarray(actions)
        last = int(self.single_action_space.n) - 1  # type: ignore[attr-defined]
        whole = actions.shape == (self.num_envs,) and actions.dtype.kind in "iu"
        if not whole or actions.min() < 0 or actions.max() > last:
            raise gym.error.InvalidAction(
                f"{actions.tolist()} is not {self.num_envs} of the whole numbers 0 to {last} ({self.meaning})"
            )
        return torch.as_tensor(actions.astype(np.int64))


class SingleEnv(gym.Env[Any, np.int64]):
    """A batch of one: the leading axis is missing; rewards, `terminated` and what the judge is told are Python values.

    Attributes:
        batch: the batch of one.
    """

    def __init__(self, batch: BatchEnv) -> None:
        self.batch = batch
        self.observation_space = batch.single_observation_space
        self.action_space = batch.single_action_space
        self.discount = batch.discount

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.batch.np_random = self.np_random  # one generator for both views
        observation, info = self.batch.reset(options=options)
        return _first(observation), _single(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        observation, reward, terminated, truncated, info = self.batch.step([action])
        return _first(observation), reward.item(), terminated.item(), truncated.item(), _single(info)


def _single(info: Info) -> Info:
    """The first episode's part of each array: a Python value where there is one number an episode."""
    return {name: value[0] if value.ndim > 1 else value.item() for name, value in info.items()}


def _first(observation: Any) -> Any:
    """The first episode's part of an array or a dictionary of arrays."""
    if isinstance(observation, dict):
        return {name: value[0] for name, value in observation.items()}
    return observation[0]
