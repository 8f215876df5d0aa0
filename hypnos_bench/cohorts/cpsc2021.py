"""CPSC2021: dynamic two-lead ECG in WFDB format, rhythm marked by episodes of fibrillation.

The header comment classes the whole record (non, paroxysmal, persistent), so time outside episodes
counts as N, and a non-AF record is N although it holds no rhythm annotation. Facts: PhysioNet,
The 4th China Physiological Signal Challenge 2021.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.annotations.rhythm import read_rhythm, seconds_of
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Cohort, CohortCard, CohortOptions, Event, Exclusion, Recording, RhythmSpan
from hypnos_bench.cohorts.layouts import CohortLayout, load_layout
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
from hypnos_bench.errors import RecordingError

AF_CODES = ("AFIB", "AFL")
OUTSIDE = "N"
"""Code of time outside episodes."""

TAIL_S = 3.0
"""Beats stop short of a record's end by up to one long interval; a longer silence is unlabelled."""

EDGE_S = 1.0
"""Slack at either end of a record that counts as AF throughout: episode edges lie on R peaks."""

_COMMENT = re.compile(r"\s*(non|paroxysmal|persistent)\s+atrial fibrillation", re.IGNORECASE)


@dataclass(frozen=True)
class Cpsc2021Labels:
    """Rhythm of one record: its ``.atr``, and the class that its header comment states."""

    recording: str
    path: Path  # of the annotation
    af_type: str
    rate_hz: float
    n_samples: int

    @property
    def files(self) -> tuple[Path, ...]:
        """The ``.atr``, when it is there."""
        return (self.path,) if self.path.is_file() else ()

    def stages(self, duration_s: float) -> NDArray[np.int8]:
        """An ECG has none."""
        raise RecordingError(self.recording, "no sleep stages are scored in this cohort")

    def events(self) -> tuple[Event, ...]:
        """None are scored."""
        raise RecordingError(self.recording, "no sleep events are scored in this cohort")

    def rhythm(self) -> tuple[RhythmSpan, ...]:
        """Rhythm spans over the annotated part of the record.

        Raises
        ------
        RecordingError
            When the annotation is missing or malformed, or contradicts the header comment.
        """
        from hypnos_bench.signals.wfdb_files import read_wfdb_annotations

        if not self.path.is_file():
            raise RecordingError(self.recording, f"no annotation file, expected {self.path.name} beside the header")
        annotations = list(read_wfdb_annotations(self.path.with_suffix(""), "atr"))
        if not annotations:
            raise RecordingError(self.recording, f"{self.path.name}: holds no annotation at all")
        try:
            spans = read_rhythm(annotations, self.rate_hz, self.n_samples, before_first=OUTSIDE, tail_s=TAIL_S)
        except AnnotationError as error:
            raise RecordingError(self.recording, f"{self.path.name}: {error}") from error
        self._compare_with_comment(spans)
        return spans

    def _compare_with_comment(self, spans: tuple[RhythmSpan, ...]) -> None:
        af_s = seconds_of(spans, AF_CODES)
        whole_s = self.n_samples / self.rate_hz
        fits = {
            "non": af_s == 0,
            "paroxysmal": 0 < af_s < whole_s - 2 * EDGE_S,
            "persistent": af_s >= whole_s - 2 * EDGE_S,
        }
        if not fits[self.af_type]:
            raise RecordingError(
                self.recording,
                f"the header says '{self.af_type}' atrial fibrillation, but {af_s:.1f} s of {whole_s:.1f} s "
                f"are marked as AFIB or AFL in {self.path.name}",
            )


class Cpsc2021Cohort:
    """Opener of CPSC2021."""

    @cached_property
    def layout(self) -> CohortLayout:
        """Everything the TOML card says."""
        return load_layout("cpsc2021")

    @property
    def card(self) -> CohortCard:
        """The card."""
        return self.layout.card

    def open(self, options: CohortOptions) -> Cohort:
        """Find ``data_<person>_<record>.hea`` at any depth; headers are read, signals are not.

        Raises
        ------
        UsageError
            When no root is given.
        DataError
            When the root holds no usable record.
        """
        example = self.layout.layout.example
        refuse_person_pattern(options, self.card.id)
        root = require_root(options, self.card.id, example)
        headers = ((path.stem, path) for path in walk_files(root, ".hea") if self._person(path.stem) is not None)
        found, excluded = split_repeated(headers, root)
        recordings = []
        for stem, path in found.items():
            try:
                recordings.append(self._recording(stem, path, root))
            except RecordingError as error:
                excluded.append(Exclusion(stem, error.reason))
        if not recordings:
            looked_for = f"headers named {self.layout.layout.file} + .hea"
            raise nothing_found(root, self.card.id, looked_for, example, excluded)
        return Cohort(self.card, by_id(recordings), tuple(sorted(excluded, key=lambda e: e.recording)))

    def _person(self, stem: str) -> str | None:
        match = re.fullmatch(self.layout.layout.file, stem)
        return match["person"] if match else None

    def _recording(self, stem: str, path: Path, root: Path) -> Recording:
        from hypnos_bench.signals.wfdb_files import WfdbFile

        signals = WfdbFile(path)
        channels = signals.channels()
        if not channels:
            raise RecordingError(stem, f"{below(root, path)}: lists no signal")
        for file in signals.files:
            if not file.is_file():
                raise RecordingError(stem, f"{below(root, path)}: its signal file {file.name} is missing")
        rate_hz = channels[0].rate_hz
        unusable = {}
        af_type = af_type_of(signals.comments)
        if af_type is None:
            unusable["rhythm"] = f"{path.name}: no comment that says non, paroxysmal or persistent atrial fibrillation"
        return Recording(
            cohort=self.card.id,
            id=stem,
            person=self._person(stem) or stem,
            signals=signals,
            labels=Cpsc2021Labels(stem, path.with_suffix(".atr"), af_type or "", rate_hz, channels[0].n_samples),
            montage=LazyMontage(signals, self.layout.channels),
            mains_hz=self.layout.mains_hz,
            covariates={"af_type": af_type} if af_type else {},
            unusable=unusable,
        )


def af_type_of(comments: Iterable[str]) -> str | None:
    """Class that a header's comments state: ``non``, ``paroxysmal`` or ``persistent``; ``None`` without one."""
    matches = (_COMMENT.match(comment) for comment in comments)
    return next((match[1].lower() for match in matches if match is not None), None)


SOURCE = Cpsc2021Cohort()
