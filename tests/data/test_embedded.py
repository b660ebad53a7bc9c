import numpy as np
import pytest
from sklearn import datasets

from almeta.data import load_dataset


@pytest.mark.parametrize(
    "name, shape, counts, classes",
    [
        ("iris", (150, 4), [50, 50, 50], ("setosa", "versicolor", "virginica")),
        ("wine", (178, 13), [59, 71, 48], ("class_0", "class_1", "class_2")),
        ("breast_cancer", (569, 30), [212, 357], ("malignant", "benign")),
        ("digits", (1797, 64), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180], tuple("0123456789")),
    ],
)
def test_rows_and_classes(name, shape, counts, classes):
    data = load_dataset(name)
    assert data.x.shape == shape
    assert data.class_counts.tolist() == counts
    assert data.class_names == classes
    assert len(data.columns) == shape[1]
    assert all(type(column) is str for column in data.columns)
    assert data.source.endswith("as in scikit-learn")


def test_values():
    iris = load_dataset("iris")
    assert iris.kind == "table"
    assert iris.columns[0] == "sepal length (cm)"
    assert iris.x[0] == pytest.approx([5.1, 3.5, 1.4, 0.2])


def test_digits_are_images():
    digits = load_dataset("digits")
    assert (digits.kind, digits.image_shape) == ("image", (8, 8))
    assert (digits.x * 16 == datasets.load_digits().data.astype(np.float32)).all()
    border, centre = (digits.x.reshape(-1, 8, 8)[:, :, column].mean() for column in (0, 3))
    assert border < 0.1 < centre  # ink high on zero
