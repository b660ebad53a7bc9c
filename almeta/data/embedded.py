"""The data sets that scikit-learn ships: they need no file and no network.

F. Pedregosa et al. Scikit-learn: machine learning in Python. JMLR 12, 2825-2830, 2011.
https://scikit-learn.org/stable/datasets/toy_dataset.html
"""

import numpy as np
from sklearn import datasets

from almeta.data.dataset import Dataset

SOURCES = {
    "breast_cancer": "UCI: Breast Cancer Wisconsin (Diagnostic) (Wolberg, Street and Mangasarian 1995)",
    "digits": "UCI: Optical Recognition of Handwritten Digits, test part (Alpaydin and Kaynak 1998)",
    "iris": "Iris (Fisher 1936)",
    "wine": "UCI: Wine (Aeberhard and Forina 1991)",
}


def load(name: str) -> Dataset:
    """Return one of the four data sets, rows in scikit-learn's order.

    | name | rows | features | classes |
    | --- | --- | --- | --- |
    | breast_cancer | 569 | 30 | malignant, benign |
    | digits | 1,797 | 64: images of 8 x 8, in [0, 1] (multiples of 1/16), ink high on zero | "0" to "9" |
    | iris | 150 | 4 | setosa, versicolor, virginica |
    | wine | 178 | 13 | class_0, class_1, class_2 |
    """
    bunch = getattr(datasets, f"load_{name}")()
    images = name == "digits"
    return Dataset(
        name=name,
        x=(bunch.data / 16 if images else bunch.data).astype(np.float32),
        y=bunch.target.astype(np.int64),
        class_names=tuple(str(label) for label in bunch.target_names),
        source=f"{SOURCES[name]}, as in scikit-learn",
        image_shape=(8, 8) if images else None,
        columns=tuple(str(column) for column in bunch.feature_names),
    )
