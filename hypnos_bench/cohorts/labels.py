"""Annotation files of one recording, read when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.kinds import Kind, kind_of, reader
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Scoring
from hypnos_bench.cohorts.scan import is_there
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import SignalFile
from hypnos_bench.spec import digest

MAX_ANNOTATION_BYTES = 64 * 1024 * 1024
"""A night's annotation is a few MiB at most; anything above this is refused before it is read."""


@dataclass(frozen=True)
class AnnotationFiles:
    """Files of one recording in one format.

    Parameters
    ----------
    kind : str
        Id of the reader.
    main : Path
    beside : mapping of str to Path
        Companions by the reader's names; those that are missing are left out.
    options : mapping
    words : mapping of str to str
    needs : tuple of str
        Companions without which the main file means something else.
    """

    kind: str
    main: Path
    beside: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The main file and its companions that exist."""
        return (self.main, *(path for path in self.beside.values() if is_there(path)))


@dataclass(frozen=True)
class FileLabels:
    """What is known about one recording: its annotation files, and codes that a table holds.

    Parameters
    ----------
    recording : str
    signals : SignalFile
        Whose header the annotations are read against.
    source : AnnotationFiles or None
    missing : str
        What was looked for, for the message when there is no annotation: not even in `source`, when that is a last
        resort.
    record : tuple of str
        Codes of the recording as a whole, from a table.
    """

    recording: str
    signals: SignalFile
    source: AnnotationFiles | None
    missing: str = ""
    record: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Annotation files; a signal file that holds them counts too."""
        return self.source.files if self.source is not None and is_there(self.source.main) else ()

    @property
    def rules(self) -> str:
        """Digest of the reader's settings and of the table's codes."""
        source = self.source
        chosen = [source.kind, dict(source.options), dict(source.words)] if source is not None else None
        return digest({"reader": chosen, "record": list(self.record)})

    def read(self) -> Scoring:
        """Everything the files say.

        Raises
        ------
        RecordingError
            When there is no annotation, or it cannot be trusted.
        """
        if self.source is None:
            if self.record:
                return Scoring(record=self.record)
            raise RecordingError(self.recording, f"no annotation file{self.missing}")
        kind = kind_of(self.source.kind)
        try:
            files = {"main": _load(self.source.main, kind)}
            for name in self.source.needs:
                if not self.source.beside[name].is_file():
                    raise AnnotationError(f"cannot be read without {self.source.beside[name].name} beside it")
            files |= {name: read_bounded(path) for name, path in self.source.beside.items() if is_there(path)}
            scoring = reader(kind)(files, facts_of(self.signals), self.source.words, **self.source.options)
        except AnnotationError as error:
            raise RecordingError(self.recording, f"{self.source.main.name}: {error}{self.missing}") from error
        except RecordingError as error:  # of a signal file; it carries the file's name
            name, reason = error.recording, error.reason
            raise RecordingError(self.recording, reason if name == self.recording else f"{name}: {reason}") from error
        if self.missing and not scoring.stages:
            raise RecordingError(self.recording, f"{self.source.main.name}: no sleep stage is scored{self.missing}")
        return replace(scoring, record=self.record) if self.record else scoring


def facts_of(signals: SignalFile) -> Facts:
    """What annotations need of a signal file's header.

    Raises
    ------
    RecordingError
        When the header cannot be trusted.
    """
    channels = signals.channels()
    first = (channels[0].rate_hz, channels[0].n_samples) if channels else (None, None)
    rate_hz, n_samples = getattr(signals, "frames", first)
    return Facts(
        duration_s=signals.duration_s(),
        start=signals.start_clock(),
        rate_hz=rate_hz,
        n_samples=n_samples,
        comments=tuple(getattr(signals, "comments", ())),
    )


def read_bounded(path: Path, limit: int = MAX_ANNOTATION_BYTES) -> bytes:
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


def _load(path: Path, kind: Kind) -> Any:
    if kind.loading == "edf-plus":
        from hypnos_bench.signals.edf import read_edf_annotations

        return read_edf_annotations(path)
    if kind.loading == "dreem":
        from hypnos_bench.signals.hdf5_files import load_hypnogram

        return load_hypnogram(path)
    return read_bounded(path)
