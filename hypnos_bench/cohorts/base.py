"""The nouns of the data side: recording, person, visit, epoch, event, rhythm.

*Recording*: one night or one ECG, one signal file. *Person*: who was recorded; the unit of every
split. *Visit*: which of a person's occasions. *Epoch*: 30 s of sleep scoring, never a training
pass. *Window*: a fixed stretch of an ECG. *Event*: something with a start and a duration.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import Derivation as Derivation
from hypnos_bench.signals.base import Signal, SignalFile
from hypnos_bench.signals.kinds import OF_CANONICAL
from hypnos_bench.signals.some import SomeChannels
from hypnos_bench.spec import EPOCH_S, SplitSpec, digest, files_fingerprint, files_sha256

STAGES = ("W", "N1", "N2", "N3", "R")
"""Names of stage codes 0..4; -1 is unscored, movement or unknown."""

CANONICAL_CHANNELS = ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX")
"""Channels an encoder may ask for, each referenced or bipolar as the field does it."""

LABEL_KINDS = ("stage", "events", "rhythm", "minutes", "record")
"""What a cohort can be labelled with: sleep stages, events, heart rhythm, apnea minutes, one label per recording."""

EVENT_SCOPES: Mapping[str, tuple[str, ...]] = {
    "arousal": ("arousal",),
    "respiratory": ("obstructive-apnea", "central-apnea", "mixed-apnea", "apnea", "hypopnea", "rera"),
    "desaturation": ("desaturation",),
}
"""Groups of event kinds that scorers judge together: a recording may be fit for one and not for another."""


@dataclass(frozen=True)
class Event:
    """Something scored with a start and a duration, in seconds from the start of the signals.

    `kind` is one of `EVENT_SCOPES` (``apnea``: of a type that the file does not say); anything else keeps the
    file's own words.
    """

    kind: str
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class Span:
    """A stretch of one state, in seconds from the start of the signals. What no span covers is unlabelled.

    `code` is the annotation's own: a heart rhythm (``"AFIB"``, ``"N"``) or an apnea minute (``"A"``, ``"N"``).
    """

    code: str
    start_s: float
    stop_s: float


@dataclass(frozen=True)
class StageRun:
    """A stretch of one stage: code 0..4 or -1, seconds from the start of the signals, and where the file says so."""

    code: int
    start_s: float
    duration_s: float
    where: str


@dataclass(frozen=True)
class Hypnogram:
    """Scored epochs of 30 s.

    Parameters
    ----------
    start_s : ndarray of float64, shape (n,)
        Start of each epoch, seconds from the start of the signals; ascending, usually 0, 30, 60 ...
    codes : ndarray of int8, shape (n,)
        0..4 as in `STAGES`, -1 where unscored.
    """

    start_s: NDArray[np.float64]
    codes: NDArray[np.int8]

    def within(self, margin_s: float) -> Hypnogram:
        """The same with wake unscored that lies farther than a margin from the first and last epoch of sleep."""
        asleep = self.start_s[self.codes > 0]
        if asleep.size == 0:
            return self
        far = (self.start_s < asleep[0] - margin_s) | (self.start_s > asleep[-1] + margin_s)
        return replace(self, codes=np.where(far, np.int8(-1), self.codes))


@dataclass(frozen=True)
class Scoring:
    """What the annotation files of one recording say; all times in seconds from the start of the signals.

    Parameters
    ----------
    stages : tuple of StageRun
        In any order; `hypnogram` makes epochs of them.
    events : tuple of Event or None
        In time order; ``None`` when events were not scored, which is not the same as a night without any.
    rhythm, minutes : tuple of Span
        Heart rhythm, and apnea (``"A"``) or none (``"N"``) per minute; in time order.
    record : tuple of str
        Codes that hold for the recording as a whole (``"A"`` of CinC2017, statements of PTB-XL).
    unknown : mapping of str to int
        Texts that no table of the format knows, with counts. They are kept as events in their own words.
    notes : tuple of str
        What was done that a reader should know: repaired, trimmed, merged.
    page_s, pad_s : float
        Length of a scored page, and what is added on both sides to make it an epoch of 30 s (20-s pages: 5 s).
    """

    stages: tuple[StageRun, ...] = ()
    events: tuple[Event, ...] | None = None
    rhythm: tuple[Span, ...] = ()
    minutes: tuple[Span, ...] = ()
    record: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    page_s: float = EPOCH_S
    pad_s: float = 0.0


class Labels(Protocol):
    """A recording's annotations on disk, read when asked for."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Annotation files, for fingerprints. A file that is missing is left out."""
        ...

    @property
    def rules(self) -> str:
        """How they are read, as far as a setting can change it; part of the fingerprint."""
        ...

    def read(self) -> Scoring:
        """Everything the files say. Raises ``RecordingError`` when they are missing or cannot be trusted."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What became of a person, counted from one recording.

    Parameters
    ----------
    event : bool
        Whether it happened during follow-up.
    time_years : float or None
        From the recording to the event, or to the end of follow-up without one. ``None`` when only the fact is known.
    prevalent : bool
        True when it had happened before the recording: such a person is not at risk.
    """

    event: bool
    time_years: float | None
    prevalent: bool = False


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
    family : str, optional
        Whose members never fall on different sides of a split; the person alone when not given.
    mains_hz : float
        Mains frequency where it was recorded, for the notch.
    units : mapping of str to str
        Canonical channel to its unit, where the file's own is wrong or missing.
    covariates : mapping
        Age, sex, BMI and the like, under the cohort's harmonised names.
    outcomes : mapping of str to Outcome
        Endpoint id to event and time, counted from this recording.
    unusable : mapping of str to str
        Label kind (`LABEL_KINDS`, `EVENT_SCOPES`) to the reason why this recording must not be used for it.
    quality : tuple of str
        Remarks of the scorers that do not rule the recording out.
    wake_margin_min : float, optional
        Minutes around the first and last sleep epoch beyond which wake counts as unscored, where recordings last
        all day.
    full_staging : bool
        Whether a night whose only sleep stage is N2 is taken as scored sleep or wake only, and refused.
    """

    cohort: str
    id: str
    person: str
    signals: SignalFile
    labels: Labels
    montage: Mapping[str, Derivation]
    visit: str | None = None
    family: str | None = None
    mains_hz: float = 50.0
    units: Mapping[str, str] = field(default_factory=dict)
    covariates: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    quality: tuple[str, ...] = ()
    full_staging: bool = False
    wake_margin_min: float | None = None

    @property
    def split_unit(self) -> str:
        """Who must stay on one side of a split: the family, or the person."""
        return self.family or self.person

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
        signal = self.signals.read(derivation.plus)
        if derivation.minus is not None:
            from hypnos_bench.signals.channels import difference

            signal = difference(signal, self.signals.read(derivation.minus))
        return replace(signal, unit=self.units.get(channel, signal.unit))

    def only(self, modalities: Collection[str]) -> Recording:
        """The recording without the channels of other modalities (`signals.kinds`); labels stay.

        A channel of the file whose label does not tell its modality is hidden too. What a kept canonical channel is
        made from can be read, but is listed only when it is of a kept modality itself.
        """
        montage = {name: made for name, made in self.montage.items() if OF_CANONICAL[name] in modalities}
        made_from = {label for made in montage.values() for label in (made.plus, made.minus) if label is not None}
        return replace(self, montage=montage, signals=SomeChannels(self.signals, frozenset(modalities), made_from))

    def hypnogram(self) -> Hypnogram:
        """Scored epochs. Raises ``RecordingError`` with the reason when there are none or they must not be used."""
        return self.scored(self._scoring("stage", []))

    def scored(self, scoring: Scoring) -> Hypnogram:
        """Epochs of a scoring of this recording that was read already. Raises ``RecordingError`` as `hypnogram`."""
        from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram

        try:
            found = hypnogram(scoring.stages, self.duration_s(), page_s=scoring.page_s, pad_s=scoring.pad_s)
        except AnnotationError as error:
            raise RecordingError(self.id, f"{self._source()}: {error}") from error
        self._refuse_sleep_wake(found.codes)
        return found if self.wake_margin_min is None else found.within(60.0 * self.wake_margin_min)

    def _refuse_sleep_wake(self, codes: NDArray[np.int8]) -> None:
        if self.full_staging and (codes == 2).any() and not np.isin(codes, (1, 3, 4)).any():
            raise RecordingError(
                self.id, f"{self._source()}: no N1, N3 or REM in the whole night: scored as sleep or wake only"
            )

    def stages(self) -> NDArray[np.int8]:
        """Codes of `hypnogram`, shape (n_epochs,)."""
        return self.hypnogram().codes

    def events(self, *scopes: str) -> tuple[Event, ...]:
        """Scored events of some `EVENT_SCOPES`, which are refused when unusable, or all that may be used."""
        scoring = self._scoring("events", scopes)
        if scoring.events is None:
            raise RecordingError(self.id, f"{self._source()}: no events are scored")
        if "arousal" in scopes:  # nobody scored them where stages were not
            self._refuse_sleep_wake(np.array([run.code for run in scoring.stages], dtype=np.int8))
        if scopes:
            kinds = {kind for scope in scopes for kind in EVENT_SCOPES[scope]}
            return tuple(event for event in scoring.events if event.kind in kinds)
        barred = {kind for scope, kinds in EVENT_SCOPES.items() if scope in self.unusable for kind in kinds}
        return tuple(event for event in scoring.events if event.kind not in barred)

    def rhythm(self) -> tuple[Span, ...]:
        """Rhythm spans. Raises ``RecordingError`` with the reason when unusable."""
        return self._spans("rhythm", "no heart rhythm is annotated")

    def minutes(self) -> tuple[Span, ...]:
        """Apnea (``"A"``) or none (``"N"``) per minute. Raises ``RecordingError`` with the reason when unusable."""
        return self._spans("minutes", "no apnea minutes are annotated")

    def record_codes(self) -> tuple[str, ...]:
        """Codes of the recording as a whole. Raises ``RecordingError`` with the reason when there are none."""
        codes = self._scoring("record", []).record
        if not codes:
            raise RecordingError(self.id, f"{self._source()}: the recording as a whole carries no label")
        return codes

    def _spans(self, kind: str, missing: str) -> tuple[Span, ...]:
        scoring = self._scoring(kind, [])
        spans = scoring.rhythm if kind == "rhythm" else scoring.minutes
        if not spans:
            raise RecordingError(self.id, f"{self._source()}: {missing}")
        return spans

    def _scoring(self, kind: str, scopes: Iterable[str]) -> Scoring:
        for scope in (kind, *scopes):
            if scope in self.unusable:
                raise RecordingError(self.id, self.unusable[scope])
        return self.labels.read()

    def _source(self) -> str:
        return ", ".join(path.name for path in self.labels.files) or "annotation"

    def source_fingerprint(self) -> str:
        """Content fingerprint of the signals and of how channels are made from them.

        A file that cannot be read has a fingerprint too: it is left out with its reason when it is embedded.
        """
        try:
            montage = {name: str(derivation) for name, derivation in self.montage.items()}
            files = files_fingerprint(self.signals.files)
        except (RecordingError, OSError):
            return digest({"unreadable": self.id})
        told = {"units": dict(self.units), "reading": getattr(self.signals, "settings", "")}
        told = {name: value for name, value in told.items() if value}  # what most cohorts do not need
        return digest({"files": files, "montage": montage, "mains_hz": self.mains_hz, **told})

    def label_fingerprint(self) -> str:
        """Content fingerprint of the annotations, and of which of them must not be used."""
        try:
            files = files_sha256(self.labels.files)
        except OSError:
            return digest({"unreadable": self.id})
        rules = {"full_staging": self.full_staging, "wake_margin_min": self.wake_margin_min}
        rules = {name: value for name, value in rules.items() if value}
        return digest({"files": files, "rules": self.labels.rules, "unusable": dict(self.unusable), **rules})


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
    licence, access, citation, source, note : str
        `access` says who gives the data out: ``nsrr``, ``open``, ``credentialed``, ``restricted``, ``user``.
    """

    id: str
    title: str
    labels: tuple[str, ...]
    split: SplitSpec = SplitSpec()
    encoders: tuple[str, ...] = ("hypnos",)
    simulated: bool = False
    persons_assumed: bool = False
    licence: str = ""
    access: str = ""
    citation: str = ""
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class CohortOptions:
    """Where a cohort lies and the few things a folder cannot say by itself."""

    root: Path | None = None
    cache: Path | None = None  # where simulated cohorts are written
    person_pattern: str | None = None  # regex on the recording id; its first group is the person
    mains_hz: float | None = None  # folder cohorts: mains frequency where it was recorded
    settings: Path | None = None  # TOML file with a user's settings per cohort


@dataclass(frozen=True)
class Cohort:
    """A cohort on disk: its card, its recordings sorted by id, and what was left out with reasons."""

    card: CohortCard
    recordings: tuple[Recording, ...]
    excluded: tuple[Exclusion, ...]
    remarks: tuple[str, ...] = ()  # what opening passed over or repaired, for ``doctor``
    gaps: tuple[str, ...] = ()  # what opening looked for and did not find: tables, rows in them

    @cached_property
    def source_fingerprints(self) -> Mapping[str, str]:
        """Recording id to content fingerprint of its signals; computed once, it reads a little of every file."""
        return {r.id: r.source_fingerprint() for r in self.recordings}

    def fingerprint(self) -> str:
        """Digest over every recording's ids, signals and labels: another download or subset is another cohort."""
        sources = self.source_fingerprints
        return digest(
            [[r.id, r.person, r.family, r.visit, sources[r.id], r.label_fingerprint()] for r in self.recordings]
        )

    def people_fingerprint(self) -> str:
        """Digest over covariates and outcomes, which come from tables and are no part of `fingerprint`."""
        return digest([[r.id, _told(r.covariates), _outcomes_told(r.outcomes)] for r in self.recordings])


def _told(covariates: Mapping[str, Any]) -> dict[str, str]:
    """Values as text that keeps 1.0, 1 and true apart, and has room for what is no number."""
    return {name: repr(value) for name, value in covariates.items()}


def _outcomes_told(outcomes: Mapping[str, Outcome]) -> Any:
    if isinstance(outcomes, ChainMap):
        return [_outcomes_told(part) for part in outcomes.maps]
    if hasattr(outcomes, "digest"):  # a row of a wide table
        return outcomes.digest()
    return {name: [o.event, repr(o.time_years), o.prevalent] for name, o in outcomes.items()}


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
