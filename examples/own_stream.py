# %% [markdown]
# # A stream of your own images
#
# Images come one by one, of classes that the agent has never seen. It says what an image is, or asks for its label and
# remembers the answer. Which classes there are, nobody has told it.

# %%
import sys

import numpy as np

import almeta
from almeta.agents import Agent
from almeta.data import Dataset

# %% [markdown]
# Who looks is the policy that ships with almeta, or one of your own: `python own_stream.py runs/episodic/DATE`.

# %%
agent = almeta.load_policy(sys.argv[1] if len(sys.argv) > 1 else "one-shot-omniglot")

# %% [markdown]
# Here the images are drawn from a data set, a few of each of some classes, and its labels answer in your place.


# %%
def stream_of(dataset: Dataset, classes: int, images: int, seed: int = 0) -> list[tuple[np.ndarray, str]]:
    """Return images `[H, W]` with their names, in random order: so many of each of some classes, drawn at random."""
    luck = np.random.default_rng(seed)
    assert dataset.image_shape is not None
    rows = [
        luck.choice(np.flatnonzero(dataset.y == kind), images, replace=False)
        for kind in luck.choice(dataset.num_classes, classes, replace=False)
    ]
    return [
        (dataset.x[row].reshape(dataset.image_shape), dataset.class_names[dataset.y[row]])
        for row in luck.permutation(np.concatenate(rows))
    ]


# %% [markdown]
# `observe` shows an image, and returns its label, or `None` where the agent asks. `tell` answers.


# %%
def play(
    agent: Agent, images: list[tuple[np.ndarray, str]], labels: list[str] | None = None, incorrect: float | None = None
) -> str:
    """Play a stream, answer every request, and return how it went; the agent may know the labels beforehand."""
    classes = len({name for _, name in images})
    stream = agent.begin_stream(labels, num_classes=classes, capacity=len(images), incorrect=incorrect)
    wrong = 0
    for image, name in images:
        label = agent.observe(image)
        if label is None:
            agent.tell(name)
        else:
            wrong += label != name
    said = len(images) - stream.requests
    return f"{len(images)} images of {classes} classes: {stream.requests} requests, {wrong} of {said} answers wrong"


# %% [markdown]
# Three characters of fonts, ten images of each. In a stream it takes three requests to hear of three classes.

# %%
characters = almeta.load_dataset("characters")
for seed in range(3):
    print("characters:", play(agent, stream_of(characters, classes=3, images=10, seed=seed)))

# %% [markdown]
# Who names the classes beforehand lets the agent conclude from two of them to the third.

# %%
images = stream_of(characters, classes=3, images=10)
print("characters, named beforehand:", play(agent, images, sorted({name for _, name in images})))

# %% [markdown]
# Handwritten digits: three of them, and then five. A network that treats all classes alike, as the episodic one does,
# takes more classes than there were in its training, though it was not trained to tell so many apart.

# %%
digits = almeta.load_dataset("mnist")
for classes in (3, 5):
    print("digits:", play(agent, stream_of(digits, classes, images=10)))

# %% [markdown]
# A request costs .05 and a right answer brings 1; what a mistake costs, you say to an agent that was told it in
# training. The dearer it is, the more the agent asks.

# %%
for incorrect in (-1.0, -5.0, -20.0) if agent.inputs.price else ():
    print(f"digits, {incorrect:g} for a mistake:", play(agent, stream_of(digits, 3, images=10), incorrect=incorrect))
