"""Sheets of Excel workbooks (.xls, .xlsx) as rows of text."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

from hypnos_bench.errors import DataError, UsageError

SUFFIXES = (".xls", ".xlsx")
MAX_BYTES = 256 * 2**20
"""Largest table that is read, unpacked; the largest of the cohorts' own has 40 MB."""


def read_workbook(path: Path, sheet: str | None = None) -> list[list[str]]:
    """Cells of one sheet as text, whole numbers without a decimal point, empty cells as ``""``.

    Parameters
    ----------
    path : Path
        A .xls or .xlsx file.
    sheet : str, optional
        Name of the sheet; the first without it.

    Raises
    ------
    UsageError
        When the library that reads such files is not installed.
    DataError
        When the file is no workbook, is too large, or has no such sheet.
    """
    import pandas as pd  # heavy, and few cohorts need it

    _refuse_large(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns of styles and validations, which are not read
            with pd.ExcelFile(path, **_engine(path)) as book:
                if sheet is not None and sheet not in book.sheet_names:
                    raise DataError(f"{path}: no sheet {sheet!r}; found {', '.join(map(repr, book.sheet_names))}")
                cells = book.parse(sheet if sheet is not None else 0, header=None, dtype=str, na_filter=False)
    except ImportError as error:
        raise UsageError(
            f"table {path.name} needs: pip install 'hypnos-bench[excel]', or save it as {path.stem}.csv beside it"
        ) from error
    except (DataError, OSError):
        raise
    except Exception as error:  # the two libraries raise a dozen kinds for damaged files
        raise DataError(f"{path}: not a workbook that can be read ({type(error).__name__}: {error})") from error
    return [["" if cell is None else str(cell).strip() for cell in row] for row in cells.to_numpy().tolist()]


def _engine(path: Path) -> dict[str, Any]:
    if path.suffix.casefold() == ".xls":
        return {"engine": "xlrd", "engine_kwargs": {"logfile": io.StringIO()}}  # it would print what it wonders at
    return {"engine": "openpyxl"}


def _refuse_large(path: Path) -> None:
    """Stop before unpacking what would not fit in memory."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(member.file_size for member in archive.infolist()))
        except zipfile.BadZipFile as error:
            raise DataError(f"{path}: not a workbook that can be read ({error})") from error
    if size > MAX_BYTES:
        raise DataError(f"{path}: {size / 2**20:.0f} MB unpacked, more than the {MAX_BYTES // 2**20} MB of a table")
