"""The one-shot stream: for every image, predict its label slot or pay to be told it.

The task of Woodward & Finn, "Active One-shot Learning", arXiv 1702.06559 (2017), section 4. It exists once,
as `StreamSimulation` on tensors with a leading axis E; `OneShotStreamVectorEnv` is that batch as a Gymnasium
VectorEnv, `OneShotStreamEnv` a batch of one as a Gymnasium Env.
"""

import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Share, Within, check_arguments, check_value
from almeta.data import load_dataset
from almeta.data.dataset import Dataset
from almeta.data.rows import sketch
from almeta.envs.batch import Autoreset, BatchEnv, Info, RenderMode, SingleEnv, check_dataset, check_options
from almeta.envs.codes import kept_codes
from almeta.envs.render import Answer, draw_stream
from almeta.envs.simulation import Simulation, check_memory
from almeta.errors import AlmetaError, did_you_mean
from almeta.seeding import make_generator
from almeta.stream import Encodes, StreamState
from almeta.tasks import Script, StreamSampler, StreamTasks, split_classes


@dataclass(frozen=True)
class StreamRewards:
    """R_req, R_cor and R_inc of the paper."""

    request: float = -0.05
    correct: float = 1.0
    incorrect: float = -1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise AlmetaError(f"env.reward.{name} is {value!r}; a reward is a finite number")


@dataclass(frozen=True)
class StreamOutcome:
    """What one step brought, for whoever judges: all tensors `[E]`.

    Attributes:
        reward: float32.
        correct: bool, the right slot was predicted.
        requested: bool, the label was requested.
        invalid: bool, the action was not allowed; it brings a request's reward and reveals nothing.
    """

    reward: Tensor
    correct: Tensor
    requested: Tensor
    invalid: Tensor


@dataclass(frozen=True)
class StreamOptions:
    """The options of the one-shot stream, as `conf/env/one_shot.yaml` explains them.

    Args:
        classes: classes per episode.
        slots: label slots S; None for as many as classes.
        length: steps per episode T.
        rotations: rotate each class by a multiple of 90 degrees, drawn per episode.
        script: runs `[class, count]` in place of a random order.
        reward: `request`, `correct`, `incorrect`; the defaults of `StreamRewards` where left out.
        discount: how much the next step's reward counts now, for agents that learn here.
        reveal: "requested" reveals a label when it was requested; "always" reveals each label one step later
            and forbids the request, as in supervised one-shot learning.
        max_requests: after this many requests in an episode the action is no longer allowed; None for no limit.
        group: episodes per task; they are neighbours and see the same stream.

    Raises:
        AlmetaError: for an option that is out of range.
    """

    kind: ClassVar[str] = "stream"

    classes: Count = 3
    slots: Count | None = None
    length: Count = 30
    rotations: bool = True
    script: Script | None = None
    reward: dict[str, float] | None = None
    discount: Share = 0.5
    reveal: Literal["requested", "always"] = "requested"
    max_requests: Annotated[int, Within(0)] | None = None
    group: Count = 1

    def __post_init__(self) -> None:
        check_arguments(StreamOptions, vars(self), "env")
        self.rewards  # noqa: B018  (wrong ones are told at once)

    @property
    def rewards(self) -> StreamRewards:
        """What a request, a correct and an incorrect prediction bring."""
        reward = self.reward or {}
        for name in reward:
            if name not in StreamRewards.__annotations__:
                raise AlmetaError(did_you_mean(name, StreamRewards.__annotations__, "reward"))
        return StreamRewards(**reward)


class StreamSimulation(Simulation):
    """E one-shot streams at once, on tensors.

    Args:
        dataset: images of the classes to be shown.
        options: see `StreamOptions`.
        num_envs: episodes run in parallel E.
        generator: draws the streams; images and streams lie on its device.

    Attributes:
        num_slots: label slots S; actions 0 .. S-1 predict a slot, action S requests.
        tasks: the streams being played.

    Raises:
        AlmetaError: for options that do not fit the data set, or `num_envs`.
    """

    kind = "stream"

    def __init__(
        self,
        dataset: Dataset,
        options: StreamOptions | None = None,
        num_envs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_envs, generator or make_generator(0, "env"))
        self.dataset, self.options = dataset, options or StreamOptions()
        options = self.options
        check_value("num_envs", num_envs, Count)
        if num_envs % options.group:
            raise AlmetaError(f"num_envs={num_envs} is no multiple of env.group={options.group}, the episodes per task")
        self.sampler = StreamSampler(
            dataset,
            options.classes,
            options.slots or options.classes,
            options.length,
            options.rotations,
            options.script,
            self.generator.device,
        )
        check_memory(num_envs, self.sampler.bytes_per_task, self.generator.device)
        self.rewards, self.discount, self.reveal = options.rewards, options.discount, options.reveal
        self.max_requests = 0 if options.reveal == "always" else options.max_requests
        self.group = options.group
        self.num_slots, self.length = self.sampler.num_slots, self.sampler.length
        self.time = self.length
        self.tasks: StreamTasks
        self._items: tuple[Tensor, ...] | None = None

    @property
    def num_pixels(self) -> int:
        """Numbers in an image, P."""
        return self.sampler.images.shape[1]

    @property
    def identity(self) -> dict[str, Any]:
        """The name of the data set, a digest of the classes that are shown, and a sketch of their images."""
        return {"datasets": [self.sampler.name], "digest": self.sampler.classes, "rows": self._sketches}

    @functools.cached_property
    def _sketches(self) -> dict[str, str]:
        return {self.dataset.name: " ".join(sketch(self.dataset))}

    @property
    def images(self) -> Tensor:
        """All images of the streams being played, `[T, E, P]` float32: for encoders, never for memories."""
        return self.sampler.images[self.tasks.items]

    @property
    def target(self) -> Tensor:
        """The true slots `[E]` of the current images."""
        return self._targets[self.time]

    def show_to(self, actor: Any) -> None:
        """Encode the images of all steps, if the actor does so; states hold their codes from here on."""
        if isinstance(actor, Encodes):
            # unbind, not items[time]: the gradient of an index is a tensor of zeros as large as all steps together.
            self._items = self._encoded(actor).unbind()

    def _encoded(self, actor: Encodes) -> Tensor:
        """Return the encoded images `[T, E, F]`."""
        if actor.encoder_version is None:
            return actor.encode(self.images)
        return kept_codes(actor, self.sampler.images, self.tasks.items)

    def scripted(self, script: Script) -> "StreamSimulation":
        """Return a simulation on the same images, not copied, whose streams follow a script."""
        other = copy.copy(self)
        other.sampler = self.sampler.scripted(script)
        other.length = other.time = other.sampler.length
        return other

    def reset(
        self, tasks: StreamTasks | None = None, generators: Sequence[torch.Generator] | None = None
    ) -> StreamState:
        """Begin new streams, and return what is known at the first step.

        Args:
            tasks: E streams; None to draw them.
            generators: one for each task, which draws it; None for `generator`.
        """
        device = self.sampler.images.device
        if tasks is None:
            generators = generators or [self.generator]
            each = self.num_envs // self.group // len(generators)
            tasks = StreamTasks.join([self.sampler.draw(each, one) for one in generators]).repeat(self.group)
        elif tasks.items.shape != (self.length, self.num_envs):
            raise ValueError(
                f"the streams given are [T, E] = {list(tasks.items.shape)}; "
                f"here they are {[self.length, self.num_envs]}"
            )
        self.tasks = tasks
        self.time = 0
        self._items = None
        self._targets = tasks.targets.unbind()
        self._requests = torch.zeros(self.num_envs, dtype=torch.int64, device=device)
        self._start = torch.ones(self.num_envs, dtype=torch.bool, device=device)
        self._label = torch.zeros(self.num_envs, self.num_slots, device=device)
        self._mask = torch.ones(self.num_envs, self.num_slots + 1, dtype=torch.bool, device=device)
        if self.max_requests == 0:
            self._mask[:, -1] = False
        return self.state()

    def state(self) -> StreamState:
        """Return what may be known now; after the last step the last image stays."""
        row = min(self.time, self.length - 1)
        item = self.sampler.images[self.tasks.items[row]] if self._items is None else self._items[row]
        return StreamState(item, self._label, self._mask, self._start if self.time == 0 else None)

    def step(self, action: Tensor) -> StreamOutcome:
        """Answer the current image with `action` `[E]` int64 and move on to the next one."""
        if self.finished:
            raise RuntimeError("the streams have ended; call reset() before the next step()")
        target = self.target
        asked = action == self.num_slots
        correct = action == target
        rewards = self.rewards
        reward = torch.where(correct, rewards.correct, torch.where(asked, rewards.request, rewards.incorrect))
        reward = reward.float()  # they may all be whole numbers
        if self.max_requests is None:
            requested, invalid = asked, torch.zeros_like(asked)
        else:
            requested = asked & (self._requests < self.max_requests)
            invalid = asked & ~requested
            self._requests = self._requests + requested
            self._mask = self._mask.clone()
            self._mask[:, -1] = self._requests < self.max_requests
        shown = torch.ones_like(asked) if self.reveal == "always" else requested
        self._label = torch.nn.functional.one_hot(target, self.num_slots) * shown[:, None].float()
        self.time += 1
        return StreamOutcome(reward, correct, requested, invalid)

    def scalars(self, rollout: Any) -> dict[str, Tensor]:
        """Return mean return, accuracy over all steps and request rate."""
        return {
            "mean_return": rollout.rewards.sum(0).mean(),
            "accuracy": (rollout.actions == rollout.targets).float().mean(),
            "request_rate": (rollout.actions == self.num_slots).float().mean(),
        }


Part = Literal["train", "test", "all"]


# The last two: a training and an evaluation environment of one process are the usual case.
@functools.lru_cache(maxsize=2, typed=True)  # 1 is one class, 1.0 would be all of them
def _part(dataset: str | Dataset, train_classes: int | float, split_seed: int, part: Part) -> Dataset:
    """Return the classes to be shown, once for all environments that show them."""
    if part not in ("train", "test", "all"):
        raise AlmetaError(did_you_mean(part, ("train", "test", "all"), "part"))
    if isinstance(dataset, str):
        dataset = load_dataset(dataset)
    if dataset.x.min() < 0 or dataset.x.max() > 1:
        raise AlmetaError(
            f"data set '{dataset.name}' has values from {dataset.x.min():g} to {dataset.x.max():g}; "
            f"a stream shows values in [0, 1]"
        )
    if part == "all":
        return dataset
    train, test = split_classes(dataset, train_classes, split_seed)
    return train if part == "train" else test


class OneShotStreamVectorEnv(BatchEnv):
    """E one-shot streams at once: `gym.make_vec("almeta:almeta/OneShotStream-v0", num_envs=50)`.

    An action 0 .. S-1 predicts the label slot of the current image, action S requests its label. An
    observation is `[E, S + P]` float32 in [0, 1]: the previous image's label slot one-hot if it was revealed,
    else zeros; then the current image. There is no image after the last one: the last observation holds the
    last label, if it was revealed, and the last image again. Nothing is truncated: all episodes terminate
    together after T steps, and the next call must be `reset`, unless `autoreset_mode` says otherwise.

    A frame shows the image just answered with the answer and, if it was revealed, its label slot; the image to be
    answered next; and the rewards so far.

    `info["action_mask"]` `[E, S + 1]` int8 says which actions are allowed now. A request that is not allowed
    brings a request's reward and reveals nothing. After a step `info` also tells of the image just answered,
    for the judge and not for the policy: `correct`, `requested`, `invalid_action` (all `[E]` bool) and
    `instance` (`[E]` int64), 1 for the first image of its class in the episode, 2 for the second, ...

    Args:
        num_envs: episodes run in parallel E.
        dataset: a name for `load_dataset`, or the data set itself; values in [0, 1].
        train_classes: how many of its classes are for training, or their share as a fraction in (0, 1).
        split_seed: names the split of the classes.
        part: which classes are shown: "train", "test" or "all".
        render_mode: "rgb_array" lets `render` draw; None does not.
        autoreset_mode: "disabled", "next_step" or "same_step", see `BatchEnv`.
        **options: those of `StreamOptions`, such as `classes`, `length`, `reward`, `max_requests`.

    Attributes:
        simulation: what this is a view of.
        discount: how much the next step's reward counts now, for agents that learn here.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str | Dataset = "characters",
        train_classes: int | float = 0.75,
        split_seed: int = 0,
        part: Part = "train",
        render_mode: RenderMode | None = None,
        autoreset_mode: Autoreset = "disabled",
        **options: Any,
    ) -> None:
        check_options(OneShotStreamVectorEnv, StreamOptions, options)
        check_dataset(dataset)
        check_value("env.train_classes", train_classes, int | float)
        check_value("env.split_seed", split_seed, int)
        check_value("env.part", part, str)
        shown = _part(dataset, train_classes, split_seed, part)
        self._shape = shown.image_shape or (1, -1)
        simulation = StreamSimulation(shown, StreamOptions(**options), num_envs)
        self.num_slots = simulation.num_slots
        self.meaning = f"{self.num_slots} requests the label, a lower number predicts that slot"
        size = self.num_slots + simulation.num_pixels
        observed = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        actions = gym.spaces.Discrete(self.num_slots + 1)
        super().__init__(simulation, num_envs, observed, actions, render_mode, autoreset_mode)

    def _observe(self) -> tuple[np.ndarray, Info]:
        state = self.simulation.state()
        observation = torch.cat((state.label, state.item), dim=1).numpy()
        return observation, {"action_mask": state.action_mask.to(torch.int8).numpy()}

    def _judge(self, outcome: StreamOutcome) -> Info:
        answered = self.simulation.time - 1
        return {
            "correct": outcome.correct.numpy(),
            "requested": outcome.requested.numpy(),
            "invalid_action": outcome.invalid.numpy(),
            "instance": self.simulation.tasks.instances[answered].numpy().copy(),
        }

    def _draw(self, e: int) -> np.ndarray:
        simulation, time = self.simulation, self.simulation.time
        answer = None
        if self._history:
            actions, outcome = self._history[-1]
            label = simulation.state().label[e]
            answer = Answer(
                None if actions[e] == self.num_slots else int(actions[e]),
                bool(outcome.correct[e]),
                int(label.argmax()) if label.any() else None,
            )
        rows = simulation.tasks.items[max(time - 1, 0) : time + 1, e]
        images = simulation.sampler.images[rows].view(-1, *self._shape).numpy()
        rewards = [float(outcome.reward[e]) for _, outcome in self._history]
        return draw_stream(images, answer, rewards, simulation.length)


class OneShotStreamEnv(SingleEnv):
    """One one-shot stream: `gym.make("almeta:almeta/OneShotStream-v0")`.

    A thin view of `OneShotStreamVectorEnv` with one episode; everything is explained there. Here the leading
    axis is missing; the reward, `terminated`, `truncated` and what `info` tells the judge are Python values.

    Args:
        dataset: a name for `load_dataset`, or the data set itself; values in [0, 1].
        **options: the others of `OneShotStreamVectorEnv`.

    Raises:
        AlmetaError: for values that do not fit the data set or each other.
    """

    def __init__(self, dataset: str | Dataset = "characters", **options: Any) -> None:
        super().__init__(OneShotStreamVectorEnv, dataset, options)
        self.num_slots = self.batch.simulation.num_slots
