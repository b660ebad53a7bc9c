# %% [markdown]
# # A table of your own
#
# You have a table, a few labels, and the patience for some dozens more. Which rows are worth it?
# Here the table is made of the wine data, so that this script can answer in your place.

# %%
import numpy as np
import pandas as pd

import almeta
from almeta.queries import Labelling

wine = almeta.load_dataset("wine")
table = pd.DataFrame(wine.x, columns=list(wine.columns))
table.iloc[::9, 3] = np.nan  # gaps are fine
answers = np.array(wine.class_names)[wine.y]

# %% [markdown]
# Three rows have a label, one of each class. `None` stands for no label.

# %%
labels = np.full(len(table), None, dtype=object)
for name in wine.class_names:
    row = int(np.flatnonzero(answers == name)[0])
    labels[row] = name

# %% [markdown]
# One line says which rows to label next.

# %%
rows = almeta.query(table, labels, n=5)
print("label these next:", rows.tolist())

# %% [markdown]
# `Labelling` goes on from round to round. It gives reasons, and advice on when to stop.

# %%
mine = Labelling(table, labels, by="transfer")
for round_ in range(1, 7):
    questions = mine.ask(5)
    mine.tell(questions.rows, answers[questions.rows].tolist())
    right = (np.array(mine.classes)[mine.probabilities().argmax(1)] == answers).mean()
    print(f"round {round_}: row {questions.rows[0]} was {questions.reasons[0]}; {right:.0%} of all rows are right")

# %%
print(mine.advise().sentence)

# %% [markdown]
# How much better than rows drawn at random is that? On one small table luck decides; `scripts/benchmark.py` compares
# fairly.

# %%
by_chance = Labelling(table, labels, by="random")
for _ in range(6):
    drawn = by_chance.ask(5, explain=False).rows
    by_chance.tell(drawn, answers[drawn].tolist())
right_by_chance = (np.array(mine.classes)[by_chance.probabilities().argmax(1)] == answers).mean()
print(f"at random: {right_by_chance:.0%}")
