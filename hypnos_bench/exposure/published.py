"""Published lists as a split: which recordings of a cohort their authors learn from and which they test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.exposure.entries import Entry, ListFile
from hypnos_bench.exposure.ids import place
from hypnos_bench.exposure.readers import read_lists
from hypnos_bench.spec import digest

Source = Literal["osf", "sleepfm"]
Side = Literal["train", "test", "neither"]

SIDES: Mapping[Source, tuple[Mapping[str, Side], ...]] = {
    # A cohort is in the lists of pre-training or in those downstream, and is probed on those it is in.
    "osf": (
        {"downstream_train": "train", "downstream_test": "test", "downstream_valid": "neither"},
        {"pretrain_train": "train", "pretrain_test": "test", "pretrain_valid": "neither"},
    ),
    # ``external_validation`` (SHHS) is a test side without a training side, see `PublishedSides`.
    "sleepfm": (
        {"train": "train", "test": "test", "validation": "neither", "pretrain": "neither", "temporal_test": "neither"},
        {"external_validation": "test"},
    ),
}
"""Groups of roles that divide a cohort, and what is done with each role."""


@dataclass(frozen=True)
class PublishedSides:
    """What lists say of one cohort.

    Parameters
    ----------
    side : mapping of str to {"train", "test", "neither"}
        Recording id, case folded, to its side.
    role : mapping of str to str
        Recording id, case folded, to the list it is in.
    learned : frozenset of str
        Persons, case folded, of the recordings in train.
    rest_trains : bool
        No training list is published: whoever is in no list may be learned from.
    """

    side: Mapping[str, Side]
    role: Mapping[str, str]
    learned: frozenset[str]
    rest_trains: bool

    @staticmethod
    def key(cohort_id: str, recording: str) -> str:
        """Form in which `side` and `role` know a recording of the cohort at hand."""
        found = place(recording, cohort_id)
        return recording.casefold() if found is None else found.recording


@dataclass(frozen=True)
class SplitLists:
    """Published lists of recordings, as read from the user's files."""

    source: Source
    files: tuple[ListFile, ...]

    @cached_property
    def digest(self) -> str:
        """Digest of the files' contents and roles, for ``SplitSpec.lists``; where they lie is no part of it."""
        return digest(sorted([file.source.sha256, *sorted(file.roles)] for file in self.files))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Entries of all files."""
        return tuple(entry for file in self.files for entry in file.entries)

    @property
    def cohorts(self) -> tuple[str, ...]:
        """Cohorts that the lists name, sorted."""
        return tuple(sorted({entry.cohort for entry in self.entries if entry.cohort is not None}))

    def sides(self, cohort_id: str) -> PublishedSides:
        """The sides of one cohort.

        Raises
        ------
        UsageError
            When the lists do not divide the cohort: it is in none of them, or a test or training side is missing.
        DataError
            When a recording is on two sides.
        """
        entries = [entry for entry in self.entries if entry.cohort == cohort_id and entry.recording is not None]
        where = f"the {self.source} lists ({', '.join(file.source.name for file in self.files)})"
        if not entries:
            raise UsageError(f"{cohort_id}: not in {where}; they divide {', '.join(self.cohorts) or 'no known cohort'}")
        roles = {entry.role for entry in entries}
        groups = [group for group in SIDES[self.source] if any(group.get(r) in ("train", "test") for r in roles)]
        if len(groups) != 1:
            found = f"holds {', '.join(sorted(roles))}"
            raise UsageError(f"{cohort_id}: {where} divide it in {len(groups)} ways, not one: it {found}")
        return _sides(cohort_id, where, entries, groups[0])


def _sides(cohort_id: str, where: str, entries: Iterable[Entry], group: Mapping[str, Side]) -> PublishedSides:
    side: dict[str, Side] = {}
    role: dict[str, str] = {}
    learned = set()
    for entry in entries:
        recording, its = str(entry.recording), group.get(entry.role, "neither")
        if side.setdefault(recording, its) != its:
            raise DataError(f"{where}: {entry.text} is in {role[recording]} and in {entry.role}; keep one")
        role[recording] = entry.role
        if its == "train" and entry.person is not None:
            learned.add(entry.person)
    rest_trains = "train" not in group.values()
    there = set(side.values())
    for needed in ("test",) if rest_trains else ("train", "test"):
        if needed not in there:
            lists = " or ".join(r for r, its in group.items() if its == needed)
            raise UsageError(f"{cohort_id}: no {needed} side in {where}: give the file with {lists} too")
    return PublishedSides(side, role, frozenset(learned), rest_trains)


def read_split_lists(paths: Iterable[Path], source: Source) -> SplitLists:
    """Read the published lists of one source.

    Parameters
    ----------
    paths : iterable of Path
        Files, or folders that hold them; of a folder only the files of this source are read.
    source : {"osf", "sleepfm"}

    Raises
    ------
    DataError
        When a file cannot be read or is not such a list, or none is there.
    """
    files = [file for path in paths for file in read_lists(path).files]
    chosen = tuple(file for file in files if file.format == source)
    if not chosen:
        wanted = {
            "osf": "patient_{pretrain,downstream}_{train,valid,test}_ids.csv",
            "sleepfm": "dataset_split.json",
        }[source]
        there = ", ".join(sorted(file.source.name for file in files)) or "none"
        raise DataError(f"no {source} list in the paths given (lists there: {there}); expected {wanted}")
    return SplitLists(source, _once(chosen))


def _once(files: Iterable[ListFile]) -> tuple[ListFile, ...]:
    """A file given twice is read once."""
    return tuple({(file.source.sha256, file.roles): file for file in files}.values())
