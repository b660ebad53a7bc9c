# %% [markdown]
# # A folder of images
#
# A folder has images, some of them in sub-folders that say what they show. Here they are handwritten digits.

# %%
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import almeta
from almeta.data.own import read_own
from almeta.queries import Labelling

digits = almeta.load_dataset("digits")
shown = np.random.default_rng(0).permutation(len(digits))[:400]
pixels = (digits.x[shown].reshape(-1, 8, 8) / digits.x.max() * 255).astype(np.uint8)
answers = np.array(digits.class_names)[digits.y[shown]]

# %% [markdown]
# Twenty images lie in the folder of their class, the others in the folder itself: they have no label.

# %%
folder = Path(tempfile.mkdtemp()) / "digits"
for place, (image, answer) in enumerate(zip(pixels, answers, strict=True)):
    home = folder / answer if place < 20 else folder
    home.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(home / f"{place:03d}.png")

# %% [markdown]
# `read_own` reads rows with and without labels; the command `almeta-query data=FOLDER` does the same.

# %%
own = read_own(folder, size=8)
truth = answers[[int(path.stem) for path in own.images]]
mine = Labelling(own.dataset, own.labels, by="transfer", classes=digits.class_names)
print(f"{len(own.images)} images, {(mine.labels >= 0).sum()} of them with a label")

# %%
curve = []
for _ in range(8):
    curve.append(float((np.array(mine.classes)[mine.probabilities().argmax(1)] == truth).mean()))
    rows = mine.ask(10, explain=False).rows
    mine.tell(rows, truth[rows].tolist())
print("share of right predictions:", " ".join(f"{share:.2f}" for share in curve))

# %%
first = own.images[mine.ask(1).rows[0]]
print("label this one next:", first.name)
