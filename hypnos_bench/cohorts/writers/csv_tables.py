"""Tables as the cohorts ship them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_csv(
    path: Path,
    rows: Sequence[Mapping[str, object]],
    *,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
    delimiter: str = ",",
    header: bool = True,
) -> Path:
    """Write rows under a header line; ``None`` and absent cells are blank, and folders are made.

    Parameters
    ----------
    path : Path
    rows : sequence of mapping
    columns : sequence of str, optional
        Their order; as they first occur in the rows without it.
    encoding, delimiter : str
    header : bool
        Whether the first line names the columns.

    Returns
    -------
    Path
        The file.
    """
    names = list(columns if columns is not None else dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row.get(name) is None else row[name] for name in names])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.getvalue().encode(encoding))
    return path
