"""A folder of images: `folder:PATH`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from almeta.checks import Count
from almeta.data.coded import check_unseen
from almeta.data.dataset import Dataset
from almeta.data.encoders import taught_by
from almeta.data.formats import open_table
from almeta.data.frames import Features, dataset_of
from almeta.data.pictures import SUFFIXES, read_pictures
from almeta.data.reading import TARGETS, Columns, read_table
from almeta.errors import AlmetaError, did_you_mean

LABELS = "labels.csv"  # of a folder
FILES = (
    "file",
    "filename",
    "file_name",
    "image",
    "path",
    "name",
)  # usual names of the column of file names, in any case


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a folder that can be read, by name.

    Attributes:
        frame: columns "file", the name below the folder, and "label", NaN where there is none.
        paths: of the n images.
        x: pixels `[n, size * size]` in [0, 1], or codes `[n, d]`, float32.
        image_shape: of pixels.
        labelled_by: where the labels are from, in words.
    """

    frame: pd.DataFrame
    paths: list[Path]
    x: np.ndarray
    image_shape: tuple[int, int] | None
    labelled_by: str


def load(
    path: str,
    labels: str | None = None,
    target: str | None = None,
    test: str | None = None,
    size: Count | None = None,
    encoder: str | None = None,
) -> Dataset:
    """Return the images of a folder, by name; images without a label are set aside with a warning.

    Args:
        path: of the folder.
        labels: a table of file names and labels; None for `labels.csv` in the folder, if there is one, else the class
            of an image is the sub-folder in which it lies.
        target: the label column of that table; None for the one called "target", "label" or "class".
        test: another folder, whose images are the fixed test set.
        size: side of the square to which images are stretched; None for 28 pixels, and 224 for an encoder.
        encoder: makes codes of colour images: a name that was registered, or a network of torchvision; None for grey
            pixels.

    Raises:
        AlmetaError: if there is no such folder, image, labels file or encoder, there are fewer than two classes, or the
            encoder was trained on these images.
    """
    if encoder is not None and taught_by(encoder):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the codes bring the same ones
            check_unseen(encoder, load(path, labels, target, test))
    parts = [read_images(Path(path).expanduser(), labels, target, size, encoder)]
    if test is not None:
        parts.append(read_images(Path(test).expanduser(), None, target, size, encoder))
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    labelled = frame["label"].notna().to_numpy()
    if not labelled.any():
        raise AlmetaError(
            f"folder {path}: no image has a label; put those of a class in a sub-folder, or write their labels in a "
            f"table {LABELS} in the folder, with the columns file and label"
        )
    if not labelled.all():
        _warn(path, frame["file"][~labelled].tolist(), "images without a label are set aside")
    found = Features(np.concatenate([part.x for part in parts])[labelled], image_shape=parts[0].image_shape)
    is_test = np.arange(len(frame)) >= len(parts[0].frame)
    source = f"the folder {path}, with {parts[0].labelled_by}"
    return dataset_of(
        frame[["label"]][labelled],
        "label",
        f"folder:{path}",
        source,
        path,
        lambda *_: found,
        None if test is None else is_test[labelled],
    )


def read_images(folder: Path, labels: str | None, target: str | None, size: int | None, encoder: str | None) -> Images:
    """Return the images of a folder, with warnings of files that are none, and of classes without one.

    Hidden files and folders count for nothing. The arguments are those of `load`.

    Raises:
        AlmetaError: as `load` does, labels apart.
    """
    if not folder.is_dir():
        raise AlmetaError(f"there is no folder {folder} (looked for in {Path.cwd()}); correct the path")
    table = _labels_file(folder, labels)
    names = _image_names(folder, table)
    if not names:
        raise AlmetaError(f"folder {folder} has no file whose name ends as that of an image")
    x, problems, image_shape = read_pictures([folder / name for name in names], size, encoder)
    broken = [f"{name} ({problem})" for name, problem in zip(names, problems, strict=True) if problem]
    if broken:
        _warn(folder, broken, "images that cannot be read are left out")
    if len(broken) == len(names):
        raise AlmetaError(f"folder {folder}: none of {len(names)} images can be read; the first is {broken[0]}")
    kept = np.array([not problem for problem in problems])
    found = _by_folder(folder, names, kept) if table is None else _by_table(folder, names, table, target)
    frame = pd.DataFrame({"file": names, "label": pd.Series(found, dtype=object)})[kept].reset_index(drop=True)
    paths = [folder / name for name in frame["file"]]
    told = "a class a sub-folder" if table is None else f"the labels of {table}"
    return Images(frame, paths, x[kept], image_shape, told)


def _warn(folder: Path | str, names: Sequence[str], what: str) -> None:
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    warnings.warn(f"folder {folder}: {what} ({len(names)}): {some}", stacklevel=4)


def _image_names(folder: Path, table: Path | None) -> list[str]:
    """Return the names of the images below a folder, with "/" between, sorted; warn of other files."""
    files = [path for one in folder.iterdir() for path in ([one] if one.is_file() else one.rglob("*"))]
    names = sorted(
        path.relative_to(folder).as_posix() for path in files if path.is_file() and not (table and path.samefile(table))
    )
    names = [name for name in names if not any(part.startswith(".") for part in PurePath(name).parts)]
    images = [name for name in names if PurePath(name).suffix.lower() in SUFFIXES]
    if others := sorted(set(names) - set(images)):
        _warn(folder, others, "files that are no images are left out")
    return images


# ---- labels


def _by_folder(folder: Path, names: Sequence[str], kept: np.ndarray) -> list[str | None]:
    """Return the first folder in each name, None for an image beside the folders; warn of folders without an image."""
    found = [PurePath(name).parts[0] if "/" in name else None for name in names]
    used = {label for label, is_kept in zip(found, kept, strict=True) if is_kept}
    folders = {one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")}
    if empty := sorted(folders - used):
        _warn(folder, empty, "sub-folders without an image that can be read are no classes")
    return found


def _labels_file(folder: Path, labels: str | None) -> Path | None:
    """Return the file with the labels, None if sub-folders are classes.

    Raises:
        AlmetaError: if it is named and not there.
    """
    if labels is None:
        return folder / LABELS if (folder / LABELS).is_file() else None
    places = [Path(labels).expanduser(), folder / labels]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise AlmetaError(f"there is no file labels={labels}, here ({Path.cwd()}) or in {folder}; correct the path")
    return found


def _by_table(folder: Path, names: Sequence[str], path: Path, target: str | None) -> list[str | None]:
    """Return the labels that a table gives to file names, with or without their ends.

    Raises:
        AlmetaError: if it has no such columns, names no image, or gives one image two labels.
    """
    name_of, label_of = _columns(path, target)
    table = read_table(path, Columns(label_of, as_text=[name_of])).frame
    by_name = {name: place for place, name in enumerate(names)}
    places = {str(PurePath(name).with_suffix("")): place for place, name in enumerate(names)} | by_name
    found: list[str | None] = [None] * len(names)
    missing = []
    for name, label in zip(table[name_of].fillna(""), table[label_of], strict=True):
        place = places.get(PurePath(name.replace("\\", "/")).as_posix())
        if place is None:
            missing.append(name)
        elif not pd.isna(label):
            if found[place] not in (None, label):
                raise AlmetaError(f"{path} gives {name} the labels {found[place]!r} and {label!r}; keep one")
            found[place] = label
    if len(missing) == len(table):
        raise AlmetaError(
            f"{path} names no image of {folder} in column {name_of!r}: {missing[0]!r} is not there, but {names[0]!r} is"
        )
    if missing:
        _warn(folder, missing, f"names in {path.name} that no image has are left out")
    return found


def _columns(path: Path, target: str | None) -> tuple[str, str]:
    """Return the columns of file names and of labels.

    Raises:
        AlmetaError: if there are none.
    """
    columns = open_table(path).columns
    if any(PurePath(column).suffix.lower() in SUFFIXES for column in columns):
        raise AlmetaError(
            f"{path} seems to have no header line: it begins with {', '.join(columns)}; add file,label above"
        )
    label = target or next((column for column in columns if column.lower() in TARGETS), None)
    others = [column for column in columns if column != label]
    name = next((column for column in others if column.lower() in FILES), others[0] if others else None)
    label = label or (next(column for column in columns if column != name) if len(columns) == 2 else None)
    if name is None or label is None:
        raise AlmetaError(
            f"{path} must have a column of file names and one of labels, called label or named by target=COLUMN; its "
            f"columns: {', '.join(columns)}"
        )
    if label not in columns:
        raise AlmetaError(f"{path}: {did_you_mean(label, columns, 'target column')}")
    return name, label
