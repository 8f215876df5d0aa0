"""The opener of every cohort that a card describes: files on disk to recordings with labels, covariates, outcomes."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from hypnos_bench.cohorts.base import Cohort, CohortCard, CohortOptions, Exclusion, Recording
from hypnos_bench.cohorts.card import ALL, Annotation, CohortLayout
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.finder import FoundFile, find_files
from hypnos_bench.cohorts.joined import Joined, join_tables
from hypnos_bench.cohorts.labels import AnnotationFiles, FileLabels
from hypnos_bench.cohorts.montage import LazyMontage
from hypnos_bench.cohorts.scan import (
    below,
    by_id,
    is_there,
    nothing_found,
    refuse_mains,
    refuse_person_pattern,
    require_root,
    walk_files,
)
from hypnos_bench.errors import DataError
from hypnos_bench.signals.base import SignalFile


class CardCohort:
    """A cohort described by its card.

    Parameters
    ----------
    cohort_id : str
        Name of the card file.
    """

    def __init__(self, cohort_id: str) -> None:
        self._id = cohort_id

    @cached_property
    def layout(self) -> CohortLayout:
        """Everything the packaged card says."""
        return load_layout(self._id)

    @property
    def card(self) -> CohortCard:
        """The card."""
        return self.layout.card

    def open(self, options: CohortOptions) -> Cohort:
        """Find the recordings and join tables. Signals and annotations are not opened.

        Raises
        ------
        UsageError
            When no root is given, or the settings do not hold together.
        DataError
            When the root holds no usable recording of this cohort, or a table cannot be joined.
        """
        refuse_person_pattern(options, self._id)
        refuse_mains(options, self._id)
        layout = load_layout(self._id, options.settings) if options.settings else self.layout
        root = require_root(options, self._id, layout.layout.example)
        return _Opening(layout, root).cohort()


@dataclass(frozen=True)
class _Opening:
    """One opening of one cohort."""

    layout: CohortLayout
    root: Path

    @property
    def _id(self) -> str:
        return self.layout.card.id

    @cached_property
    def _base(self) -> Path:
        """Root, or the cohort's own folder below it when the user kept that."""
        return self._folders[0] if self._folders else self.root

    @cached_property
    def _folders(self) -> list[Path]:
        """Top folders below the root that the card knows, the newest version of each first."""
        found = (
            path
            for pattern in self.layout.layout.folders
            for path in sorted(self.root.glob(pattern), key=_by_numbers, reverse=True)
        )
        return [path for path in dict.fromkeys(found) if path.is_dir()]

    def cohort(self) -> Cohort:
        files = self.layout.layout
        if not (self._base / files.signals).is_dir():
            raise DataError(
                f"cohort {self._id}: {self.root} holds no {files.signals} folder; expected {files.example}, "
                f"with or without {'/, '.join(files.folders)}/ in front"
            )
        found = find_files(self._base, self.layout)
        joined = join_tables(self._base, self.layout, found.recordings)
        excluded, recordings = list(found.excluded), []
        remarks = Counter(found.remarks)
        remarks.update(joined.remarks)
        for file in found.recordings:
            reason = self._ruled_out(file) or joined.of(file).unusable.get(ALL)
            if reason is not None:
                excluded.append(Exclusion(file.id, reason))
            else:
                recordings.append(self._recording(file, joined))
        excluded.extend(self._annotations_alone(found.recordings, {e.recording for e in excluded}))
        if not recordings:
            looked_for = f"{' or '.join(files.suffixes)} files named {files.file}"
            raise nothing_found(self.root, self._id, looked_for, files.example, excluded, found.remarks)
        left_out = tuple(sorted(excluded, key=lambda e: (e.recording, e.reason)))
        gaps = Counter(joined.gaps)
        if len(self._folders) > 1:
            names = ", ".join(below(self.root, path) for path in self._folders)
            gaps[
                f"several top folders: {names}; only the first is read, give it as --root or move the others away"
            ] += 1
        card = replace(self.layout.card, persons_assumed=joined.persons_assumed)
        return Cohort(card, by_id(recordings), left_out, _told(remarks), _told(gaps))

    def _rules(self, file: FoundFile) -> Iterator[tuple[tuple[str, ...], str]]:
        """Scope and reason of every exclusion by id that fits a file."""
        for rule in self.layout.exclude:
            persons = {person.casefold() for person in rule.persons}
            recordings = {recording.casefold() for recording in rule.recordings}
            named = not (persons or recordings) or file.person in persons or file.id.casefold() in recordings
            fits = all(file.groups.get(group, "").casefold() == value.casefold() for group, value in rule.where.items())
            if named and fits and rule.visit in (None, file.visit):
                yield tuple(rule.scope), rule.reason

    def _ruled_out(self, file: FoundFile) -> str | None:
        return next((reason for scope, reason in self._rules(file) if ALL in scope), None)

    def _recording(self, file: FoundFile, joined: Joined) -> Recording:
        unusable: dict[str, str] = {}
        for scope, reason in self._rules(file):
            for kind in scope:
                unusable.setdefault(kind, reason)
        known = joined.of(file)
        for kind, reason in known.unusable.items():
            unusable.setdefault(kind, reason)
        signals = self._signals(file.path)
        labels = self._labels(file, signals, known.record)
        if labels.source is None and self._may_be_unannotated(file):
            unusable |= dict.fromkeys(
                self.layout.card.labels, "not annotated by its authors: it has no annotation file"
            )
        return Recording(
            cohort=self._id,
            id=file.id,
            person=known.person,
            signals=signals,
            labels=labels,
            montage=LazyMontage(signals, self.layout.channels, aliases=self.layout.aliases),
            visit=file.visit,
            family=known.family,
            mains_hz=self._mains_hz(file),
            units=self.layout.units,
            covariates=known.covariates,
            outcomes=known.outcomes,
            unusable=unusable,
            quality=known.quality,
            full_staging=self.layout.full_staging,
            wake_margin_min=self.layout.wake_margin_min,
        )

    def _mains_hz(self, file: FoundFile) -> float:
        for group, by_value in self.layout.mains_by.items():
            mains_hz = {key.casefold(): value for key, value in by_value.items()}.get(file.groups[group].casefold())
            if mains_hz is not None:
                return float(mains_hz)
        return self.layout.mains_hz

    def _signals(self, path: Path) -> SignalFile:
        if self.layout.layout.format == "wfdb":
            from hypnos_bench.signals.wfdb_files import WfdbFile

            return WfdbFile(path)
        if self.layout.layout.format == "dreem-h5":
            from hypnos_bench.signals.hdf5_files import Hdf5File

            units = set(self.layout.units.values())
            return Hdf5File(path, units.pop() if len(units) == 1 else None, self.layout.layout.rate_hz)
        from hypnos_bench.signals.edf import EdfFile

        return EdfFile(path)

    def _labels(self, file: FoundFile, signals: SignalFile, record: tuple[str, ...]) -> FileLabels:
        looked_for = []
        for annotation in self._annotations(file):
            path = self._annotation_path(annotation.path, file)
            if is_there(path):
                beside = {name: self._annotation_path(t, file) for name, t in annotation.beside.items()}
                source = AnnotationFiles(
                    annotation.kind, path, beside, annotation.options, annotation.words, tuple(annotation.needs)
                )
                return FileLabels(file.id, signals, source, record=record)
            looked_for.append(below(self._base, path))
        missing = f", expected at {' or '.join(looked_for)}" if looked_for else ": this cohort has none for it"
        return FileLabels(file.id, signals, None, missing, record)

    def _may_be_unannotated(self, file: FoundFile) -> bool:
        ways = list(self._annotations(file))
        return bool(ways) and all(annotation.optional for annotation in ways)

    def _annotations(self, file: FoundFile) -> Iterable[Annotation]:
        return (
            annotation
            for annotation in self.layout.annotations
            if all(file.groups[group].casefold() == value.casefold() for group, value in annotation.when.items())
        )

    def _annotation_path(self, template: str, file: FoundFile) -> Path:
        """Path of a template; of several files that a ``*`` fits, the first by name."""
        if template == "{signals}":
            return file.path
        if "*" not in template:
            return self._base / template.format_map(file.groups)
        pattern = Path(template.format_map({name: glob.escape(text) for name, text in file.groups.items()}))
        base = Path(pattern.anchor) if pattern.is_absolute() else self._base
        found = (p for p in base.glob(str(pattern.relative_to(pattern.anchor))) if not p.name.startswith("."))
        return min(found, default=self._base / template.format_map(file.groups))

    def _annotations_alone(self, found: Iterable[FoundFile], known: set[str]) -> Iterator[Exclusion]:
        """Annotations whose signals are missing: part of the cohort, but nothing can be embedded."""
        if not self.layout.annotations:
            return
        template = self.layout.annotations[0].path
        folder, suffix = template.partition("{")[0].rpartition("/")[0], template.rpartition("}")[2]
        if not folder or not suffix:
            return  # annotations lie beside the signals: another kind of file would be taken for one
        used = {self._annotation_path(way.path, file) for file in found for way in self._annotations(file)}
        for path in walk_files(self._base / folder, suffix.casefold()):
            stem = path.name[: -len(suffix)]
            if path not in used and stem not in known:
                yield Exclusion(stem, f"annotation without signals: {below(self._base, path)} has no signal file")


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """Order in which 1.10.0 comes after 1.9.0."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _told(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Lines with counts, sorted."""
    return tuple(f"{text} ({count:,} times)" if count > 1 else text for text, count in sorted(counts.items()))


@cache
def card_cohort(cohort_id: str) -> CardCohort:
    """Opener of one packaged card, read once; what the registry calls."""
    return CardCohort(cohort_id)
