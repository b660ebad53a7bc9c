"""Networks of one's own: any torch.nn.Module as a learner, trained episode by episode."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from almeta.checks import Count, Positive, Weight, unwrapped
from almeta.errors import AlmetaError
from almeta.learners.learner import Rng, counted_labels, possible_classes, seen_classes
from almeta.learners.networks import draw_kept, in_blocks
from almeta.registry import find_trusted
from almeta.sources import closure_digest

_ELEMENTS, _CHANNELS = nn.Dropout, (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # what they leave out


@dataclass(frozen=True)
class TrainedModules:
    """Trained modules, in evaluation mode.

    Attributes:
        modules: one for each episode.
        possible: `[E, C]` bool, the classes that were seen, or all where none was seen.
        labelled: `[E]` bool, the episodes with a label.
    """

    modules: Sequence[nn.Module]
    possible: Tensor
    labelled: Tensor

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows `[E, M, D]`, without dropout."""
        with torch.no_grad():
            return self.logits(x).softmax(-1)

    def logits(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32 of rows `[E, M, D]`, as `HasInputGradients` says, without dropout."""
        return self._masked(torch.stack([self._call(_logits, e, rows) for e, rows in enumerate(x)]))

    def sample(self, x: Tensor, num_samples: int, generator: Rng = None) -> Tensor:
        """Return class probabilities `[E, S, M, C]` float32 with S choices of what the dropout layers leave out.

        Raises:
            AlmetaError: if the module has no layer nn.Dropout, nn.Dropout1d, nn.Dropout2d or nn.Dropout3d.
        """
        generator = generator or torch.Generator().manual_seed(0)
        sampled = []
        for e, seeds in enumerate(_draw_seeds((len(x), num_samples), generator)):
            for seed in seeds:
                with torch.no_grad(), _units_left_out(self.modules[e], seed):
                    sampled.append(self._call(_logits, e, x[e]))
        return self._masked(torch.stack(sampled).unflatten(0, (len(x), num_samples))).softmax(-1)

    def embed(self, x: Tensor) -> Tensor:
        """Return what the last nn.Linear of the module reads, `[E, M, H]` float32, without dropout.

        Raises:
            AlmetaError: if the module does not return what an nn.Linear returns.
        """
        with torch.no_grad():
            return torch.stack([self._call(_embedding, e, rows) for e, rows in enumerate(x)])

    def _call(self, function: Callable[[nn.Module, Tensor, int], Tensor], episode: int, x: Tensor) -> Tensor:
        """Return what a function of a module, rows and C returns for rows `[M, D]` of an episode."""
        module, classes = self.modules[episode], self.possible.shape[1]
        return in_blocks(lambda part: function(module, part[0], classes)[None], x[None])[0]

    def _masked(self, logits: Tensor) -> Tensor:
        """Return logits `[E, ..., C]`, -inf for classes that are not possible; without a label all are alike."""
        shape = (len(logits), *[1] * (logits.dim() - 2), -1)
        logits = logits.where(self.labelled.view(shape), 0.0)
        return logits.masked_fill(~self.possible.view(shape), -torch.inf)


@dataclass(frozen=True)
class TorchModel:
    """A module of one's own, made and trained anew at each fit by Adam, one episode after the other.

    The module takes rows `[M, D]` and returns logits `[M, C]`. What its dropout layers leave out can be chosen for all
    rows at once (`sample`), if they are modules such as nn.Dropout and rows are the first axis there; it embeds rows if
    it ends in an nn.Linear.

    Args:
        module: a function or class that is called as `module(num_features, num_classes)` and returns an nn.Module; or
            its dotted name, which must be of a module of one's own that commands or `modules` have named. A benchmark
            tells learners apart by it: there it stands at the top of a module, and is no lambda.
        steps: of Adam.
        batch_size: rows of a step, drawn by their weights; all rows where there are no more.
        learning_rate: of Adam.
        weight_decay: weight of half the squared parameters in the loss, which is a mean over rows.

    Raises:
        AlmetaError: if there is no such function, or its module is not trusted.
    """

    module: Any = None
    steps: Count = 100
    batch_size: Count = 64
    learning_rate: Positive = 0.005
    weight_decay: Weight = 1e-3
    # Part of the learner's identity: results that are kept must not outlive a change of the function, or of what its
    # module imports of one's own.
    source: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", closure_digest(unwrapped(self._function()).__module__))

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> TrainedModules:
        """Fit E modules, as `Learner.fit` says; `start` has no effect, and the default generator has seed 0.

        torch's global random state, from which modules draw weights and dropout, is set for each, and restored.

        Raises:
            AlmetaError: if the function returns no module, or the module returns no logits.
        """
        generator = generator or torch.Generator().manual_seed(0)
        y = counted_labels(y, weight)
        seen = seen_classes(y, weight, num_classes)
        possible = possible_classes(seen)
        modules = []
        for e, seed in enumerate(_draw_seeds((len(x),), generator)):
            with _global_seed(seed, x.device), torch.enable_grad():
                module = self._make(x.shape[2], num_classes).to(x.device)
                counted = weight[e] > 0
                if seen[e].sum() > 1:
                    self._train(module, x[e, counted], y[e, counted], weight[e, counted], possible[e])
            modules.append(module.eval())
        return TrainedModules(modules, possible, seen.any(1))

    def _function(self) -> Callable[[int, int], Any]:
        if isinstance(self.module, str):
            return find_trusted(self.module, "learner.module")
        if not callable(self.module) or isinstance(self.module, nn.Module):
            raise AlmetaError(
                f"learner torch: module is {self.module!r}; give a function that is called as make(num_features, "
                "num_classes) and returns an nn.Module, or its dotted name: module=my_module.make"
            )
        return self.module

    def _make(self, features: int, classes: int) -> nn.Module:
        made = self._function()(features, classes)
        if not isinstance(made, nn.Module):
            raise AlmetaError(
                f"learner torch: {self.module} returned {type(made).__name__}; it must return a torch.nn.Module"
            )
        return copy.deepcopy(made)  # a function may return one module again and again

    def _train(self, module: nn.Module, x: Tensor, y: Tensor, weight: Tensor, possible: Tensor) -> None:
        """Train a module on rows `[L, D]`, labels `[L]` and weights `[L]`, all of which count."""
        optimizer = torch.optim.Adam(module.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        module.train()
        rows, share = torch.arange(len(x), device=x.device), weight / weight.sum()
        for _ in range(self.steps):
            if len(x) > self.batch_size:
                rows = weight.multinomial(self.batch_size, replacement=True)
                share = torch.full_like(rows, 1 / self.batch_size, dtype=weight.dtype)
            logits = _logits(module, x[rows], len(possible)).masked_fill(~possible, -1e8)
            loss = (cross_entropy(logits, y[rows], reduction="none") * share).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _logits(module: nn.Module, x: Tensor, classes: int) -> Tensor:
    """Return what a module returns for rows `[M, D]`, if it is logits `[M, C]`."""
    try:
        logits = module(x)
    except (ValueError, RuntimeError) as error:  # such as nn.BatchNorm1d, which cannot be trained on a single row
        batch = "; it is trained on a single row where batch_size=1" * (module.training and len(x) == 1)
        raise AlmetaError(
            f"learner torch: {type(module).__name__} cannot read {len(x)} rows of {x.shape[1]} features: {error}{batch}"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (len(x), classes):
        returned = f"a tensor {[*logits.shape]}" if isinstance(logits, Tensor) else type(logits).__name__
        raise AlmetaError(
            f"learner torch: {type(module).__name__} returned {returned} for {len(x)} rows and {classes} classes; it "
            f"must return logits [{len(x)}, {classes}]"
        )
    return logits


def _embedding(module: nn.Module, x: Tensor, classes: int) -> Tensor:
    """Return what the last nn.Linear reads, `[M, H]`, of rows `[M, D]`."""
    calls: list[tuple[Tensor, Tensor]] = []
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hook = layer.register_forward_hook(lambda _, read, returned: calls.append((read[0], returned)))
            hooks.callback(hook.remove)
        logits = _logits(module, x, classes)
    if not calls or calls[-1][1] is not logits:
        raise AlmetaError(
            f"learner torch: {type(module).__name__} does not return what an nn.Linear returns, so that it embeds "
            "nothing; let it end in one, or choose a strategy that needs no embedding"
        )
    return calls[-1][0]


def _draw_seeds(shape: Sequence[int], generator: torch.Generator) -> Any:
    """Return seeds as nested lists."""
    return torch.randint(2**31 - 1, tuple(shape), generator=generator, device=generator.device).tolist()


@contextlib.contextmanager
def _global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Make what modules draw inside the block depend on the seed; torch's random state is restored afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextlib.contextmanager
def _units_left_out(module: nn.Module, seed: int) -> Iterator[None]:
    """Let the dropout layers of a module leave out what the seed says, the same for all rows."""
    layers = [one for one in module.modules() if isinstance(one, (_ELEMENTS, *_CHANNELS)) and 0 < one.p < 1]
    if not layers:
        raise AlmetaError(
            f"learner torch: {type(module).__name__} has no dropout layer that can stay on; give it an nn.Dropout with "
            "p above 0, or choose a strategy that needs none"
        )
    generator, kept = torch.Generator().manual_seed(seed), dict[Any, Tensor]()

    def leave_out(layer: Any, read: Any, returned: Tensor) -> Tensor:
        shape = returned.shape[1:]
        if (layer, shape) not in kept:
            drawn = [shape[0], *[1] * (len(shape) - 1)] if isinstance(layer, _CHANNELS) else shape
            kept[layer, shape] = draw_kept(drawn, layer.p, generator, generator.device).to(returned.device)
        return returned * kept[layer, shape]

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(leave_out).remove)
        yield
