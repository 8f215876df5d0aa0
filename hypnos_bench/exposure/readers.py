"""Readers of id lists: OSF's CSVs, SleepFM's split JSON, any CSV with a known column, plain text."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.exposure.entries import ROLES, Entry, Format, ListFile, SourceFile
from hypnos_bench.exposure.ids import Place, bare, place
from hypnos_bench.registry import did_you_mean

MAX_BYTES = 64 * 2**20
"""A list of a million recordings is smaller."""

MAX_ID = 300
"""Characters; a longer line is no id."""

_OSF_NAME = re.compile(r"patient_(?P<role>(?:pretrain|downstream)_(?:train|valid|test))_ids\.csv", re.IGNORECASE)
_SLEEPFM_NAME = re.compile(r"[\w.-]*split[\w.-]*\.json", re.IGNORECASE)
_OSF_COLUMN = "patient_id"
_COLUMNS = ("recording", "person", "cohort", "role")
_WEAK = ("nchsdb",)
"""Cohorts whose ids may be of others as well: two bare numbers."""
_TABLES = (".csv", ".tsv")
_TEXTS = (".txt", ".list", "")


@dataclass(frozen=True)
class ReadLists:
    """Files that were read, and those of a folder that are no lists."""

    files: tuple[ListFile, ...]
    paths: tuple[Path, ...]  # of the files
    passed_over: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Line:
    """One id with where it stands, for messages."""

    where: str
    text: str
    role: str
    cohort: str | None = None
    is_person: bool = False


def read_lists(path: Path, *, role: str | None = None, cohort: str | None = None) -> ReadLists:
    """Read a list, or all lists below a folder that are named as OSF and SleepFM name theirs.

    Raises
    ------
    DataError
        When there is nothing of the kind, or as `read_list`.
    """
    if not path.is_dir():
        return ReadLists((read_list(path, role=role, cohort=cohort),), (path,))
    below = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    named = [p for p in below if _OSF_NAME.fullmatch(p.name) or _SLEEPFM_NAME.fullmatch(p.name)]
    if not named:
        raise DataError(
            f"{path}: holds no patient_..._ids.csv (OSF) and no dataset_split.json (SleepFM); give other lists by name"
        )
    files = tuple(read_list(p, role=role, cohort=cohort) for p in named)
    return ReadLists(files, tuple(named), tuple(p for p in below if p not in set(named)))


def read_list(path: Path, *, role: str | None = None, cohort: str | None = None) -> ListFile:
    """Read one list.

    Parameters
    ----------
    path : Path
        ``patient_pretrain_train_ids.csv`` and its like (OSF), ``.json`` (SleepFM: an object of lists of paths),
        ``.csv`` or ``.tsv`` with a column ``recording`` or ``person`` and perhaps ``cohort`` and ``role``, or text
        with one recording id per line (``#`` starts a comment).
    role : str, optional
        Role of entries whose file says none; ``pretrain`` when not given.
    cohort : str, optional
        Cohort of ids that do not tell it themselves. An id of a cohort that is given, here or in a column, is of that
        cohort even if it is written otherwise than its files: it is taken as person and as recording.

    Raises
    ------
    DataError
        When it cannot be read, is too large, is not such a list, or an id tells another cohort than its column,
        naming file and line.
    UsageError
        For a cohort that is not known.
    """
    if cohort is not None:
        _known_cohort(cohort, "--cohort")
    content = _content(path)
    kind, lines = _lines(path, content, role or "pretrain")
    entries: dict[tuple[str, str | None, str, bool], Entry] = {}
    count = 0
    for line in lines:
        count += 1
        entry = _entry(line, cohort)
        entries.setdefault((line.role, line.cohort, line.text.casefold(), line.is_person), entry)
    if not entries:
        raise DataError(f"{path}: holds no id")
    source = SourceFile(path.name, hashlib.sha256(content).hexdigest(), len(content))
    return ListFile(kind, source, tuple(entries.values()), count - len(entries))


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes are too many for a list of ids (at most {MAX_BYTES})")
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: grows beyond {MAX_BYTES} bytes while it is read")
    return content


def _lines(path: Path, content: bytes, role: str) -> tuple[Format, Iterator[_Line]]:
    text = _text(path, content)
    osf = _OSF_NAME.fullmatch(path.name)
    suffix = path.suffix.casefold()
    if osf is not None:
        return "osf", _osf(path, text, osf["role"].casefold())
    if suffix == ".json":
        return "sleepfm", _sleepfm(path, text)
    if suffix in _TABLES:
        return "csv", _table(path, text, role)
    if suffix in _TEXTS:
        return "text", _plain(path, text, role)
    raise DataError(f"{path}: {suffix} is no list of ids; expected .csv, .tsv, .json or .txt")


def _text(path: Path, content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        name = encoding.removesuffix("-sig").upper()
        raise DataError(f"{path}:{line}: not {name} text; save the list as UTF-8") from error
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise DataError(f"{path}:{line}: holds a zero byte, so it is not a text file")
    return text


def _rows(path: Path, text: str) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """Header, case folded, and where and what every row is that is not blank."""
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = next((mark for mark in ("\t", ";") if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def rows() -> Iterator[tuple[str, list[str]]]:
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield f"{path}:{reader.line_num}", [cell.strip() for cell in row]
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: not a readable table ({error})") from error

    found = rows()
    _, header = next(found, ("", []))
    return [name.casefold() for name in header], found


def _osf(path: Path, text: str, role: str) -> Iterator[_Line]:
    header, rows = _rows(path, text)
    if header != [_OSF_COLUMN]:
        raise DataError(f"{path}:1: expected the one column {_OSF_COLUMN}, found {', '.join(header) or 'nothing'}")
    for where, row in rows:
        if len(row) != 1:
            raise DataError(f"{where}: expected one id, found {len(row)} columns")
        yield _Line(where, row[0], role)


def _table(path: Path, text: str, role: str) -> Iterator[_Line]:
    header, rows = _rows(path, text)
    header = ["recording" if header == [_OSF_COLUMN] else name for name in header]
    if len(set(header) & {"recording", "person"}) != 1 or any(header.count(name) > 1 for name in _COLUMNS):
        found = ", ".join(header) or "nothing"
        raise DataError(
            f"{path}:1: expected one column 'recording' or one column 'person', and perhaps 'cohort' and 'role'; "
            f"found {found}"
        )
    name = "person" if "person" in header else "recording"
    for where, row in rows:
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} columns, the header has {len(header)}")
        cells = dict(zip(header, row, strict=True))
        cohort = cells.get("cohort", "").casefold() or None
        if cohort is not None:
            _known_cohort(cohort, where)
        yield _Line(where, cells[name], cells.get("role") or role, cohort, name == "person")


def _plain(path: Path, text: str, role: str) -> Iterator[_Line]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if any(mark in words for mark in ",;\t"):
            raise DataError(f"{path}:{number}: one id per line, please, or name the file .csv with a header")
        if words:
            yield _Line(f"{path}:{number}", words, role)


def _sleepfm(path: Path, text: str) -> Iterator[_Line]:
    try:
        content = json.loads(text, object_pairs_hook=_no_doubles)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a list of ids ({error})") from error
    known = ROLES["sleepfm"]
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: expected a JSON object of lists of paths")
    for role, texts in content.items():
        if role not in known:
            raise DataError(f"{path}: unknown list {role!r}.{did_you_mean(role, known)} Known: {', '.join(known)}")
        if not isinstance(texts, list):
            raise DataError(f"{path}: {role} is not a list")
    for role, texts in content.items():
        yield from _paths(path, role, texts)


def _paths(path: Path, role: str, texts: Sequence[Any]) -> Iterator[_Line]:
    for number, one in enumerate(texts, 1):
        where = f"{path}: {role}, entry {number}"
        if not isinstance(one, str):
            raise DataError(f"{where}: expected a path, found {str(one)[:40]!r}")
        yield _Line(where, one.strip(), role)


def _no_doubles(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return dict(pairs)


def _entry(line: _Line, fallback: str | None) -> Entry:
    if not line.text:
        raise DataError(f"{line.where}: the id is empty")
    if len(line.text) > MAX_ID:
        raise DataError(f"{line.where}: an id of {len(line.text)} characters (at most {MAX_ID})")
    if line.is_person:
        cohort = line.cohort or fallback
        if cohort is None:
            raise DataError(f"{line.where}: whose person is {line.text!r}? Add a column 'cohort', or give --cohort")
        return Entry(line.text, line.role, cohort, None, line.text.casefold())
    found = place(line.text, line.cohort or fallback)
    if found is None and (line.cohort or fallback) is not None:
        found = _otherwise(line, line.cohort or fallback or "")
    if found is None:
        return Entry(line.text, line.role)
    return Entry(line.text, line.role, found.cohort, found.recording, found.person)


def _otherwise(line: _Line, cohort: str) -> Place:
    """Place an id that is not written as the files of the cohort that it is said to be of."""
    told = place(line.text)
    if told is not None and line.cohort is None:
        return told  # --cohort speaks for ids that do not tell
    if told is not None and told.cohort not in _WEAK:
        raise DataError(f"{line.where}: {line.text!r} is an id of {told.cohort}, but stands there as one of {cohort}")
    # A bare number or code, as tables have them: it is the person's, or the recording's own.
    name = bare(line.text)
    if not name:
        raise DataError(f"{line.where}: {line.text!r} is no id")
    return Place(cohort, name, name)


def _known_cohort(cohort: str, where: str) -> None:
    known = COHORTS.ids()
    if cohort not in known:
        error = UsageError if where.startswith("--") else DataError
        raise error(f"{where}: unknown cohort {cohort!r}.{did_you_mean(cohort, known)} Known: {', '.join(known)}")
