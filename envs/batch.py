"""Thin views of a simulation: E episodes as a Gymnasium VectorEnv, a batch of one as a Gymnasium Env."""

import copy
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, iterate
from torch import Tensor

from almeta.checks import check_value, check_values
from almeta.data.dataset import Dataset
from almeta.envs.simulation import check_memory
from almeta.errors import AlmetaError, did_you_mean
from almeta.learners.learner import Learner, check_learns
from almeta.seeding import make_generator

Info = dict[str, Any]
RenderMode = Literal["rgb_array"]
AutoresetName = Literal["disabled", "next_step", "same_step"]
Autoreset = AutoresetName | AutoresetMode
_RENDERING: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}


class BatchEnv(gym.vector.VectorEnv[Any, np.ndarray, np.ndarray]):
    """E episodes at once. They have equal lengths: they begin and end together, and nothing is truncated.

    Subclasses define what is observed (`_observe`), what `info` holds for evaluation (`_judge`), what actions mean
    (`meaning`) and how an episode is drawn (`_draw`).

    Args:
        simulation: what this is a view of; also an attribute.
        num_envs: its episodes E.
        observation_space: of one episode.
        action_space: of one episode.
        render_mode: "rgb_array" lets `render` draw; None does not.
        autoreset_mode: what follows the last step, as in Gymnasium's own vector environments; a name or a member of
            `gymnasium.vector.AutoresetMode`. "disabled": `reset` must follow. "next_step": the next step begins new
            episodes, whatever the actions are, and its rewards are 0. "same_step": the last step itself begins new
            episodes and returns their first observation; `info` then has `final_obs`, `[E]` objects, and `final_info`,
            what the last step would have returned, with `_final_obs` and `_final_info` `[E]` bool.

    Attributes:
        discount: how much the next step's reward counts now, for agents that learn here.

    Raises:
        AlmetaError: for an unknown mode, or more episodes than memory can hold.
    """

    metadata: dict[str, Any] = _RENDERING | {"autoreset_mode": AutoresetMode.DISABLED}
    meaning = ""  # of the actions, for messages

    def __init__(
        self,
        simulation: Any,
        num_envs: int,
        observation_space: gym.Space[Any],
        action_space: gym.spaces.Discrete,
        render_mode: RenderMode | None = None,
        autoreset_mode: Autoreset = "disabled",
    ) -> None:
        check_value("env.render_mode", render_mode, RenderMode | None)
        if not isinstance(autoreset_mode, AutoresetMode):
            check_value("env.autoreset_mode", autoreset_mode, AutoresetName)
            autoreset_mode = AutoresetMode[autoreset_mode.upper()]
        # The space has bounds for each episode, low and high.
        check_memory(num_envs, 12 * gym.spaces.flatdim(observation_space), torch.device("cpu"))
        self.simulation, self.num_envs, self.render_mode = simulation, num_envs, render_mode
        self._autoreset = autoreset_mode
        self.metadata = copy.deepcopy(self.metadata) | {"autoreset_mode": autoreset_mode}
        self._begins = False  # the next step begins new episodes
        self._randoms: list[np.random.Generator] | None = None  # of the episodes, after a list of seeds
        self._history: list[tuple[Tensor, Any]] = []  # actions and outcomes, for drawing
        self.discount = simulation.discount
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Begin new episodes in the whole batch.

        Args:
            seed: the same seed gives the same episodes, here and in the resets without a seed that follow. A list has
                one seed for each episode, which is then the episode of the single environment with that seed; None in
                it goes on from the episode before. A learner with chance in it draws for the batch as a whole.
            options: `tasks`, to play in place of drawn ones; `reset_mask` `[E]` bool, which must be True everywhere,
                since episodes of equal length begin together.

        Returns:
            Observations and `info`, which has `action_mask`.

        Raises:
            AlmetaError: for an unknown option, and for a list of seeds or a mask that does not fit.
        """
        options = options or {}
        if unknown := sorted(options.keys() - {"tasks", "reset_mask"}):
            raise AlmetaError(did_you_mean(unknown[0], ("tasks", "reset_mask"), "option of reset"))
        whole = np.asarray(options.get("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if whole.shape != (self.num_envs,) or not whole.all():
            raise AlmetaError(
                f"options['reset_mask'] is {whole.tolist()}; all episodes have the same length and begin "
                f"together, so that it must be True {self.num_envs} times, or left out"
            )
        self._seed(seed)
        return self._begin(options.get("tasks"))

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        seeds = np.asarray(seed).tolist()  # of Python numbers, whatever they were
        if seeds is None or isinstance(seeds, int):
            super().reset(seed=seeds)
            self._randoms = self._randoms if seeds is None else None
            return
        if not isinstance(seeds, list) or len(seeds) != self.num_envs:
            raise AlmetaError(f"seed is {seed!r}; give a whole number, or a list of {self.num_envs}, one an episode")
        if self.simulation.group > 1:
            raise AlmetaError(
                f"seed is a list, but with env.group={self.simulation.group} episodes share their task; give one "
                "whole number, or make the environment with group=1"
            )
        before = self._randoms or [np_random()[0] for _ in seeds]
        self._randoms = [old if one is None else np_random(one)[0] for old, one in zip(before, seeds, strict=True)]

    def _begin(self, tasks: Any = None) -> tuple[Any, Info]:
        """Begin new episodes, with generators that are seeded by Gymnasium's."""
        randoms = self._randoms or [self.np_random]
        generators = [make_generator(int(random.integers(2**63)), "env") for random in randoms]
        self.simulation.generator = generators[0]
        self.simulation.reset(tasks, generators if self._randoms else None)
        self._begins, self._history = False, []
        return self._observe()

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Take the actions `[E]`, whole numbers, and return observations, rewards, terminated, truncated and info.

        Raises:
            gymnasium.error.InvalidAction: for other actions.
            gymnasium.error.ResetNeeded: if the episodes have ended or not begun.
        """
        never, simulation = np.zeros(self.num_envs, dtype=bool), self.simulation
        if self._begins:
            observation, info = self._begin()
            return observation, np.zeros(self.num_envs), never, never.copy(), info
        if simulation.finished:
            raise gym.error.ResetNeeded("the episodes have ended or not begun; call reset() before step()")
        actions = self._checked(actions)
        outcome = simulation.step(actions)
        if self.render_mode is not None:
            self._history.append((actions, copy.deepcopy(outcome)))
        reward, terminated = outcome.reward.double().numpy(), never | simulation.finished
        observation, info = self._observe()
        info |= self._judge(outcome)
        if simulation.finished and self._autoreset is AutoresetMode.SAME_STEP:
            observation, info = self._begin_after(observation, info)
        self._begins = simulation.finished and self._autoreset is AutoresetMode.NEXT_STEP
        return observation, reward, terminated, never, info

    def _begin_after(self, observation: Any, info: Info) -> tuple[Any, Info]:
        """Begin new episodes, and return their start with the last observation and `info` of the finished ones."""
        final = np.empty(self.num_envs, dtype=object)
        final[:] = list(iterate(self.observation_space, observation))
        finished = np.ones(self.num_envs, dtype=bool)
        observation, begun = self._begin()
        ended = {"final_obs": final, "_final_obs": finished, "final_info": info, "_final_info": finished.copy()}
        return observation, begun | ended

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return one frame for each episode, uint8 `[H, W, 3]`; None where the render mode is None.

        Raises:
            gymnasium.error.ResetNeeded: if the episodes have not begun.
        """
        if self.render_mode is None:
            return None
        if not hasattr(self.simulation, "tasks"):
            raise gym.error.ResetNeeded("the episodes have not begun; call reset() before render()")
        return tuple(self._draw(e) for e in range(self.num_envs))

    def _observe(self) -> tuple[Any, Info]:
        """Return fresh arrays of what is observed, and `info` with the action mask."""
        raise NotImplementedError

    def _judge(self, outcome: Any) -> Info:
        """Return fresh arrays `[E]` of what `info` holds of a step for evaluation, and not for the policy."""
        raise NotImplementedError

    def _draw(self, e: int) -> np.ndarray:
        """Return a frame of episode `e`, uint8 `[H, W, 3]`."""
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
    """A batch of one without the leading axis.

    Args:
        made: the class of the batch.
        dataset: its second argument, after the number of episodes.
        options: its other arguments.

    Attributes:
        batch: the batch of one.

    Raises:
        AlmetaError: for an option that only a batch has.
    """

    metadata: dict[str, Any] = _RENDERING

    def __init__(self, made: Callable[..., BatchEnv], dataset: Any, options: dict[str, Any]) -> None:
        for name in options.keys() & {"num_envs", "autoreset_mode"}:
            raise AlmetaError(f"{name}={options[name]!r} is for a batch of episodes; make one with gymnasium.make_vec")
        self.batch = batch = made(1, dataset, **options)
        self.render_mode = batch.render_mode
        self.metadata = copy.deepcopy(self.metadata)
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

    def render(self) -> np.ndarray | None:
        """Return a frame of the episode, uint8 `[H, W, 3]`; None where the render mode is None."""
        frames = self.batch.render()
        return None if frames is None else frames[0]


def check_options(made: type[BatchEnv], declared: Any, options: Mapping[str, Any]) -> None:
    """Raise unless the further options of an environment are those that a dataclass declares.

    Suggestions for a misspelt option include the environment's own arguments.

    Raises:
        AlmetaError: naming the option, the value and what may stand there.
    """
    own = dict.fromkeys(inspect.signature(made).parameters.keys() - {"options"}, Any)
    hints = typing.get_type_hints(declared, include_extras=True)
    check_values(options, own | {name: hints[name] for name in inspect.signature(declared).parameters}, "env")


def check_dataset(dataset: Any) -> None:
    """Raise AlmetaError unless this is a data set or may be the name of one."""
    if not isinstance(dataset, str | Dataset):
        raise AlmetaError(f"env.dataset is {dataset!r}; it must be the name of a data set, or an almeta.data.Dataset")


def check_for_classes(datasets: Sequence[Dataset], learner: Learner, wanted_by: str) -> None:
    """Raise AlmetaError unless data sets and learner are of classes, which alone `wanted_by`, "a stream", is for."""
    for dataset in datasets:
        dataset.check_classes(wanted_by)
    check_learns("classes", learner, type(learner).__name__)


def _single(info: Info) -> Info:
    """Return the first episode's part of each array: a Python value where there is one number an episode."""
    return {name: value[0] if value.ndim > 1 else value.item() for name, value in info.items()}


def _first(observation: Any) -> Any:
    """Return the first episode's part of an array or a dictionary of arrays."""
    if isinstance(observation, dict):
        return {name: value[0] for name, value in observation.items()}
    return observation[0]
