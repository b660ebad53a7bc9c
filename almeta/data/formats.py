"""Opening a table in a file, of comma-separated values, Parquet or Excel: its columns, and its cells as they stand."""

import codecs
import csv
import gzip
import itertools
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd

from almeta.data.catalogue import EXCEL, PARQUET
from almeta.data.cells import cleaned
from almeta.data.files import check_members, check_unpacked, is_there, unreadable
from almeta.errors import AlmetaError

OTHERS = (".xls", ".xlsb", ".ods")  # that nothing here reads
WIDE = 10_000  # with more columns, a warning says that reading takes long

Cells = Callable[[Sequence[str], Sequence[str]], pd.DataFrame]


@dataclass(frozen=True)
class TableFile:
    """A table in a file.

    Attributes:
        columns: their names, "Unnamed: 0" and so on for columns without one.
        separator: between cells; a comma for files without separators.
        cells: returns the rows: columns of numbers, of true and false, or of text. It takes the texts that stand for a
            missing value, and the columns to read as text.
    """

    columns: list[str]
    separator: str
    cells: Cells


def open_table(path: Path, encoding: str = "utf-8") -> TableFile:
    """Open a file by the end of its name: `.parquet` or `.pq`, `.xlsx` or `.xlsm`, else text.

    Text is comma-separated values with a header, compressed if its name ends in `.gz`. Cells are separated by commas,
    semicolons or tabs, whichever gives the header most columns, or as the first line says (`sep=|`). Of Excel, the
    first sheet is read, with the names of the columns in its first row.

    Args:
        path: of the file.
        encoding: of text, with or without a byte order mark.

    Raises:
        AlmetaError: if the file is missing, cannot be read, is cut off, has another encoding, or needs a package that
            is not installed. `TableFile.cells` raises it, too.
    """
    if not (is_there(path) and path.is_file()):
        raise AlmetaError(f"there is no file {path} (looked for in {Path.cwd()}); correct the path")
    suffix = path.suffix.lower()
    if suffix in OTHERS:
        raise AlmetaError(f"{path}: files of {suffix} are not read; save it as .xlsx, .parquet or .csv")
    if suffix in PARQUET or suffix in EXCEL:
        file = _typed_file(path, _parquet if suffix in PARQUET else _excel)
    else:
        file = _text_file(path, _codec(encoding))
    if len(file.columns) > WIDE:
        warnings.warn(f"{path} has {len(file.columns):,} columns; reading it may take minutes", stacklevel=2)
    return file


@contextmanager
def _reading(path: Path, form: str) -> Iterator[None]:
    """Turn errors of reading into an `AlmetaError` that names the file, and the form that it must have."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more cells than the header
            yield
    except PermissionError as error:
        raise unreadable(path) from error
    except ImportError as error:
        raise AlmetaError(f"{path} needs a package that is not installed; pip install 'almeta[files]'") from error
    except (
        *(OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile),
        *(csv.Error, pd.errors.ParserWarning),
    ) as error:
        raise AlmetaError(f"{path} cannot be read: {str(error).strip()}; it must be a whole {form}") from error


def _names(cells: Sequence[object]) -> list[str]:
    """Return the names of columns as they stand in a first line.

    Raises:
        ValueError: if there is none.
    """
    columns = [cleaned("" if pd.isna(cell) else str(cell)) for cell in cells]
    if not any(columns):
        raise ValueError("its first line is empty, or a quote in it is not closed")
    return [column or f"Unnamed: {place}" for place, column in enumerate(columns)]


# ---- text


def _text_file(path: Path, codec: str) -> TableFile:
    with _reading_text(path, codec):
        check_unpacked(path)
        with _opened(path, codec) as file:
            excel = re.fullmatch(r'"?sep=(.)"?[\r\n]*', file.readline(), re.I)
        above = int(bool(excel))
        records = {sign: _first_record(path, codec, sign, above) for sign in (excel[1] if excel else ",;\t")}
        separator = max(records, key=lambda sign: len(records[sign]))
        columns = _names(records[separator])

    def cells(missing: Sequence[str], as_text: Sequence[str]) -> pd.DataFrame:
        with _reading_text(path, codec):
            return pd.read_csv(
                path,
                compression="gzip" if path.suffix.lower() == ".gz" else None,
                sep=separator,
                encoding=codec,
                dtype=dict.fromkeys(as_text, str),
                names=columns,
                header=0,
                skiprows=above,
                na_values=list(missing),
                keep_default_na=False,
                index_col=False,
                skipinitialspace=True,
                low_memory=False,  # one type for the whole column, not for each part of the file
            )

    return TableFile(columns, separator, cells)


@contextmanager
def _reading_text(path: Path, codec: str) -> Iterator[None]:
    encoding = codec.removesuffix("-sig").upper()
    try:
        with _reading(path, f"file of comma-separated values in {encoding}, with a header"):
            yield
    except AlmetaError as error:
        if isinstance(error.__cause__, UnicodeError):
            raise AlmetaError(_foreign_byte(path, codec)) from error
        raise


def _codec(encoding: str) -> str:
    """Return the name of the encoding for Python, which skips a byte order mark."""
    try:
        "".encode(encoding)
    except LookupError as error:
        raise AlmetaError(
            f"unknown encoding {encoding!r}; the usual ones are utf-8, utf-16, latin-1 and cp1252"
        ) from error
    name = codecs.lookup(encoding).name
    return "utf-8-sig" if name == "utf-8" else name


def _foreign_byte(path: Path, codec: str) -> str:
    """Return the message for a file of another encoding, with the first byte that tells."""
    decoder, line, where = codecs.getincrementaldecoder(codec)(), 1, ""
    with _bytes(path) as file:
        begins = file.read(2)
        file.seek(0)
        while block := file.read(1 << 20):
            try:
                decoder.decode(block)
                line += block.count(b"\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start]
                after = before.decode(codec, "replace").rpartition("\n")[2][-20:]
                line += before.count(b"\n")
                where = f" has the byte 0x{error.object[error.start]:02x} in line {line}, after {after!r}, and"
                break
    utf16 = begins in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    names = "encoding=utf-16" if utf16 else "encoding=latin-1 (Western Europe) or encoding=cp1252 (Windows)"
    return (
        f"{path}{where} is not in {codec.removesuffix('-sig').upper()}; name its encoding, such as {names}, or save it "
        "as UTF-8"
    )


def _bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _opened(path: Path, codec: str) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding=codec, newline="")
    return path.open(encoding=codec, newline="")


def _first_record(path: Path, codec: str, separator: str, above: int) -> list[str]:
    """Return the first record below some lines of a file; an empty one if the separator does not fit."""
    with _opened(path, codec) as file:
        lines = itertools.islice(file, above, None)
        try:
            return next(csv.reader(lines, delimiter=separator, skipinitialspace=True), [])
        except csv.Error:  # a cell is too long: the quoted cells have another separator
            return []


# ---- files whose cells have types


def _typed_file(path: Path, read: Callable[[Path], tuple[list[str], pd.DataFrame]]) -> TableFile:
    form = "Parquet file" if read is _parquet else "Excel file, with the names of the columns in its first row"
    with _reading(path, form):
        columns, frame = read(path)

    def cells(missing: Sequence[str], as_text: Sequence[str]) -> pd.DataFrame:
        parts = [_typed(frame.iloc[:, place], name in as_text, missing) for place, name in enumerate(columns)]
        return pd.concat(parts, axis=1, keys=columns)

    return TableFile(columns, ",", cells)


def _parquet(path: Path) -> tuple[list[str], pd.DataFrame]:
    frame = pd.read_parquet(path, dtype_backend="numpy_nullable")  # whole numbers with gaps stay whole
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    return _names(list(frame.columns)), frame


def _excel(path: Path) -> tuple[list[str], pd.DataFrame]:
    check_members(path)
    with pd.ExcelFile(path, engine="openpyxl") as book:
        first, *others = book.sheet_names
        if others:
            warnings.warn(
                f"{path}: only the first sheet, {first!r}, is read, and not {', '.join(map(repr, others))}; save the "
                f"sheet that is meant as a file of its own",
                stacklevel=5,
            )
        sheet = pd.read_excel(book, sheet_name=first, header=None, dtype=object, keep_default_na=False, na_values=[""])
    return _names([] if sheet.empty else sheet.iloc[0].tolist()), sheet.iloc[1:].reset_index(drop=True)


def _typed(cells: pd.Series, as_text: bool, missing: Sequence[str]) -> pd.Series:
    """Return cells as numbers if all are numbers, else as text; a missing one is NaN."""
    kind = pd.api.types.infer_dtype(cells, skipna=True)
    if not as_text and kind in ("integer", "floating", "mixed-integer-float"):
        numbers = pd.to_numeric(cells).astype("Float64").astype(float)
        gone = numbers.isin(pd.to_numeric(pd.Series(missing, dtype=object), errors="coerce").dropna())
        if kind == "integer" and not cells.isna().any() and not gone.any():
            return pd.to_numeric(pd.Series(cells.tolist(), cells.index))  # floats have 53 bits, too few for long ids
        return numbers.mask(gone)
    return cells.astype(object).map(str, na_action="ignore")
