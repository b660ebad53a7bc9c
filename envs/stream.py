"""The one-shot stream: for every image, predict its label slot or pay to learn it.

The task of Woodward & Finn, "Active One-shot Learning", arXiv 1702.06559 (2017), section 4.
"""

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Share, Within, check_fields, check_value
from almeta.data import load_dataset
from almeta.data.catalogue import is_shipped
from almeta.data.dataset import Dataset
from almeta.data.rows import sketch
from almeta.envs.batch import Autoreset, BatchEnv, Info, RenderMode, SingleEnv, check_dataset, check_options
from almeta.envs.codes import codes_of, codes_or_images, kept_codes
from almeta.envs.render import Answer, draw_stream
from almeta.envs.simulation import Simulation, check_memory
from almeta.errors import AlmetaError, did_you_mean
from almeta.learners.images import changed_at_random, distorted
from almeta.stream import LOWEST_INCORRECT, Encodes, StreamState, told_price
from almeta.tasks import (
    Script,
    StreamSampler,
    StreamTasks,
    check_square,
    class_margins,
    options_for_streams,
    split_classes,
)


@dataclass(frozen=True)
class StreamRewards:
    """R_req, R_cor and R_inc of the paper.

    Args:
        request: of a request.
        correct: of a correct prediction.
        incorrect: of an incorrect one, at most that of a correct one; or a range [low, high] below 0, of which each
            task draws one, log-uniformly.

    Raises:
        AlmetaError: for a mistake that pays more than a right answer, and another range.
    """

    request: float = -0.05
    correct: float = 1.0
    incorrect: float | list[float] = -1.0

    def __post_init__(self) -> None:
        check_fields(self, "env.reward")
        if isinstance(self.incorrect, list) and not _is_range(self.incorrect):
            raise AlmetaError(
                f"env.reward.incorrect={self.incorrect}; a range has two numbers from {LOWEST_INCORRECT:g} to below 0, "
                "such as [-20, -1]"
            )
        if self.bounds[1] > self.correct:
            raise AlmetaError(
                f"env.reward.incorrect={self.incorrect} is above env.reward.correct={self.correct:g}; a mistake cannot "
                "pay more than a right answer: choose a lower number, such as -5"
            )

    @property
    def drawn(self) -> bool:
        """Whether each task draws R_inc from a range."""
        return isinstance(self.incorrect, list)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest R_inc."""
        several = sorted(self.incorrect) if isinstance(self.incorrect, list) else [self.incorrect] * 2
        return several[0], several[1]

    @classmethod
    def read(cls, reward: Mapping[str, Any] | None) -> "StreamRewards":
        """Return the rewards of an option `reward`, with the defaults where it says nothing.

        Raises:
            AlmetaError: for an unknown reward, or one that is no number.
        """
        for name in reward or {}:
            if name not in cls.__annotations__:
                raise AlmetaError(did_you_mean(name, cls.__annotations__, "reward"))
        return cls(**(reward or {}))


def _is_range(numbers: list[float]) -> bool:
    return len(numbers) == 2 and all(LOWEST_INCORRECT <= number < 0 for number in numbers)


@dataclass(frozen=True)
class StreamOutcome:
    """What one step brought: all tensors are `[E]`.

    Attributes:
        reward: float32.
        correct: bool, whether the right slot was predicted.
        requested: bool, whether the label was requested.
        invalid: bool, whether the action was not allowed; it brings a request's reward and reveals nothing.
    """

    reward: Tensor
    correct: Tensor
    requested: Tensor
    invalid: Tensor


@dataclass(frozen=True)
class StreamOptions:
    """The options of the one-shot stream.

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
        max_requests: requests that are allowed in an episode; None for no limit.
        group: episodes per task; they are neighbours and see the same stream.
        tells_price: tell the agent the reward of an incorrect prediction, too.
        margin_candidates: streams that are drawn for each one that is played: the one whose classes are hardest to
            tell apart, see `StreamSimulation`; 1 for plain drawing.
        stickiness: chance that a step shows the class of the step before once more; the others are drawn from the
            images that are left. A range [low, high] draws it anew in each episode; 0 is the paper's random order.
        sticky_share: share of the episodes that are sticky; the others have the random order.
        distort: share of the images, drawn anew at each step, that are turned, stretched, sheared and shifted a
            little, see `almeta.learners.images.distorted`; of streams that are drawn, not of those that are given.

    Raises:
        AlmetaError: for an option that is out of range.
    """

    kind: ClassVar[str] = "stream"

    classes: Count = 3
    slots: Count | None = None
    length: Count = 30
    rotations: bool = True
    script: Script | None = None
    reward: dict[str, float | list[float]] | None = None
    discount: Share = 0.5
    reveal: Literal["requested", "always"] = "requested"
    max_requests: Annotated[int, Within(0)] | None = None
    group: Count = 1
    tells_price: bool = False
    margin_candidates: Count = 1
    stickiness: float | list[float] = 0.0
    sticky_share: Share = 1.0
    distort: Share = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "env")
        low, high = self.stickiness_range
        if not 0 <= low <= high <= 1:
            raise AlmetaError(
                f"env.stickiness={self.stickiness}; a chance is between 0 and 1, and a range has two, the lower "
                "first, such as [0, 0.9]"
            )
        if high and self.script is not None:
            raise AlmetaError(
                f"env.script orders the classes, so that env.stickiness={self.stickiness} has no effect; leave one out"
            )
        if self.sticky_share < 1 and not high:
            raise AlmetaError(
                f"env.sticky_share={self.sticky_share:g} has no effect without a stickiness; set it to 1, or "
                "env.stickiness, such as [0.9, 0.97]"
            )
        rewards = self.rewards  # which check themselves
        if self.tells_price and not LOWEST_INCORRECT <= rewards.bounds[0] <= rewards.bounds[1] <= 0:
            raise AlmetaError(
                f"env.tells_price=true tells numbers from {LOWEST_INCORRECT:g} to 0, and env.reward.incorrect is "
                f"{rewards.incorrect}"
            )

    @property
    def stickiness_range(self) -> tuple[float, float]:
        """The lowest and the highest stickiness; (nan, nan) for a list that is no range."""
        several = self.stickiness if isinstance(self.stickiness, list) else [self.stickiness] * 2
        return (several[0], several[1]) if len(several) == 2 else (float("nan"), float("nan"))

    @property
    def rewards(self) -> StreamRewards:
        """The rewards of a request, of a correct and of an incorrect prediction."""
        return StreamRewards.read(self.reward)


class StreamSimulation(Simulation):
    """E one-shot streams at once, on tensors.

    With `margin_candidates` M above 1 the streams that are drawn, not those that are given, are hard ones: class margin
    sampling, after Kvistad, Ruocco, de Souza da Silva & Aune 2019 (arXiv 1909.01757), who choose the classes that
    make the hardest episode from a pool of classes, for training alone. Here M streams are drawn for each one that is
    played, and the one with the smallest margin is kept: the smallest distance between the mean codes of two of its
    classes, in their rotations, over the images that the stream shows, before any is distorted. Codes are those of the
    actor that is expected, by its image encoder as it is now; an actor without one, or nobody, has the images
    themselves. A public implementation reads how hard a class is from the network's highest utility for its first
    images instead; distances need no step of the network, and serve any actor.

    Args:
        dataset: images of the classes to be shown.
        options: None for the defaults.
        num_envs: episodes run in parallel E.
        generator: draws the streams; images and streams lie on its device.

    Attributes:
        num_slots: label slots S; actions 0 .. S-1 predict a slot, action S requests.
        block_rewards: those of equal blocks of the episodes, one after the other; one alone is that of all.
        tasks: the streams being played.
        incorrect: `[E]` float32, the reward of an incorrect prediction in each of them.

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
        self.dataset, self.options = dataset, options or StreamOptions()
        options = self.options
        super().__init__(num_envs, generator, options.group)
        if options.distort:
            check_square(dataset, "distort; set env.distort=0")
        self.sampler = StreamSampler(
            dataset,
            options.classes,
            options.slots or options.classes,
            options.length,
            options.rotations,
            options.script,
            self.generator.device,
            options.stickiness_range,
            options.sticky_share,
        )
        memory = options.margin_candidates * self.sampler.bytes_per_task
        if options.distort:
            memory += 4 * self.sampler.length * self.num_pixels  # the images of all steps
        check_memory(num_envs, memory, self.generator.device)
        self.rewards, self.discount, self.reveal = options.rewards, options.discount, options.reveal
        self.block_rewards: Sequence[StreamRewards] = [options.rewards]
        self.max_requests = 0 if options.reveal == "always" else options.max_requests
        self.num_slots, self.length = self.sampler.num_slots, self.sampler.length
        self.time = self.length
        self.tasks: StreamTasks
        self.incorrect: Tensor
        self._distorted: Tensor | None = None  # all images `[T, E, P]`, where some are
        self._items: tuple[Tensor, ...] | None = None
        self._actor: Any = None

    @property
    def num_pixels(self) -> int:
        """Numbers in an image, P."""
        return self.sampler.images.shape[1]

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """The name of the data set, a digest of the classes that are shown, and a sketch of their images."""
        rows = {self.dataset.name: " ".join(sketch(self.dataset))}
        return {"datasets": [self.sampler.name], "digest": self.sampler.classes, "rows": rows}

    @property
    def images(self) -> Tensor:
        """All images of the streams being played, `[T, E, P]` float32: for encoders, never for memories."""
        return self.shown(slice(None))

    def shown(self, time: int | slice, episode: int | slice = slice(None)) -> Tensor:
        """Return the images of some steps and episodes, `[..., P]` float32."""
        if self._distorted is None:
            return self.sampler.images[self.tasks.items[time, episode]]
        return self._distorted[time, episode]

    @property
    def target(self) -> Tensor:
        """The true slots `[E]` of the current images."""
        return self._targets[self.time]

    def expect(self, actor: Any) -> None:
        """Draw by the codes of this actor from here on, if there are candidates to choose from."""
        self._actor = actor

    def show_to(self, actor: Any) -> None:
        """Encode the images of all steps if the actor does so; states hold their codes from here on."""
        if not isinstance(actor, Encodes):
            return
        if actor.encoder_version is None:
            items = actor.encode(self.images)
        elif self._distorted is not None:  # a group sees the same images: they are encoded once
            items = codes_of(actor, self._distorted[:, :: self.group]).repeat_interleave(self.group, 1)
        else:
            items = kept_codes(actor, self.sampler.images, self.tasks.items)
        # unbind, not items[time]: the gradient of an index is a tensor of zeros as large as all steps together.
        self._items = items.unbind()

    def scripted(self, script: Script) -> "StreamSimulation":
        """Return a simulation on the same images, not copied, whose streams follow a script."""
        other = copy.copy(self)
        other.sampler = self.sampler.scripted(script)
        other.length = other.time = other.sampler.length
        return other

    def reset(
        self, tasks: StreamTasks | None = None, generators: Sequence[torch.Generator] | None = None
    ) -> StreamState:
        self._distorted = None
        if tasks is None:
            tasks = self._draw_tasks(generators or [self.generator])
            if self.options.distort:
                self._distorted = self._distort(tasks, generators or [self.generator])
        elif tasks.items.shape != (self.length, self.num_envs // self.group):
            shape = [self.length, self.num_envs // self.group]
            raise ValueError(f"the streams given are [T, E / group] = {list(tasks.items.shape)}; here they are {shape}")
        self.tasks, self.time, self._items = tasks.repeat(self.group), 0, None
        self._request, self._correct, self.incorrect = self._draw_rewards(generators or [self.generator])
        self._targets = self.tasks.targets.unbind()
        images = self.sampler.images  # everything lies on their device
        self._requests = images.new_zeros(self.num_envs, dtype=torch.int64)
        self._start = images.new_ones(self.num_envs, dtype=torch.bool)
        self._label = images.new_zeros(self.num_envs, self.num_slots)
        self._mask = images.new_ones(self.num_envs, self.num_slots + 1, dtype=torch.bool)
        self._mask[:, -1] = self.max_requests != 0
        return self.state()

    def _draw_tasks(self, generators: Sequence[torch.Generator]) -> StreamTasks:
        """Return the E / group streams that are played: of each `margin_candidates` neighbours the hardest."""
        candidates = self.options.margin_candidates
        each = self.num_envs // self.group // len(generators) * candidates
        tasks = StreamTasks.join([self.sampler.draw(each, one) for one in generators])
        if candidates == 1:
            return tasks
        codes = codes_or_images(self._actor, self.sampler.images, tasks.items)
        margins = class_margins(codes, tasks.targets, self.num_slots).view(-1, candidates)  # [E / group, M]
        first = torch.arange(0, margins.numel(), candidates, device=margins.device)
        return tasks.only(first + margins.argmin(1))

    def _distort(self, tasks: StreamTasks, generators: Sequence[torch.Generator]) -> Tensor:
        """Return the images of streams that were drawn, a share of them distorted, `[T, E, P]` float32."""
        parts = []
        for items, generator in zip(tasks.items.chunk(len(generators), 1), generators, strict=True):
            images = self.sampler.images[items.flatten()]
            images = changed_at_random(images, self.options.distort, distorted, generator)
            parts.append(images.view(*items.shape, -1))
        return torch.cat(parts, 1).repeat_interleave(self.group, 1)

    def _draw_rewards(self, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor, Tensor]:
        """Return R_req, R_cor and R_inc of each episode, all `[E]` float32; R_inc is drawn where it is a range."""
        each = self.num_envs // len(self.block_rewards)
        told = [(one.request, one.correct, *one.bounds) for one in self.block_rewards]
        request, correct, low, high = self.sampler.images.new_tensor(told).repeat_interleave(each, 0).unbind(-1)
        if not any(one.drawn for one in self.block_rewards):
            return request, correct, low
        number = self.num_envs // self.group // len(generators)
        luck = torch.cat([torch.rand(number, generator=one, device=low.device) for one in generators])
        incorrect = low * (high / low) ** luck.repeat_interleave(self.group)
        return request, correct, torch.where(low == high, low, incorrect)

    def state(self) -> StreamState:
        """Return what may be known now; after the last step the last image stays."""
        row = min(self.time, self.length - 1)
        item = self.shown(row) if self._items is None else self._items[row]
        return StreamState(item, self._label, self._mask, self._start if self.time == 0 else None, self.incorrect)

    def step(self, action: Tensor) -> StreamOutcome:
        """Answer the current image with `action` `[E]` int64 and move on to the next one."""
        if self.finished:
            raise RuntimeError("the streams have ended; call reset() before the next step()")
        asked, correct = action == self.num_slots, action == self.target
        reward = torch.where(correct, self._correct, torch.where(asked, self._request, self.incorrect))
        if self.max_requests is None:
            requested, invalid = asked, torch.zeros_like(asked)
        else:
            requested = asked & (self._requests < self.max_requests)
            invalid = asked & ~requested
            self._requests = self._requests + requested
            self._mask = self._mask.clone()
            self._mask[:, -1] = self._requests < self.max_requests
        shown = torch.ones_like(asked) if self.reveal == "always" else requested
        self._label = torch.nn.functional.one_hot(self.target, self.num_slots) * shown[:, None].float()
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


# Two are kept: a process usually has a training and an evaluation environment.
@functools.lru_cache(maxsize=2, typed=True)  # 1 is one class, 1.0 would be all of them
def _part(dataset: str | Dataset, train_classes: int | float, split_seed: int, part: Part) -> Dataset:
    """Return the classes to show, loaded once for all environments that show them."""
    if part not in ("train", "test", "all"):
        raise AlmetaError(did_you_mean(part, ("train", "test", "all"), "part"))
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, **options_for_streams(dataset))
    if dataset.kind != "text" and (dataset.x.min() < 0 or dataset.x.max() > 1):
        raise AlmetaError(
            f"data set '{dataset.name}' has values from {dataset.x.min():g} to {dataset.x.max():g}; "
            f"a stream shows values in [0, 1]"
        )
    if dataset.test_rows is not None:
        raise AlmetaError(
            f"data set '{dataset.name}' has a fixed test set, and a stream has none: it shows all images of a class; "
            f"load it without test= and split="
        )
    if part == "all":
        return dataset
    train, test = split_classes(dataset, train_classes, split_seed)
    return train if part == "train" else test


class OneShotStreamVectorEnv(BatchEnv):
    """E one-shot streams at once: `gym.make_vec("almeta:almeta/OneShotStream-v0", num_envs=50)`.

    An action 0 .. S-1 predicts the label slot of the current image, action S requests its label. An observation is
    `[E, S + P]` float32 in [0, 1]: the previous image's label slot one-hot if it was revealed, else zeros; then the
    current image. With `tells_price=True` one more number tells R_inc, see `almeta.stream.told_price`. The last
    observation holds the last label, if it was revealed, and the last image again. Nothing is truncated: all episodes
    terminate together after T steps.

    `info["action_mask"]` `[E, S + 1]` int8 says which actions are allowed now. A request that is not allowed brings a
    request's reward and reveals nothing. For evaluation, and not for the policy, `info` has after a step, of the image
    just answered: `correct`, `requested`, `invalid_action` (all `[E]` bool) and `instance` (`[E]` int64), 1 for the
    first image of its class in the episode, 2 for the second, ...

    A frame shows the image just answered with the answer and, if it was revealed, its label slot; the next image; and
    the rewards so far.

    Args:
        num_envs: episodes run in parallel E.
        dataset: a name for `load_dataset`, or the data set itself; values in [0, 1].
        train_classes: the number of its classes that are for training, or their share in (0, 1).
        split_seed: chooses the split of the classes.
        part: which classes are shown: "train", "test" or "all".
        render_mode: "rgb_array" lets `render` draw; None does not.
        autoreset_mode: "disabled", "next_step" or "same_step", see `BatchEnv`.
        **options: those of `StreamOptions`, such as `classes`, `length`, `reward`, `max_requests`.

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
        # The rows behind any other name may have changed.
        kept = not isinstance(dataset, str) or is_shipped(dataset)
        shown = (_part if kept else _part.__wrapped__)(dataset, train_classes, split_seed, part)
        simulation = StreamSimulation(shown, StreamOptions(**options), num_envs)
        self._shape = shown.image_shape or (1, simulation.num_pixels)
        self.num_slots = simulation.num_slots
        self.meaning = f"{self.num_slots} requests the label, a lower number predicts that slot"
        width = self.num_slots + simulation.num_pixels + simulation.options.tells_price
        observed = gym.spaces.Box(0.0, 1.0, (width,), np.float32)
        actions = gym.spaces.Discrete(self.num_slots + 1)
        super().__init__(simulation, num_envs, observed, actions, render_mode, autoreset_mode)

    def _observe(self) -> tuple[np.ndarray, Info]:
        state = self.simulation.state()
        told = [told_price(state.incorrect)[:, None]] if self.simulation.options.tells_price else []
        observation = torch.cat((state.label, state.item, *told), dim=1).numpy()
        return observation, {"action_mask": state.action_mask.to(torch.int8).numpy()}

    def _judge(self, outcome: StreamOutcome) -> Info:
        instances = self.simulation.tasks.instances[self.simulation.time - 1]
        return {
            "correct": outcome.correct.numpy(),
            "requested": outcome.requested.numpy(),
            "invalid_action": outcome.invalid.numpy(),
            "instance": instances.numpy().copy(),
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
        images = simulation.shown(slice(max(time - 1, 0), time + 1), e).view(-1, *self._shape).numpy()
        rewards = [float(outcome.reward[e]) for _, outcome in self._history]
        return draw_stream(images, answer, rewards, simulation.length)


class OneShotStreamEnv(SingleEnv):
    """One one-shot stream: `gym.make("almeta:almeta/OneShotStream-v0")`.

    A thin view of `OneShotStreamVectorEnv` with one episode; everything is explained there. The leading axis is
    missing; rewards, `terminated`, `truncated` and most of `info` are Python values.

    Args:
        dataset: a name for `load_dataset`, or the data set itself; values in [0, 1].
        **options: the others of `OneShotStreamVectorEnv`.
    """

    def __init__(self, dataset: str | Dataset = "characters", **options: Any) -> None:
        super().__init__(OneShotStreamVectorEnv, dataset, options)
        self.num_slots = self.batch.simulation.num_slots
