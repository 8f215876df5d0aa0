"""Where a cohort comes from, as data: one table of ``sources.toml`` (or of a cohort card) is one :class:`Download`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean

Kind = Literal["physionet", "zenodo-zip", "nsrr", "agreement"]

# Keys that a kind needs, and those it may have besides.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "physionet": ("url", "licence", "citation", "recordings"),
    "zenodo-zip": ("url", "licence", "citation", "recordings", "archive"),
    "nsrr": ("slug", "folders"),
    "agreement": ("page", "licence", "citation", "steps"),
}
_MAY: Mapping[str, tuple[str, ...]] = {
    "physionet": ("include", "exclude", "extensions", "into", "about_gb", "note"),
    "zenodo-zip": ("include", "exclude", "into", "about_gb", "note"),
    "nsrr": ("licence", "citation", "about_gb", "note"),
    "agreement": ("about_gb", "note"),
}
_LISTS = ("include", "exclude", "extensions", "folders", "steps")


@dataclass(frozen=True)
class Download:
    """How the files of one cohort are had.

    Parameters
    ----------
    kind : {"physionet", "zenodo-zip", "nsrr", "agreement"}
        What the source is. The last two need a person's agreement: nothing can be fetched.
    url : str
        Version folder (PhysioNet) or record of the API (Zenodo).
    licence, citation : str
        Shown before anything is fetched.
    recordings : str
        Regex on a path; its group ``id`` names the recording. Files without one come with every download.
    include, exclude : sequence of str
        Regexes on paths: what is wanted (default: all), and what of that is not.
    extensions : sequence of str
        Without published checksums: what each line of RECORDS stands for. Empty: no checksums, no download.
    archive : str
        Name of the zip file in the record.
    into : str
        Folder below the root.
    about_gb : float
        Size of the whole set in GB (10**9 bytes) where a source states it, else 0.
    page : str
        Where a person reads the terms.
    slug, folders, steps : str, sequence of str, sequence of str
        NSRR dataset and the folders of it that are needed; or the steps, with ``{root}`` for the folder.
    note : str
        What is left out, and why.
    """

    kind: Kind
    url: str = ""
    licence: str = ""
    citation: str = ""
    recordings: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    extensions: Sequence[str] = ()
    archive: str = ""
    into: str = ""
    about_gb: float = 0.0
    page: str = ""
    slug: str = ""
    folders: Sequence[str] = ()
    steps: Sequence[str] = ()
    note: str = ""

    @property
    def open(self) -> bool:
        """Whether the files can be fetched without an agreement."""
        return self.kind in ("physionet", "zenodo-zip")


def load_source(cohort_id: str) -> Download:
    """Where a cohort comes from.

    Raises
    ------
    UsageError
        When the cohort has no source, naming the nearest one that has.
    """
    tables = _tables()
    if cohort_id not in tables:
        raise UsageError(
            f"no download is known for cohort {cohort_id!r}.{did_you_mean(cohort_id, tables)} "
            f"Known: {', '.join(sorted(tables))}"
        )
    return parse_download(tables[cohort_id], f"sources.toml [{cohort_id}]")


def source_ids() -> list[str]:
    """Cohorts whose source is known, sorted."""
    return sorted(_tables())


def parse_download(table: Mapping[str, Any], where: str) -> Download:
    """Read one table; `where` is used in messages.

    Raises
    ------
    UsageError
        For an unknown key (with the nearest known one), a missing one, one that does not go with the kind, a value
        of the wrong type, or a regex that is none.
    """
    known = [f.name for f in fields(Download)]
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}.{did_you_mean(key, known)} Known: {', '.join(known)}")
        _check_type(key, value, where)
    kind = str(table.get("kind"))
    if kind not in get_args(Kind):
        near = did_you_mean(kind, get_args(Kind))
        raise UsageError(f"{where}: kind is {kind!r}.{near} Known: {', '.join(get_args(Kind))}")
    for key in _NEEDS[kind]:
        if not table.get(key):
            raise UsageError(f"{where}: {key!r} is missing; a source of kind {kind!r} needs {', '.join(_NEEDS[kind])}")
    for key in table:
        if key not in ("kind", *_NEEDS[kind], *_MAY[kind]):
            raise UsageError(f"{where}: {key!r} does not go with kind {kind!r}")
    _check_patterns(table, where)
    values: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in table.items()}
    return Download(**values)


def _check_type(key: str, value: Any, where: str) -> None:
    if key in _LISTS:
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise UsageError(f"{where}: {key} must be a list of strings, not {value!r}")
    elif key == "about_gb":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise UsageError(f"{where}: about_gb must be a positive number, not {value!r}")
    elif not isinstance(value, str):
        raise UsageError(f"{where}: {key} must be a string, not {value!r}")


def _check_patterns(table: Mapping[str, Any], where: str) -> None:
    recordings = [table["recordings"]] if "recordings" in table else []
    for pattern in (*table.get("include", ()), *table.get("exclude", ()), *recordings):
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise UsageError(f"{where}: {pattern!r} is no regex: {error}") from error
        if pattern in recordings and "id" not in groups:
            raise UsageError(f"{where}: recordings {pattern!r} has no group named 'id'")


@cache
def _tables() -> dict[str, dict[str, Any]]:
    path = files("hypnos_bench.cohorts.downloads") / "sources.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
