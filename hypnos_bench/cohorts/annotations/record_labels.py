"""Labels of whole ECG recordings from tables: ``REFERENCE.csv`` of CinC 2017 and ``scp_codes`` of PTB-XL."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Scoring

CINC2017_LABELS = ("N", "A", "O", "~")
"""Normal, atrial fibrillation, other rhythm, too noisy."""

CINC2017_VERSIONS: Mapping[str, tuple[int, int, int, int]] = {
    "v0": (5154, 771, 2557, 46),
    "v1": (5040, 736, 2469, 283),
    "v2": (5050, 738, 2456, 284),
    "v3": (5076, 758, 2415, 279),
}
"""Counts of `CINC2017_LABELS` in each version of the training reference; ``REFERENCE.csv`` is v3."""

MAX_TABLE_BYTES = 4 * 1024 * 1024
MAX_CELL_CHARACTERS = 4096

_ITEM = re.compile(r"""\s*(?P<mark>['"])(?P<key>[^'"\\\n]+)(?P=mark)\s*:\s*(?P<value>[-+0-9.eE]+)\s*""")


def parse_reference(data: bytes, words: Mapping[str, str] | None = None) -> dict[str, str]:
    """Label of every record of a CinC 2017 reference table.

    Parameters
    ----------
    data : bytes
        Rows ``A00/A00001,N`` or ``A00001,N``, without a header line.
    words : mapping of str to str, optional
        Other labels to the ones they mean.

    Returns
    -------
    dict of str to str
        Record name without its folder to one of `CINC2017_LABELS`.

    Raises
    ------
    AnnotationError
        With the line, for a row of another form, an unknown label, or a record with two labels.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise AnnotationError(f"{len(data)} bytes, above the limit of {MAX_TABLE_BYTES} for a reference table")
    labels: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        path, comma, cell = (part.strip() for part in line.partition(","))
        name = path.rpartition("/")[2]
        if not name or not comma:
            raise AnnotationError(f"line {number}: {line[:60]!r} is no row of the form A00/A00001,N")
        label = (words or {}).get(cell, cell)
        if label not in CINC2017_LABELS:
            raise AnnotationError(f"line {number}: unknown label {cell[:20]!r} of {name}; expected N, A, O or ~")
        if labels.setdefault(name, label) != label:
            raise AnnotationError(f"line {number}: {name} is {label} here and {labels[name]} above")
    return labels


def reference_version(labels: Mapping[str, str]) -> str | None:
    """Version of a whole CinC 2017 training reference, by its counts; ``None`` for a part of it."""
    counts = Counter(labels.values())
    found = tuple(counts[label] for label in CINC2017_LABELS)
    return next((name for name, expected in CINC2017_VERSIONS.items() if expected == found), None)


def read_cinc2017_reference(
    files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None, *, record: str
) -> Scoring:
    """Label of one record, with a note that says which version of the reference it comes from.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the reference table, one for all records.
    facts : Facts
        Not used.
    words : mapping of str to str, optional
        As `parse_reference`.
    record : str
        Name of the record, without its folder.

    Raises
    ------
    AnnotationError
        As `parse_reference`, and when the table does not list the record.
    """
    labels, version = _reference(files["main"], tuple(sorted((words or {}).items())))
    if record not in labels:
        raise AnnotationError(f"the reference table of {len(labels)} records does not list {record}")
    source = f"version {version} of the reference" if version else f"a reference of {len(labels)} records"
    return Scoring(record=(labels[record],), notes=(f"label from {source}",))


def parse_scp_codes(cell: str) -> dict[str, float]:
    """Statements of one PTB-XL recording and their likelihoods in percent, from a cell of ``scp_codes``.

    A statement holds because it is there: a likelihood of 0 means that none was given.

    Parameters
    ----------
    cell : str
        ``{'NORM': 100.0, 'SR': 0.0}``.

    Raises
    ------
    AnnotationError
        When the cell is anything else.
    """
    text = cell.strip()
    if len(text) > MAX_CELL_CHARACTERS or not (text.startswith("{") and text.endswith("}")):
        raise AnnotationError(f"scp_codes: expected {{'NORM': 100.0, ...}}, found {text[:60]!r}")
    codes: dict[str, float] = {}
    at, end = 1, len(text) - 1
    while text[at:end].strip():
        match = _ITEM.match(text, at, end)
        value = _number(match["value"]) if match else math.nan
        if match is None or not math.isfinite(value) or (match.end() < end and text[match.end()] != ","):
            raise AnnotationError(f"scp_codes: cannot read {text[at : at + 40]!r}")
        if match["key"] in codes:
            raise AnnotationError(f"scp_codes: {match['key']} is given twice")
        codes[match["key"]] = value
        at = match.end() + 1
    return codes


def read_scp_codes(files: Mapping[str, str], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Statements of one PTB-XL recording, all that are there whatever their likelihood.

    Parameters
    ----------
    files : mapping of str to str
        ``main``: the recording's cell of ``scp_codes``, as text.
    facts : Facts
        Not used.
    words : mapping of str to str, optional
        Statements to what they are called instead.

    Raises
    ------
    AnnotationError
        As `parse_scp_codes`.
    """
    renamed = ((words or {}).get(code, code) for code in parse_scp_codes(files["main"]))
    return Scoring(record=tuple(dict.fromkeys(renamed)))


@lru_cache(maxsize=4)
def _reference(data: bytes, words: tuple[tuple[str, str], ...]) -> tuple[Mapping[str, str], str | None]:
    """One table serves thousands of records: it is parsed once."""
    labels = parse_reference(data, dict(words))
    return MappingProxyType(labels), reference_version(labels)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
