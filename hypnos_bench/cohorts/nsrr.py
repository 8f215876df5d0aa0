"""Cohorts in the NSRR tree: ``polysomnography/edfs`` beside ``annotations-events-nsrr`` and ``datasets``.

One opener for all of them; what differs between cohorts is their TOML card.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hypnos_bench.cohorts.base import Cohort, CohortCard, CohortOptions, Exclusion, Recording
from hypnos_bench.cohorts.labels import NsrrLabels
from hypnos_bench.cohorts.layouts import ALL, CohortLayout, load_layout
from hypnos_bench.cohorts.montage import LazyMontage
from hypnos_bench.cohorts.scan import (
    below,
    by_id,
    nothing_found,
    refuse_person_pattern,
    require_root,
    split_repeated,
    walk_files,
)
from hypnos_bench.cohorts.tables import JoinedTable, covariates_of, flags_of, read_tables
from hypnos_bench.errors import DataError

_FIXED = "_fixed"
"""Ending of a copy with a repaired header that some tools write beside the original."""


@dataclass(frozen=True)
class _Identity:
    """What a file name says: lower-case person, visit, and the name's groups for the annotation path."""

    person: str
    visit: str | None
    groups: Mapping[str, str]


class NsrrCohort:
    """A cohort of the National Sleep Research Resource, described by its card.

    Parameters
    ----------
    cohort_id : str
        Name of the card file.
    """

    def __init__(self, cohort_id: str) -> None:
        self._id = cohort_id

    @cached_property
    def layout(self) -> CohortLayout:
        """Everything the TOML card says."""
        return load_layout(self._id)

    @property
    def card(self) -> CohortCard:
        """The card."""
        return self.layout.card

    def open(self, options: CohortOptions) -> Cohort:
        """Scan the tree. Signals and annotations are not opened.

        Raises
        ------
        UsageError
            When no root is given.
        DataError
            When the root holds no usable recording of this cohort, or a table cannot be joined.
        """
        refuse_person_pattern(options, self._id)
        example = self._example()
        root = require_root(options, self._id, example)
        base = self._base(root)
        edf_folder = base / self.layout.layout.edf_folder
        if not edf_folder.is_dir():
            raise DataError(
                f"cohort {self._id}: {root} holds no {self.layout.layout.edf_folder} folder; expected {example}, "
                f"with or without {self.layout.layout.folder}/ in front"
            )
        edfs, excluded = self._edfs(edf_folder, base)
        tables = read_tables(base, self.layout.tables)
        recordings = []
        for stem, path in edfs.items():
            outcome = self._recording(stem, path, base, tables)
            if isinstance(outcome, Exclusion):
                excluded.append(outcome)
            else:
                recordings.append(outcome)
        excluded.extend(self._annotations_alone(base, set(edfs) | {e.recording for e in excluded}))
        if not recordings:
            raise nothing_found(root, self._id, f"EDF files named {self.layout.layout.file}", example, excluded)
        return Cohort(self.card, by_id(recordings), tuple(sorted(excluded, key=lambda e: (e.recording, e.reason))))

    def _example(self) -> str:
        return self.layout.layout.example

    def _base(self, root: Path) -> Path:
        """Root, or the cohort's own folder below it when the user kept that."""
        folder = self.layout.layout.folder
        return root / folder if folder and (root / folder).is_dir() else root

    def _identify(self, stem: str) -> _Identity | None:
        match = re.fullmatch(self.layout.layout.file, stem, re.IGNORECASE)
        if match is None:
            return None
        groups = {"stem": stem, **{name: value or "" for name, value in match.groupdict().items()}}
        return _Identity(groups["person"].casefold(), groups.get("visit") or None, groups)

    def _edfs(self, folder: Path, base: Path) -> tuple[dict[str, Path], list[Exclusion]]:
        """EDF per recording id. A repaired copy takes its original's place."""
        strange = []
        paths: dict[Path, Path] = {}  # the name without "_fixed" and suffix -> the file to read
        for path in walk_files(folder, ".edf"):
            stem = path.stem.removesuffix(_FIXED)
            if self._identify(stem) is None:
                reason = f"{below(base, path)}: the name does not fit {self.layout.layout.file}"
                strange.append(Exclusion(path.stem, reason))
            elif path.stem != stem or path not in paths:
                paths[path.with_name(stem)] = path
        found, repeated = split_repeated(((name.name, path) for name, path in paths.items()), base)
        return found, [*strange, *repeated]

    def _annotation(self, base: Path, identity: _Identity) -> Path:
        return base / self.layout.layout.annotation.format_map(identity.groups)

    def _recording(self, stem: str, path: Path, base: Path, tables: tuple[JoinedTable, ...]) -> Recording | Exclusion:
        from hypnos_bench.signals.edf import EdfFile

        identity = self._identify(stem)
        if identity is None:
            raise ValueError(f"{stem} was not identified")
        unusable: dict[str, str] = {}
        for rule in self.layout.exclude:
            if identity.person in rule.persons and rule.visit in (None, identity.visit):
                if ALL in rule.scope:
                    return Exclusion(stem, rule.reason)
                for kind in rule.scope:
                    unusable.setdefault(kind, rule.reason)
        rows = [row for table in tables if (row := table.row(identity.person, identity.visit)) is not None]
        for kind, reason in flags_of(rows, self.layout.flags).items():
            unusable.setdefault(kind, reason)
        annotation = self._annotation(base, identity)
        signals = EdfFile(path)
        return Recording(
            cohort=self._id,
            id=stem,
            person=identity.person,
            signals=signals,
            labels=NsrrLabels(stem, annotation, below(base, annotation), self.layout.unsure, full_staging=True),
            montage=LazyMontage(signals, self.layout.channels, aliases=self.layout.aliases),
            visit=identity.visit,
            mains_hz=self.layout.mains_hz,
            covariates=covariates_of(rows, self.layout.covariates),
            unusable=unusable,
        )

    def _annotations_alone(self, base: Path, known: set[str]) -> Iterator[Exclusion]:
        """Annotations whose signals are missing: part of the cohort, but nothing can be embedded."""
        pattern = self.layout.layout.annotation
        folder = base / pattern.partition("{")[0].rpartition("/")[0]
        suffix = pattern.rpartition("}")[2]
        for path in walk_files(folder, suffix.casefold()):
            stem = path.name[: -len(suffix)]
            if stem not in known and self._identify(stem) is not None:
                yield Exclusion(stem, f"annotation without signals: {below(base, path)} has no EDF")


MROS = NsrrCohort("mros")
"""MrOS Sleep Study, visits 1 and 2."""
