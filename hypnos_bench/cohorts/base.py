"""The nouns of the data side: recording, person, visit, epoch, event, rhythm.

*Recording*: one night or one ECG, one signal file. *Person*: who was recorded; the unit of every
split. *Visit*: which of a person's occasions. *Epoch*: 30 s of sleep scoring, never a training
pass. *Window*: a fixed stretch of an ECG. *Event*: something with a start and a duration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import Derivation as Derivation
from hypnos_bench.signals.base import Signal, SignalFile
from hypnos_bench.spec import EPOCH_S, SplitSpec, digest, files_fingerprint, files_sha256

STAGES = ("W", "N1", "N2", "N3", "R")
"""Names of stage codes 0..4; -1 is unscored, movement or unknown."""

CANONICAL_CHANNELS = ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX")
"""Channels an encoder may ask for, each referenced or bipolar as the field does it."""


@dataclass(frozen=True)
class Event:
    """Something scored with a start and a duration, in seconds from the start of the signals.

    `kind` is one of ``arousal``, ``obstructive-apnea``, ``central-apnea``, ``mixed-apnea``,
    ``hypopnea``, ``desaturation``; anything else keeps the file's own words.
    """

    kind: str
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class RhythmSpan:
    """A stretch of one heart rhythm; `code` is the annotation's (``"AFIB"``, ``"N"``). Gaps are unlabelled."""

    code: str
    start_s: float
    stop_s: float


class Labels(Protocol):
    """A recording's annotations on disk, read when asked for. A method that has nothing raises ``RecordingError``."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Annotation files, for fingerprints. A file that is missing is left out."""
        ...

    def stages(self, duration_s: float) -> NDArray[np.int8]:
        """Stage codes per 30-s epoch from the start of the signals, shape (n_epochs,), -1 where unscored."""
        ...

    def events(self) -> tuple[Event, ...]:
        """Scored events in time order."""
        ...

    def rhythm(self) -> tuple[RhythmSpan, ...]:
        """Rhythm spans in time order."""
        ...


@dataclass(frozen=True)
class Recording:
    """One recording of one person: lazily read signals and labels.

    Parameters
    ----------
    cohort, id, person : str
        Stable ids. `person` is shared by all visits of a person and is the unit of every split.
    signals : SignalFile
    labels : Labels
    montage : mapping of str to Derivation
        How canonical channels are made from this file; a channel that is absent has no entry.
    visit : str, optional
    mains_hz : float
        Mains frequency where it was recorded, for the notch.
    covariates : mapping
        Age, sex, BMI and the like, under the cohort's harmonised names.
    unusable : mapping of str to str
        Label kind (``stage``, ``events``, ``rhythm``) to the reason why this recording must not be used for it.
    """

    cohort: str
    id: str
    person: str
    signals: SignalFile
    labels: Labels
    montage: Mapping[str, Derivation]
    visit: str | None = None
    mains_hz: float = 50.0
    covariates: Mapping[str, Any] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)

    def duration_s(self) -> float:
        """Length of the signals in seconds."""
        return self.signals.duration_s()

    def signal(self, channel: str) -> Signal | None:
        """Read a canonical channel at its native rate, or ``None`` when the recording lacks it.

        A difference is taken at the first channel's rate: the second is resampled when it differs,
        and both are cut to the shorter.
        """
        derivation = self.montage.get(channel)
        if derivation is None:
            return None
        plus = self.signals.read(derivation.plus)
        if derivation.minus is None:
            return plus
        from hypnos_bench.signals.channels import difference

        return difference(plus, self.signals.read(derivation.minus))

    def stages(self) -> NDArray[np.int8]:
        """Stage codes per 30-s epoch (0..4, -1 unscored). Raises ``RecordingError`` with the reason when unusable."""
        self._refuse_unusable("stage")
        return self.labels.stages(self.duration_s())

    def events(self) -> tuple[Event, ...]:
        """Scored events. Raises ``RecordingError`` with the reason when unusable."""
        self._refuse_unusable("events")
        return self.labels.events()

    def rhythm(self) -> tuple[RhythmSpan, ...]:
        """Rhythm spans. Raises ``RecordingError`` with the reason when unusable."""
        self._refuse_unusable("rhythm")
        return self.labels.rhythm()

    def _refuse_unusable(self, label: str) -> None:
        if label in self.unusable:
            raise RecordingError(self.id, self.unusable[label])

    def source_fingerprint(self) -> str:
        """Content fingerprint of the signals and of how channels are made from them.

        A file that cannot be read has a fingerprint too: it is left out with its reason when it is embedded.
        """
        try:
            montage = {name: str(derivation) for name, derivation in self.montage.items()}
            files = files_fingerprint(self.signals.files)
        except (RecordingError, OSError):
            return digest({"unreadable": self.id})
        return digest({"files": files, "montage": montage, "mains_hz": self.mains_hz})

    def label_fingerprint(self) -> str:
        """Content fingerprint of the annotations, and of which of them must not be used."""
        try:
            files = files_sha256(self.labels.files)
        except OSError:
            return digest({"unreadable": self.id})
        return digest({"files": files, "unusable": dict(self.unusable)})


@dataclass(frozen=True)
class Exclusion:
    """A recording that was found but cannot take part, and why.

    `transient` marks a fault of the moment (a network drive that stalled): the recording is tried again next time.
    """

    recording: str
    reason: str
    transient: bool = False


@dataclass(frozen=True)
class CohortCard:
    """What a reader must know about a cohort.

    Parameters
    ----------
    id, title : str
    label : tuple of str
        Label kinds it offers: ``stage``, ``events``, ``rhythm``.
    split : SplitSpec
        Default split.
    encoders : tuple of str
        Default encoders.
    simulated : bool
        True when no person was ever recorded; every output says so.
    persons_assumed : bool
        True when nothing says who was recorded and every recording counts as its own person; every output says so.
    licence, source, note : str
    """

    id: str
    title: str
    labels: tuple[str, ...]
    split: SplitSpec = SplitSpec()
    encoders: tuple[str, ...] = ("hypnos",)
    simulated: bool = False
    persons_assumed: bool = False
    licence: str = ""
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class CohortOptions:
    """Where a cohort lies and the few things a folder cannot say by itself."""

    root: Path | None = None
    cache: Path | None = None  # where simulated cohorts are written
    person_pattern: str | None = None  # regex on the recording id; its first group is the person
    mains_hz: float | None = None  # folder cohorts: mains frequency where it was recorded


@dataclass(frozen=True)
class Cohort:
    """A cohort on disk: its card, its recordings sorted by id, and what was left out with reasons."""

    card: CohortCard
    recordings: tuple[Recording, ...]
    excluded: tuple[Exclusion, ...]

    @cached_property
    def source_fingerprints(self) -> Mapping[str, str]:
        """Recording id to content fingerprint of its signals; computed once, it reads a little of every file."""
        return {r.id: r.source_fingerprint() for r in self.recordings}

    def fingerprint(self) -> str:
        """Digest over every recording's ids, signals and labels: another download or subset is another cohort."""
        sources = self.source_fingerprints
        return digest([[r.id, r.person, r.visit, sources[r.id], r.label_fingerprint()] for r in self.recordings])


class CohortSource(Protocol):
    """What the registry holds per cohort id: a card, and a way to open the cohort under a root."""

    @property
    def card(self) -> CohortCard:
        """The card; cheap, reads no data."""
        ...

    def open(self, options: CohortOptions) -> Cohort:
        """Scan the files. Raises ``DataError`` when the root is missing or holds no recording of this cohort."""
        ...


def n_epochs(duration_s: float) -> int:
    """Whole 30-s epochs in a recording."""
    return int((duration_s + 1e-6) // EPOCH_S)  # 2700 records of 0.7 s are 1889.9999999999998 s
