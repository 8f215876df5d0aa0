"""Annotation files of one recording, read when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.annotations.csv_hypnogram import MAX_CSV_CHARACTERS, read_csv_stages
from hypnos_bench.cohorts.annotations.edf_plus import read_edf_events, read_edf_stages
from hypnos_bench.cohorts.annotations.nsrr_xml import MAX_XML_BYTES, Unsure, read_nsrr_events, read_nsrr_stages
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Event, RhythmSpan
from hypnos_bench.errors import RecordingError


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a small file whole.

    Raises
    ------
    AnnotationError
        When it is larger than `limit` bytes, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise AnnotationError(f"{size} bytes, above the limit of {limit} for an annotation")
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"cannot be read: {error.strerror or error}") from error


class _NoRhythm:
    recording: str

    def rhythm(self) -> tuple[RhythmSpan, ...]:
        """Sleep recordings have none."""
        raise RecordingError(self.recording, "no heart rhythm is annotated in this cohort")


@dataclass(frozen=True)
class NsrrLabels(_NoRhythm):
    """One NSRR XML.

    Parameters
    ----------
    recording : str
    path : Path
        Where the file is, or would be.
    expected : str
        The same below the cohort's root, for messages.
    unsure : {"hypopnea", "mixed-apnea"}
    full_staging : bool
        Whether a recording whose only sleep stage is N2 is taken as scored sleep or wake only, and refused.
    """

    recording: str
    path: Path
    expected: str
    unsure: Unsure = "hypopnea"
    full_staging: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The XML, when it is there."""
        return (self.path,) if self.path.is_file() else ()

    def stages(self, duration_s: float) -> NDArray[np.int8]:
        """Stage codes per epoch."""
        try:
            codes = read_nsrr_stages(self._read(), duration_s)
        except AnnotationError as error:
            raise RecordingError(self.recording, f"{self.path.name}: {error}") from error
        if self.full_staging and (codes == 2).any() and not np.isin(codes, (1, 3, 4)).any():
            raise RecordingError(
                self.recording, f"{self.path.name}: no N1, N3 or REM in the whole night: scored as sleep or wake only"
            )
        return codes

    def events(self) -> tuple[Event, ...]:
        """Scored events."""
        try:
            return read_nsrr_events(self._read(), self.unsure)
        except AnnotationError as error:
            raise RecordingError(self.recording, f"{self.path.name}: {error}") from error

    def _read(self) -> bytes:
        if not self.path.is_file():
            raise RecordingError(self.recording, f"no annotation file, expected at {self.expected}")
        return read_bounded(self.path, MAX_XML_BYTES)


@dataclass(frozen=True)
class EdfPlusLabels(_NoRhythm):
    """EDF+ annotations, in a file of their own or within the signal file."""

    recording: str
    path: Path
    missing: str = ""  # what was looked for before falling back to the signal file

    @property
    def files(self) -> tuple[Path, ...]:
        """The file that holds the annotations."""
        return (self.path,)

    def stages(self, duration_s: float) -> NDArray[np.int8]:
        """Stage codes per epoch."""
        try:
            return read_edf_stages(self._read(), duration_s)
        except AnnotationError as error:
            raise RecordingError(self.recording, f"{self.path.name}: {error}{self.missing}") from error

    def events(self) -> tuple[Event, ...]:
        """Every annotation that is not a sleep stage."""
        return read_edf_events(self._read())

    def _read(self) -> list[tuple[float, float, str]]:
        from hypnos_bench.signals.edf import read_edf_annotations

        try:
            return list(read_edf_annotations(self.path))
        except RecordingError as error:  # it carries the file's name
            raise RecordingError(self.recording, f"{self.path.name}: {error.reason}") from error


@dataclass(frozen=True)
class CsvLabels(_NoRhythm):
    """A CSV hypnogram."""

    recording: str
    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The CSV."""
        return (self.path,)

    def stages(self, duration_s: float) -> NDArray[np.int8]:
        """Stage codes per epoch."""
        try:
            text = read_bounded(self.path, MAX_CSV_CHARACTERS).decode("utf-8-sig")
            return read_csv_stages(text, duration_s)
        except (AnnotationError, UnicodeDecodeError) as error:
            raise RecordingError(self.recording, f"{self.path.name}: {error}") from error

    def events(self) -> tuple[Event, ...]:
        """A hypnogram has none."""
        raise RecordingError(self.recording, f"{self.path.name}: a CSV hypnogram holds no events")
